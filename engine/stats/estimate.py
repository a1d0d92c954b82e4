"""A number with its interval, as every statistic here is handed over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value, low, high: NaN where not defined; `note` then says why.
        n: items behind it; renderings of one item count once.
        method: how the interval was made.
        mc_error: how far either end may lie off for the resamples are so many and no more (95 %, the larger of
            both ends); 0 for a closed form, NaN where it is not known.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    note: str = ""
    mc_error: float = 0.0
