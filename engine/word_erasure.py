"""Erasing which word is being spoken from the layers where it can be read, and what follows from that.

Beyond arXiv 2606.22473, which observes with the logit lens alone. LEACE on word labels at the first phase's layers;
beside it random directions of equal rank, and random directions that move each state as far (`engine.matched_step`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.concepts import OTHER_WORD
from engine.erasure import Eraser
from engine.hooks import ByGroup, Edit, RowEdits
from engine.leace import bare_eraser, fit_leace
from engine.matched_step import match_changes
from engine.result import SpokenWord
from engine.states import read_states
from engine.systems.base import Prepared, WhiteBoxModel

N_TARGETS = 64  # words with a class of their own; the others share one
SEEDS = (0, 1, 2)
PLAIN, ERASED, RANK_MATCHED, CHANGE_MATCHED = "plain", "erased", "rank_matched", "change_matched"


@dataclass(frozen=True)
class ArmStates:
    """One arm's prompt as the model has it.

    Attributes:
        arm: plain, erased, rank_matched or change_matched.
        seed: of a control, 0 elsewhere.
        states: layer -> [positions, d_model] over the whole prompt, every layer.
        relative_change: mean of |change| / |state| over edited positions and layers.
    """

    arm: str
    seed: int
    states: Mapping[int, Float[Tensor, "positions d_model"]]
    relative_change: float


def choose_targets(texts: Iterable[str], n_targets: int = N_TARGETS) -> tuple[str, ...]:
    """Return the commonest words of these texts, the commonest first, and last the class of all others."""
    counts = Counter(word for text in texts for word in text.lower().split())
    return (*(word for word, _ in counts.most_common(n_targets)), OTHER_WORD)


def label_positions(
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    n_positions: int,
    targets: Sequence[str],
) -> Float[Tensor, "positions targets"]:
    """Return at each position the share of each target in the words heard there; NaN where no word is heard."""
    counts = torch.zeros(n_positions, len(targets), dtype=torch.float64)
    place = {target: index for index, target in enumerate(targets)}
    for word, (start, stop) in zip(words, spans, strict=True):
        counts[start:stop, place.get(word.text.lower(), len(targets) - 1)] += 1
    return counts / counts.sum(1, keepdim=True)  # 0 / 0 is NaN


def fit_word_eraser(
    states: Mapping[int, Float[Tensor, "n d_model"]],
    labels: Float[Tensor, "n targets"],
    targets: tuple[str, ...],
    fit: str,
) -> Eraser:
    """Return LEACE erasers of the word being spoken, one for each layer of `states`.

    Args:
        states: at the speech positions of many clips, after one another.
        labels: as `label_positions`; rows of NaN are left out.
        targets: names of the labels' columns; those that never occur do no harm.
        fit: what it is fitted on, in words.
    """
    known = ~labels.isnan().any(1)
    found = {layer: fit_leace(x[known].double(), labels[known]) for layer, x in states.items()}
    return bare_eraser("current word", found, targets, fit)


@torch.inference_mode()
def run_erased(
    system: WhiteBoxModel,
    prepared: Prepared,
    eraser: Eraser,
    layers: Sequence[int],
    *,
    span: tuple[int, int],
    seeds: Sequence[int] = SEEDS,
) -> list[ArmStates]:
    """Return the prompt's states plain, erased, and under both controls for each seed.

    Erasers keep the training mean (affine): it was taken at such positions. The control of equal change moves each
    state by the share of its length that the eraser moved this prompt's states at that layer, on average.

    Args:
        system: whose states are edited.
        prepared: the prompt.
        eraser: fitted at these layers at least.
        layers: where it is erased, all at once.
        span: positions that are edited, first and one after the last.
        seeds: of the random directions.
    """
    (plain, erased), edits = _run(system, prepared, [None, eraser.projections(layers, "affine")], span)
    out = [
        ArmStates(PLAIN, 0, plain, 0.0),
        ArmStates(ERASED, 0, erased, edits.relative_change(1)),
    ]
    shares = edits.change_by_group(1)
    controls = [eraser.random_control(layers, "affine", seed) for seed in seeds]
    for arm, arms in (
        (RANK_MATCHED, controls),
        (CHANGE_MATCHED, [match_changes(control, shares) for control in controls]),
    ):
        rows, edits = _run(system, prepared, arms, span)
        out += [
            ArmStates(arm, seed, states, edits.relative_change(row))
            for row, (seed, states) in enumerate(zip(seeds, rows, strict=True))
        ]
    return out


def _run(
    system: WhiteBoxModel,
    prepared: Prepared,
    rows: Sequence[Mapping[int, Edit | ByGroup] | None],
    span: tuple[int, int],
) -> tuple[list[dict[int, Tensor]], RowEdits]:
    edits = RowEdits(rows, span, prepared.embeddings.shape[1], "audio")
    return read_states(system, prepared, edits), edits
