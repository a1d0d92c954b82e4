"""How alike two systems answer: Cohen's kappa, and five classes of answer pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from engine.stats.estimate import Estimate
from engine.stats.intervals import bootstrap, per_group

CLASSES = ("both_right", "a_only", "b_only", "both_wrong_same", "both_wrong_different", "unlabelled")


def cohen_kappa(a: Sequence[str | None], b: Sequence[str | None]) -> float:
    """Return Cohen's kappa of two raters, in [-1, 1]; None (no label) is one class of its own.

    (observed - expected) / (1 - expected) agreement, expected from the two raters' own shares of each label
    (Cohen, 1960). 1 for equal answers, near 0 for independent ones. NaN without answers, and where both
    give one and the same label throughout: agreement by chance is then certain. Low shares of a label make
    kappa small at high agreement, so read it beside the five classes.
    """
    labels = {label: row for row, label in enumerate(dict.fromkeys([*a, *b]))}
    counts = np.zeros((len(labels), len(labels)))
    for left, right in zip(a, b, strict=True):
        counts[labels[left], labels[right]] += 1
    return float(kappa_of_counts(counts[None]))


def kappa_of_counts(counts: Float[np.ndarray, "*resamples strata labels labels"]) -> np.ndarray:
    """Return kappa of confusion counts, with agreement by chance taken within each stratum.

    With one stratum this is Cohen's kappa. With several (tasks whose labels differ) the expected agreement is
    the strata's mean, weighted by their clips: pooled labels would make chance look smaller than it is.

    Args:
        counts: clips by (rater a's label, rater b's label); any leading axes.
    """
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    sizes = rows.sum(axis=-1)
    by_chance = (rows * columns).sum(axis=-1)
    expected = np.divide(by_chance, sizes, out=np.zeros_like(sizes), where=sizes > 0).sum(axis=-1)
    observed = np.trace(counts, axis1=-2, axis2=-1).sum(axis=-1)
    room = sizes.sum(axis=-1) - expected
    return np.divide(observed - expected, room, out=np.full(np.shape(room), math.nan), where=room > 0)


def bootstrap_kappa(
    counts: Float[np.ndarray, "clips strata labels labels"],
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    *,
    seed: int,
) -> Estimate:
    """Return Cohen's kappa with its 95 % interval over groups of clips; NaN where it is not defined.

    Args:
        counts: each clip as a table of counts, as for `kappa_of_counts`.
        groups: number of each clip's group of related clips.
        seed: as for `bootstrap`.
    """
    shape = counts.shape[1:]
    return bootstrap(
        per_group(groups, counts.reshape(len(counts), -1)),
        lambda sums: kappa_of_counts(sums.reshape(*sums.shape[:-1], *shape)),
        seed=seed,
    )


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
