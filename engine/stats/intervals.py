"""Intervals: the cluster bootstrap over groups of related items, Wilson's for a share, figures with their resamples.

Clips of one item in several voices are no independent evidence, nor are items of one text. All of a group therefore
go into a resample together: its clips are first summed to one row of counts, and resampling is one matrix product. An
`Estimate` is how every statistic here is handed over; a `Resampled` carries its resamples, so that a difference or a
mean of several has its own interval.

Figures of the same clips are resampled with the same draws: their difference is that of two paired resamples, and
not of two intervals. Figures of which only the ends are known are put together as if independent (differences) or as
if they rose and fell together (means), and a published figure of which nothing but the value is known stays that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int


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


N_RESAMPLES = 10_000
LEVEL = 0.95
ALIKE = "All groups are alike, so resampling has no width"
_Z = 1.959963984540054  # standard normal quantile at (1 + LEVEL) / 2
_TAIL = (1 - LEVEL) / 2
_EXACT_BELOW = 2.0**24 / 20  # a resample holds no group 20 times as often as the sample
SAME = 1e-12  # means that differ by rounding alone
# Of the width of a normal interval: 95 % Monte-Carlo error of an end, by the density at the 2.5 % quantile.
_ERROR_OF_WIDTH = math.sqrt(_TAIL * (1 - _TAIL)) / (math.exp(-(_Z**2) / 2) / math.sqrt(2 * math.pi)) / 2


def per_group(
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    contributions: Float[np.ndarray, "clips features"],
) -> Float[np.ndarray, "groups features"]:
    """Return the sum of each group's clips, groups in the order of their numbers."""
    _, row = np.unique(groups, return_inverse=True)
    totals = np.zeros((int(row.max()) + 1 if len(row) else 0, contributions.shape[1]))
    np.add.at(totals, row, contributions)
    return totals


@lru_cache(maxsize=6)  # 12 MB each for 300 groups
def resample_counts(n_groups: int, n_resamples: int, seed: int) -> Float[np.ndarray, "resamples groups"]:
    """Return how often each group is drawn in each resample: multinomial rows, each of sum `n_groups`. Read-only."""
    drawn = np.random.default_rng(seed).integers(n_groups, size=(n_resamples, n_groups), dtype=np.int32)
    drawn += n_groups * np.arange(n_resamples, dtype=np.int32)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_groups).reshape(n_resamples, n_groups)
    counts = counts.astype(np.float32)
    counts.flags.writeable = False
    return counts


def resampled_sums(
    groups: Float[np.ndarray, "groups features"], n_resamples: int, seed: int
) -> Float[np.ndarray, "features resamples"]:
    """Return the sums of every resample, one feature after another.

    Counts of clips stay whole numbers below 2^24, which 32 bits hold exactly; anything else is summed in 64 bits.
    """
    counts = resample_counts(len(groups), n_resamples, seed)
    is_exact = bool((groups == np.rint(groups)).all()) and float(np.abs(groups).sum()) < _EXACT_BELOW
    dtype = np.float32 if is_exact else np.float64
    sums = groups.T.astype(dtype) @ counts.T.astype(dtype, copy=False)
    return sums.astype(np.float64)


def interval_of(
    samples: Float[np.ndarray, "resamples"],  # noqa: F821 - jaxtyping axis name
) -> tuple[float, float, float]:
    """Return both ends of the 95 % percentile interval, and the Monte-Carlo error of the worse one; NaN without any.

    The error needs no shape of the distribution: the rank of an end among the resamples is binomial, so the end
    itself lies, 95 times in 100, between the resamples 1.96 standard errors of that rank below and above it.

    Args:
        samples: of a statistic; none of them NaN.
    """
    if not len(samples):
        return math.nan, math.nan, math.nan
    spread = _Z * math.sqrt(_TAIL * (1 - _TAIL) / len(samples))
    ranks = [rank for end in (_TAIL, 1 - _TAIL) for rank in (end - spread, end, end + spread)]
    found = np.quantile(samples, np.clip(ranks, 0.0, 1.0))
    error = max(abs(found[end] - found[end + side]) for end in (1, 4) for side in (-1, 1))
    return float(found[1]), float(found[4]), float(error)


def monte_carlo_error(low: float, high: float, n_resamples: int = N_RESAMPLES) -> float:
    """Return about what `interval_of` gives as error where only the ends are known, the samples taken for normal."""
    return (high - low) * _ERROR_OF_WIDTH / math.sqrt(n_resamples)


def bootstrap(
    groups: Float[np.ndarray, "groups features"],
    statistic: Callable[[np.ndarray], np.ndarray],
    n_resamples: int = N_RESAMPLES,
    *,
    seed: int,
) -> Estimate:
    """Return a statistic of summed counts with its 95 % percentile interval over resampled groups.

    Args:
        groups: one row per group, the sum over all its clips (`per_group`).
        statistic: takes sums (..., features) and returns (...), NaN where it is not defined.
        n_resamples: resamples of groups, each as large as the sample.
        seed: of the resampling.

    Assumes that groups are independent of each other. The interval is too narrow below about 20 groups and
    has no width where all are alike. With one group it is not defined. Resamples in which the statistic
    is not defined are left out, and the note counts them.
    """
    n_groups = len(groups)
    value = float(statistic(groups.sum(axis=0))) if n_groups else math.nan
    if n_groups < 2 or math.isnan(value):
        return estimate_of(value, np.empty(0), n_groups, n_resamples)
    samples = statistic(resampled_sums(groups, n_resamples, seed).T)
    return estimate_of(value, samples, n_groups, n_resamples)


