"""Tests: McNemar's for two systems on the same clips, and Benjamini and Hochberg's for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, chdtrc

EXACT_BELOW = 25  # discordant pairs


def mcnemar(b: int, c: int) -> float:
    """Return the two-sided p of McNemar's test that two systems are right equally often.

    Exact (binomial) below 25 discordant pairs, else chi-square with Edwards' continuity correction; 1 without
    discordant pairs. Assumes that pairs are independent: where an item stands in several renderings p is
    too small.

    Args:
        b: pairs in which only the first is right.
        c: pairs in which only the second is right.
    """
    n = b + c
    if n < EXACT_BELOW:
        return min(1.0, 2 * float(bdtr(min(b, c), n, 0.5)))
    return float(chdtrc(1, (abs(b - c) - 1) ** 2 / n))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return p adjusted for the false discovery rate over all defined p; NaN stays NaN and is not counted.

    Step-up procedure (Benjamini and Hochberg, 1995): valid for independent and for positively dependent tests.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(values), math.nan)
    places = np.flatnonzero(~np.isnan(values))
    order = places[np.argsort(values[places], kind="stable")]
    raised = values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return [float(value) for value in adjusted]
