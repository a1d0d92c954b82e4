"""How alike two systems answer: Cohen's kappa in three readings of unparsed answers, classes of pairs, shared errors.

Shared errors are how often two systems, both wrong, are wrong in the same way, beside how often chance would do it. A
question with two allowed answers has one wrong one: two systems that are both wrong there agree of necessity. Callers
leave such clips out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from engine.stats.intervals import N_RESAMPLES, Estimate, estimate_of, per_group, resampled_sums

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


_BOTH_WRONG = ("both_wrong_same", "both_wrong_different")


def jointly_wrong(
    a: Sequence[str | None], b: Sequence[str | None], a_right: Sequence[bool], b_right: Sequence[bool]
) -> list[bool]:
    """Say for every clip whether both gave a label and both are wrong."""
    return [name in _BOTH_WRONG for name in answer_classes(a, b, a_right, b_right)]


def error_overlap(
    a: Sequence[str | None], b: Sequence[str | None], a_right: Sequence[bool], b_right: Sequence[bool]
) -> float:
    """Return P(same wrong label | both gave a label and both are wrong), a share; NaN without such clips.

    Labels must be spelt alike. The share says nothing by itself: compare it with `overlap_chance` and
    `overlap_null`.
    """
    wrong = [name for name in answer_classes(a, b, a_right, b_right) if name in _BOTH_WRONG]
    return wrong.count("both_wrong_same") / len(wrong) if wrong else math.nan


def overlap_chance(n_labels: Sequence[int]) -> float:
    """Return the overlap of two who guess blindly among the wrong labels: the mean of 1 / (C - 1).

    Args:
        n_labels: allowed answers C of each jointly wrong clip, at least 2.
    """
    return math.fsum(1 / (n - 1) for n in n_labels) / len(n_labels) if n_labels else math.nan


def overlap_null(
    a_wrong: Sequence[str], b_wrong: Sequence[str], golds: Sequence[Hashable], items: Sequence[Hashable]
) -> float:
    """Return the overlap expected if b's wrong answers were dealt anew within each right answer; NaN if undefined.

    A base-rate null: confusions are skewed (topics are mistaken for some topics more than for others), so two
    independent systems share more errors than 1 / (C - 1). Each jointly wrong clip is paired with every
    answer that b gave to another item with the same right answer; the mean over all those pairs is what a
    permutation within the right answer, which never deals an item its own answer, comes to on average. It is
    taken exactly, so nothing is drawn and no seed is needed. Clips without such a partner are left out.

    Args:
        a_wrong: the first system's wrong label on each jointly wrong clip.
        b_wrong: the second system's.
        golds: what is held fixed, the right answer (with the number of allowed answers where that varies).
        items: item of each clip; renderings of one item are never each other's null.
    """
    clips = list(zip(a_wrong, b_wrong, golds, items, strict=True))
    dealt = Counter((gold, b) for _, b, gold, _ in clips)
    own = Counter((gold, item, b) for _, b, gold, item in clips)
    of_gold = Counter(gold for _, _, gold, _ in clips)
    of_item = Counter((gold, item) for _, _, gold, item in clips)
    shares = []
    for a, _, gold, item in clips:
        others = of_gold[gold] - of_item[gold, item]
        if others:
            shares.append((dealt[gold, a] - own[gold, item, a]) / others)
    return math.fsum(shares) / len(shares) if shares else math.nan
