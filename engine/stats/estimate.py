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
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    note: str = ""
