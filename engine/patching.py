"""Patching: the states of one word put in another word's place, and whether the prediction follows.

Beyond arXiv 2606.22473, which observes only. What is patched in is a word of another clip; the controls are the
same word from another clip, and a word that has nothing to do with either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.hooks import RowEdits
from engine.lens import unembed
from engine.states import read_states
from engine.systems.base import Prepared, WhiteBoxModel


@dataclass(frozen=True)
class Replacement:
    """States that take the place of those that were there.

    Attributes:
        states: [positions, d_model], as many as are replaced.
    """

    states: Float[Tensor, "positions d_model"]

    def to(self, device: torch.device) -> Replacement:
        """Return the same replacement on a device."""
        return Replacement(self.states.to(device))

    def __call__(self, states: Float[Tensor, "rows positions d_model"]) -> Tensor:
        """Return the replacement for every row, in the dtype of what it replaces."""
        return self.states.to(states.dtype).expand_as(states)


def stretch(states: Float[Tensor, "positions d_model"], length: int) -> Tensor:
    """Return `length` states, each the one whose middle is nearest in relative time: words differ in length."""
    places = ((torch.arange(length) + 0.5) * len(states) / length).long()
    return states[places]


@torch.inference_mode()
def run_patched(
    system: WhiteBoxModel,
    prepared: Prepared,
    span: tuple[int, int],
    layer: int,
    donors: Sequence[Float[Tensor, "_ d_model"]],
) -> list[dict[int, Tensor]]:
    """Return the prompt's states plain, then with each donor in the word's place: layer -> [positions, d_model].

    Args:
        system: whose states are replaced.
        prepared: the prompt.
        span: positions of the word in the prompt, first and one after the last.
        layer: at which they are replaced; what follows is the model's own.
        donors: states of a word at this layer, of any number of positions.
    """
    rows: list[Mapping[int, Replacement] | None] = [None]
    rows += [{layer: Replacement(stretch(donor, span[1] - span[0]))} for donor in donors]
    return read_states(system, prepared, RowEdits(rows, span, prepared.embeddings.shape[1], "audio"))


@torch.inference_mode()
def lead_of(
    system: WhiteBoxModel,
    states: Float[Tensor, "positions d_model"],
    text: range,
    wanted: Sequence[int],
    instead: Sequence[int],
) -> float:
    """Return by how many nats one word leads another among text tokens, in the max over these positions.

    Args:
        system: whose head reads.
        states: of one layer, at the positions that are pooled.
        text: ids of text tokens.
        wanted: ids that the one may begin with; the likeliest counts.
        instead: the same for the other.
    """
    pooled = unembed(system, states)[:, text.start : text.stop].amax(0)
    one, other = (pooled[[i - text.start for i in ids]].max() for ids in (wanted, instead))
    return float(one - other)
