"""Scores of one system beside accuracy: macro-F1 and the baseline that needs no ears."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def macro_f1(golds: Sequence[str], answers: Sequence[str | None]) -> float:
    """Return the unweighted mean of F1 over the right answers that occur, in [0, 1]; NaN without clips.

    None is an answer without a label: it is a miss of the right answer and a false alarm of none. A label
    that is never the right answer has no F1 of its own; it lowers that of the answers it was given for.
    """
    hits = Counter(gold for gold, answer in zip(golds, answers, strict=True) if gold == answer)
    asked, given = Counter(golds), Counter(answers)
    scores = [2 * hits[label] / (asked[label] + given[label]) for label in asked]
    return math.fsum(scores) / len(scores) if scores else math.nan


def majority_baseline(golds: Sequence[str]) -> float:
    """Return the accuracy of always giving the commonest right answer; NaN without clips."""
    return max(Counter(golds).values()) / len(golds) if golds else math.nan