def estimate_of(
    value: float,
    samples: Float[np.ndarray, "resamples"],  # noqa: F821 - jaxtyping axis name
    n_groups: int,
    n_resamples: int = N_RESAMPLES,
) -> Estimate:
    """Return a value with the 95 % percentile interval of its resamples, those in which it is NaN left out.

    An interval without a width is never without a note.
    """
    method = f"percentile bootstrap, {n_resamples:,} resamples of groups"
    if not len(samples) or math.isnan(value):
        note = "One group has no interval." if n_groups == 1 and not math.isnan(value) else ""
        return Estimate(value, math.nan, math.nan, n_groups, method, note)
    defined = samples[~np.isnan(samples)]
    low, high, error = interval_of(defined)
    lost = len(samples) - len(defined)
    notes = [
        f"Not defined in {lost:,} of {n_resamples:,} resamples, which are left out." if lost else "",
        f"{ALIKE}." if low == high else "",
    ]
    return Estimate(value, low, high, n_groups, method, " ".join(filter(None, notes)), error)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return feature 0 over feature 1, NaN where there is nothing to divide by: a share for `bootstrap`."""
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full(np.shape(part), math.nan), where=whole > 0)


def bootstrap_mean(
    groups: Float[np.ndarray, "groups two"],
    *,
    seed: int,
    within: tuple[float, float] = (0.0, 1.0),
    n_resamples: int = N_RESAMPLES,
) -> Estimate:
    """Return a mean over clips with its interval over groups; Wilson's where resampling has no width.

    Where every group has one and the same mean, each resample is the sample itself: an interval of [1, 1] from
    ten groups, or of [0, 0] for a difference, would look like certainty. Wilson's interval for none of n groups
    says how large a share of other groups n leave open; these could lie anywhere within the range. So the ends
    are the mean, moved by that share towards each end of the range. The note says so.

    Args:
        groups: total and clips of each group; groups without clips that count are not in Wilson's.
        seed: as for `bootstrap`.
        within: what a clip's value may be: 0 to 1 for a share, -1 to 1 for the difference of two.
        n_resamples: as for `bootstrap`.
    """
    return bootstrap_means(groups[:, None], seed=seed, within=[within], n_resamples=n_resamples)[0]


def bootstrap_means(
    groups: Float[np.ndarray, "groups means two"],
    *,
    seed: int,
    within: Sequence[tuple[float, float] | None],
    n_resamples: int = N_RESAMPLES,
) -> list[Estimate]:
    """Return several means of the same clips, as `bootstrap_mean` gives each, from the same resamples of groups.

    Args:
        groups: total and clips of each group, for each mean.
        seed: as for `bootstrap`.
        within: the range of each mean's clips; None for what has no bounds, whose groups may all be alike.
        n_resamples: as for `bootstrap`.
    """
    n_groups, n_means = groups.shape[:2]
    values = ratio(groups.sum(axis=0))
    sums = (
        resampled_sums(groups.reshape(n_groups, -1), n_resamples, seed) if n_groups > 1 else np.empty((0, 0))
    )
    found = []
    for index in range(n_means):
        samples = ratio(sums[2 * index : 2 * index + 2].T) if n_groups > 1 else np.empty(0)
        value, bounds = float(values[index]), within[index]
        alike = alike_interval(groups[:, index], value, bounds) if bounds else None
        found.append(alike or estimate_of(value, samples, n_groups, n_resamples))
    return found


def alike_interval(
    groups: Float[np.ndarray, "groups two"], value: float, within: tuple[float, float]
) -> Estimate | None:
    """Return the mean with Wilson's interval as `bootstrap_mean` gives it; None where groups differ, or none counts."""
    counted = groups[groups[:, 1] > 0]
    if not len(counted) or np.ptp(counted[:, 0] / counted[:, 1]) > SAME:
        return None
    if (
        len(counted) == 1 and value not in within
    ):  # one group alone is alike to itself and says nothing of others
        return None
    others = wilson(0, len(counted))
    low = value - others.high * (value - within[0])
    high = value + others.high * (within[1] - value)
    note = f"All groups alike: Wilson's over {len(counted):,} groups."
    return Estimate(value, low, high, len(groups), others.method, note)


def bootstrap_share(groups: Float[np.ndarray, "groups two"], *, seed: int) -> Estimate:
    """Return a share of clips, as `bootstrap_mean` between 0 and 1."""
    return bootstrap_mean(groups, seed=seed)


def wilson(k: int, n: int) -> Estimate:
    """Return k of n as a share with Wilson's 95 % score interval (Wilson, 1927).

    Assumes n independent trials. Unlike the bootstrap it has a width at 0 and at 1. NaN for n = 0.
    """
    method = "Wilson score"
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, method, "There is nothing to count.")
    share, spread = k / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n, method)


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
