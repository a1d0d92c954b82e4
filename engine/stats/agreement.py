"""How alike two systems answer: Cohen's kappa, in three readings of unparsed answers, and five classes of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from engine.stats.estimate import Estimate
from engine.stats.intervals import N_RESAMPLES, estimate_of, per_group, resampled_sums

CLASSES = ("both_right", "a_only", "b_only", "both_wrong_same", "both_wrong_different", "unlabelled")
Reading = Literal["never", "agrees", "left out"]
# What two answers without a label are to kappa. The first is the headline, the others stand beside it.
READINGS: tuple[Reading, ...] = ("never", "agrees", "left out")


def confusion(
    a: Sequence[object], b: Sequence[object], strata: Sequence[int] | None = None
) -> Float[np.ndarray, "clips strata labels labels"]:
    """Return each clip as a table of counts by (a's label, b's label); label 0 is None, no label.

    Args:
        a: labels of one rater.
        b: labels of the other.
        strata: number of each clip's task, from 0; one task by default.
    """
    strata = [0] * len(a) if strata is None else strata
    known: list[dict[object, int]] = [{None: 0} for _ in range(max(strata, default=0) + 1)]
    codes = [
        [known[task].setdefault(label, len(known[task])) for label, task in zip(labels, strata, strict=True)]
        for labels in (a, b)
    ]
    size = max(len(labels) for labels in known)
    counts = np.zeros((len(a), len(known), size, size))
    counts[np.arange(len(a)), np.asarray(strata, dtype=np.int64), codes[0], codes[1]] = 1
    return counts


def cohen_kappa(a: Sequence[object], b: Sequence[object], reading: Reading = "never") -> float:
    """Return Cohen's kappa of two raters, in [-1, 1]; None is an answer without a label.

    (observed - expected) / (1 - expected) agreement, expected from the two raters' own shares of each label
    (Cohen, 1960). 1 for equal answers, near 0 for independent ones. NaN without answers, and where both
    give one and the same label throughout: agreement by chance is then certain. Low shares of a label make
    kappa small at high agreement, so read it beside the five classes.

    Args:
        a: labels of one rater.
        b: labels of the other on the same clips.
        reading: "never": two answers without a label disagree, for nobody knows what either meant; "agrees": no
            label is a label like any other; "left out": clips without both labels do not count.
    """
    return float(kappa_of_counts(confusion(a, b).sum(axis=0), reading)) if len(a) else math.nan


def kappa_of_counts(
    counts: Float[np.ndarray, "strata labels labels *resamples"], reading: Reading = "never"
) -> np.ndarray:
    """Return kappa of confusion counts, with agreement by chance taken within each stratum.

    With one stratum this is Cohen's kappa. With several (tasks whose labels differ) the expected agreement is
    the strata's mean, weighted by their clips: pooled labels would make chance look smaller than it is.

    Args:
        counts: clips by (rater a's label, rater b's label), label 0 being none; then any other axes.
        reading: as for `cohen_kappa`.
    """
    if reading == "left out":
        counts = counts[:, 1:, 1:]
    first = 1 if reading == "never" else 0
    rows, columns = counts.sum(axis=2), counts.sum(axis=1)
    sizes = rows.sum(axis=1)
    by_chance = (rows * columns)[:, first:].sum(axis=1)
    expected = np.divide(by_chance, sizes, out=np.zeros_like(sizes), where=sizes > 0).sum(axis=0)
    observed = np.einsum("sll...->...", counts[:, first:, first:])
    room = sizes.sum(axis=0) - expected
    return np.divide(observed - expected, room, out=np.full(np.shape(room), math.nan), where=room > 0)


def bootstrap_kappas(
    counts: Float[np.ndarray, "clips strata labels labels"],
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    *,
    seed: int,
) -> dict[Reading, Estimate]:
    """Return Cohen's kappa in every reading with its 95 % interval over groups of clips; NaN where it is not defined.

    Args:
        counts: each clip as a table of counts, as `confusion` gives them.
        groups: number of each clip's group of related clips.
        seed: of the resampling, one for all readings.
    """
    sums = per_group(groups, counts.reshape(len(counts), -1))
    n_groups = len(sums)
    shape = counts.shape[1:]
    drawn = resampled_sums(sums, N_RESAMPLES, seed).reshape(*shape, -1) if n_groups > 1 else None
    values = {r: float(kappa_of_counts(sums.sum(axis=0).reshape(shape), r)) for r in READINGS}
    return {
        reading: estimate_of(
            value, np.empty(0) if drawn is None else kappa_of_counts(drawn, reading), n_groups
        )
        for reading, value in values.items()
    }


def bootstrap_kappa(
    counts: Float[np.ndarray, "clips strata labels labels"],
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    *,
    seed: int,
) -> Estimate:
    """Return the headline of `bootstrap_kappas`: two answers without a label never agree."""
    return bootstrap_kappas(counts, groups, seed=seed)["never"]


def class_counts(
    a: Sequence[str | None], b: Sequence[str | None], a_right: Sequence[bool], b_right: Sequence[bool]
) -> dict[str, int]:
    """Return the clips in each of CLASSES; a clip on which either gave no label is "unlabelled"."""
    counts = dict.fromkeys(CLASSES, 0)
    for name in answer_classes(a, b, a_right, b_right):
        counts[name] += 1
    return counts


def answer_classes(
    a: Sequence[str | None], b: Sequence[str | None], a_right: Sequence[bool], b_right: Sequence[bool]
) -> list[str]:
    """Return the class of every clip; two right answers may differ in their words."""
    return [_class_of(*clip) for clip in zip(a, b, a_right, b_right, strict=True)]


def _class_of(a: str | None, b: str | None, a_right: bool, b_right: bool) -> str:
    if a is None or b is None:
        return "unlabelled"
    if a_right or b_right:
        return "both_right" if a_right and b_right else "a_only" if a_right else "b_only"
    return "both_wrong_same" if a == b else "both_wrong_different"
