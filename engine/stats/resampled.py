"""Figures that carry their resamples, so that a difference or a mean of several has its own interval.

Figures of the same clips are resampled with the same draws: their difference is that of two paired resamples, and
not of two intervals. Figures of which only the ends are known are put together as if independent (differences) or as
if they rose and fell together (means), and a published figure of which nothing but the value is known stays that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.stats.estimate import Estimate
from engine.stats.intervals import SAME, estimate_of, monte_carlo_error

FROM_ENDS = "from both intervals, as if independent (MOVER)"
TOGETHER = "the mean of the intervals' ends, as if all rose and fell together: the widest that it can be"
VALUE_ONLY = "value only"


@dataclass(frozen=True)
class Resampled:
    """A figure, and what it is in each resample.

    Attributes:
        seen: value, interval and n. Its interval is NaN where the value alone is known.
        samples: the value in each resample, (resamples,); None where these are not at hand.
    """

    seen: Estimate
    samples: np.ndarray | None = None

    @classmethod
    def of(cls, value: float, samples: np.ndarray, n: int) -> Resampled:
        """Return a figure with the percentile interval of its resamples; no resamples are none."""
        return cls(estimate_of(value, samples, n), samples if len(samples) else None)

    @classmethod
    def known(cls, value: float) -> Resampled:
        """Return a figure of which the value alone is known."""
        return cls(Estimate(value, math.nan, math.nan, 0, VALUE_ONLY))

    @property
    def value(self) -> float:
        """The figure itself."""
        return self.seen.value

    def __sub__(self, other: Resampled | float) -> Resampled:
        """Return the difference: of paired resamples where both have them, else from both intervals.

        Of two intervals it is MOVER's (Zou and Donner, 2008), which takes the two for independent. Figures of the
        same clips mostly rise and fall together: it is then too wide, and leaves a question open rather than
        answering it wrongly. So is the difference of figures that no resample moves, such as two shares of none.
        """
        if isinstance(other, float):
            return self.shifted(-other)
        value, n = self.value - other.value, min(self.seen.n, other.seen.n)
        samples = None
        if self.samples is not None and other.samples is not None:
            samples = self.samples - other.samples
            found = Resampled.of(value, samples, n)
            if not found.seen.high - found.seen.low <= SAME:
                return found
        one, two = self.seen, other.seen
        low = value - math.hypot(one.value - one.low, two.high - two.value)
        high = value + math.hypot(one.high - one.value, two.value - two.low)
        error = math.hypot(one.mc_error, two.mc_error)
        note = " ".join(dict.fromkeys(filter(None, (one.note, two.note))))
        method = VALUE_ONLY if math.isnan(low) else FROM_ENDS
        return Resampled(Estimate(value, low, high, n, method, note, error), samples)

    def shifted(self, by: float) -> Resampled:
        """Return the figure with a constant added."""
        seen = self.seen
        moved = replace(seen, value=seen.value + by, low=seen.low + by, high=seen.high + by)
        return Resampled(moved, None if self.samples is None else self.samples + by)

    def turned(self) -> Resampled:
        """Return the figure with its sign changed."""
        seen = self.seen
        turned = replace(seen, value=-seen.value, low=-seen.high, high=-seen.low)
        return Resampled(turned, None if self.samples is None else -self.samples)


def over(part: Resampled, whole: Resampled) -> Resampled:
    """Return one figure over another, NaN where the second is not above 0; without resamples the value alone."""
    n = min(part.seen.n, whole.seen.n)
    value = part.value / whole.value if whole.value > 0 else math.nan
    if part.samples is None or whole.samples is None:
        return Resampled(Estimate(value, math.nan, math.nan, n, VALUE_ONLY))
    empty = np.full(len(part.samples), math.nan)
    return Resampled.of(value, np.divide(part.samples, whole.samples, out=empty, where=whole.samples > 0), n)


def mean_of(figures: Sequence[Resampled]) -> Resampled:
    """Return the mean of figures, each weighing alike.

    n is the fewest groups behind one of them. With resamples of all of them the interval is that of the mean in each
    resample. With ends alone it is the mean of the ends: as wide as a mean's interval can be, whatever goes together.
    """
    if len(figures) == 1:
        return figures[0]
    seen = [figure.seen for figure in figures]
    value = math.fsum(one.value for one in seen) / len(seen) if seen else math.nan
    n = min((one.n for one in seen), default=0)
    samples = [figure.samples for figure in figures if figure.samples is not None]
    if samples and len(samples) == len(figures):
        return Resampled.of(value, np.mean(samples, axis=0), n)
    low, high, error = (
        math.fsum(getattr(one, name) for one in seen) / max(1, len(seen))
        for name in ("low", "high", "mc_error")
    )
    method = VALUE_ONLY if math.isnan(low) else TOGETHER
    return Resampled(Estimate(value, low, high, n, method, "", error))


def from_ends(
    value: float, low: float, high: float, n: int, method: str, note: str = "", *, n_resamples: int
) -> Resampled:
    """Return a figure of which a table kept value and interval, with its Monte-Carlo error by the interval's width."""
    return Resampled(Estimate(value, low, high, n, method, note, monte_carlo_error(low, high, n_resamples)))
