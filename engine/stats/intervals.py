"""Intervals: the cluster bootstrap over groups of related items, and Wilson's for a share.

Clips of one item in several voices are no independent evidence, nor are items of one text. All of a group
therefore go into a resample together: its clips are first summed to one row of counts, and resampling is one
matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from engine.stats.estimate import Estimate

N_RESAMPLES = 1000
LEVEL = 0.95
ALIKE = "All groups are alike, so resampling has no width"
_Z = 1.959963984540054  # standard normal quantile at (1 + LEVEL) / 2


def per_group(
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    contributions: Float[np.ndarray, "clips features"],
) -> Float[np.ndarray, "groups features"]:
    """Return the sum of each group's clips, groups in the order of their numbers."""
    _, row = np.unique(groups, return_inverse=True)
    totals = np.zeros((int(row.max()) + 1 if len(row) else 0, contributions.shape[1]))
    np.add.at(totals, row, contributions)
    return totals


@lru_cache(maxsize=32)
def resample_counts(n_groups: int, n_resamples: int, seed: int) -> Float[np.ndarray, "resamples groups"]:
    """Return how often each group is drawn in each resample; every row sums to `n_groups`. Read-only."""
    drawn = np.random.default_rng(seed).integers(n_groups, size=(n_resamples, n_groups))
    flat = drawn + n_groups * np.arange(n_resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n_groups).reshape(n_resamples, n_groups)
    counts = counts.astype(np.float64)
    counts.flags.writeable = False
    return counts


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
        seed: of the resampling; equal numbers of groups get equal resamples, so that figures can be paired.

    Assumes that groups are independent of each other. The interval is too narrow below about 20 groups and
    has no width where all are alike. With one group it is not defined. Resamples in which the statistic
    is not defined are left out, and the note counts them.
    """
    n_groups = len(groups)
    method = f"percentile bootstrap, {n_resamples:,} resamples of groups"
    value = float(statistic(groups.sum(axis=0))) if n_groups else math.nan
    if n_groups < 2 or math.isnan(value):
        note = "One group has no interval." if n_groups == 1 and not math.isnan(value) else ""
        return Estimate(value, math.nan, math.nan, n_groups, method, note)
    samples = statistic(resample_counts(n_groups, n_resamples, seed) @ groups)
    defined = samples[~np.isnan(samples)]
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(defined) else (math.nan,) * 2
    lost = len(samples) - len(defined)
    note = f"Not defined in {lost:,} of {n_resamples:,} resamples, which are left out." if lost else ""
    return Estimate(value, float(low), float(high), n_groups, method, note)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return feature 0 over feature 1, NaN where there is nothing to divide by: a share for `bootstrap`."""
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full(np.shape(part), math.nan), where=whole > 0)


def bootstrap_share(groups: Float[np.ndarray, "groups two"], *, seed: int) -> Estimate:
    """Return a share of clips with its interval over groups; Wilson's where resampling has no width.

    Where every group is all hits or all misses alike, each resample is the sample itself: an interval of
    [1, 1] from ten groups would look like certainty. Wilson's interval over the groups that count is given
    there instead, and the note says so.

    Args:
        groups: hits and clips of each group; groups without clips that count are not in Wilson's.
        seed: as for `bootstrap`.
    """
    estimate = bootstrap(groups, ratio, seed=seed)
    n_counted = int((groups[:, 1] > 0).sum())
    if estimate.value not in (0.0, 1.0) or n_counted == 0:
        return estimate
    wide = wilson(round(estimate.value) * n_counted, n_counted)
    note = f"{ALIKE}; the interval is Wilson's over {n_counted:,} groups."
    return Estimate(estimate.value, wide.low, wide.high, len(groups), wide.method, note)


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
