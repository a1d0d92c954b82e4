"""Shared errors: how often two systems, both wrong, are wrong in the same way, and how often chance would do it.

A question with two allowed answers has one wrong one: two systems that are both wrong there agree of
necessity. Callers leave such clips out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from engine.stats.agreement import answer_classes

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
