"""Tests: McNemar's for two systems on the same clips, Benjamini and Hochberg's for many tests, Spearman's of ranks.

Spearman's rank correlation has an interval, for as few pairs as there are checkpoints. `Needed` is how many
independent groups an open question would need, judged by what was seen so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, chdtrc
from scipy.stats import rankdata

from engine.stats.intervals import Estimate

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


MOST_TIMES = 100  # beyond this many times the sample, the effect seen is about nil

NIL = "The effect seen is about nil: no number of groups that could be had would settle it."
NO_INTERVAL = "Without an interval nothing can be said of the number needed."


@dataclass(frozen=True)
class Needed:
    """How many groups would do.

    Attributes:
        n: groups; NaN where none would do or nothing can be said, and `note` then says why.
    """

    n: float
    note: str = ""


def n_needed(value: float, low: float, high: float, line: float, n: int) -> Needed:
    """Return the groups at which a 95 % interval would just exclude the line, if the effect stayed as it is.

    The half of the interval that faces the line is 1.96 standard errors, which shrink with the root of n. So
    n * (half / effect)^2, rounded up. An effect as large as the one seen would then be told from the line in
    one such sample of two; for four in five, take twice as many. It rests on the effect seen, so it is a hint
    for the next run and no test of this one.

    Args:
        value: the effect seen.
        low: lower end of its 95 % interval.
        high: upper end.
        line: what the interval has to exclude.
        n: independent groups behind it.
    """
    half = value - low if value > line else high - value
    if math.isnan(half) or math.isnan(line) or n < 2 or half <= 0:
        return Needed(math.nan, NO_INTERVAL)
    effect = abs(value - line)
    if effect * math.sqrt(MOST_TIMES) < half:
        return Needed(math.nan, NIL)
    # Rounding first: 400.00000000000006 is 400. An interval that ends on the line needs one group more.
    return Needed(float(max(n + 1, math.ceil(round(n * (half / effect) ** 2, 6)))))


METHOD = "Fisher's z with the variance of Bonett and Wright (2000)"
FEWEST = 4  # below, the variance is not defined
_Z = 1.959963984540054
TOO_FEW = "Fewer than four pairs have no interval."
CONSTANT = "One of the two does not vary."


def spearman(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Return Spearman's rho of two lists, ties by mean rank, with its 95 % interval; n counts pairs.

    The interval is that of Fisher's z with variance (1 + rho^2 / 2) / (n - 3) (Bonett and Wright, 2000). It assumes
    pairs that are independent of each other; the checkpoints of one training are not, and a figure that rises with
    the steps correlates with any other that does. At rho = 1 or -1 the interval has no width and is not given.
    """
    n = len(x)
    ranks = [rankdata(values) for values in (x, y)]
    if n < 2 or any(np.ptp(one) == 0 for one in ranks):
        return Estimate(math.nan, math.nan, math.nan, n, METHOD, CONSTANT if n > 1 else TOO_FEW)
    rho = float(np.corrcoef(*ranks)[0, 1])
    if n < FEWEST:
        return Estimate(rho, math.nan, math.nan, n, METHOD, TOO_FEW)
    if abs(rho) > 1 - 1e-12:
        return Estimate(
            math.copysign(1.0, rho), math.nan, math.nan, n, METHOD,
            "The two have one and the same order, for which this interval is not defined.",
        )  # fmt: skip
    half = _Z * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + side * half) for side in (-1, 1))
    return Estimate(rho, low, high, n, METHOD)
