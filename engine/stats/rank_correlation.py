"""Spearman's rank correlation with an interval, for as few pairs as there are checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from engine.stats.estimate import Estimate

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
