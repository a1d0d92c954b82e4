"""Spoken knowledge: does a model find the right spoken end of a statement likelier than a wrong one.

After arXiv 2606.22473 by accounts of it: a correct against a counterfactual completion of the same category, by
likelihood. Whether per token or in sum is not known to us: the mean log-probability per unit is ours, because ends
differ in length; the sum stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.lens import unembed
from engine.systems.base import WhiteBoxModel


@dataclass(frozen=True)
class EndScore:
    """How likely an end is after its beginning.

    Attributes:
        log_probability: natural, summed over its units.
        n_units: of the end.
    """

    log_probability: float
    n_units: int

    @property
    def per_unit(self) -> float:
        """Mean log-probability of a unit, in nats."""
        return self.log_probability / self.n_units


@torch.inference_mode()
def log_probabilities(
    system: WhiteBoxModel,
    last_states: Float[Tensor, "positions d_model"],
    ids: Int[Tensor, "positions"],  # noqa: F821 - jaxtyping axis name
) -> Float[Tensor, "scores"]:  # noqa: F821
    """Return log p(id at position i + 1) for all but the first, over the whole vocabulary, in nats.

    Args:
        system: whose head reads.
        last_states: of the last layer, before the final norm, at these positions.
        ids: vocabulary ids that stand there.
    """
    logits = unembed(system, last_states[:-1])
    return logits.log_softmax(-1).gather(-1, ids[1:, None])[:, 0]


def score_end(scores: Float[Tensor, "scores"], n_begin: int) -> EndScore:  # noqa: F821
    """Return the score of what stands behind the first `n_begin` positions.

    Args:
        scores: of `log_probabilities`, one for each position but the first.
        n_begin: positions of the beginning, at least 1.
    """
    end = scores[n_begin - 1 :]
    return EndScore(float(end.sum()), len(end))


def join_units(begin: Sequence[int], end: Sequence[int]) -> tuple[list[int], int]:
    """Return units of a beginning and an end as one row, and how many are the beginning's.

    Units never stand twice in a row, so an end that begins with the beginning's last unit loses that one.
    """
    rest = list(end[1:]) if begin and end and begin[-1] == end[0] else list(end)
    return [*begin, *rest], len(begin)
