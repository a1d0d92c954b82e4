"""The bootstrap: against a slow one and SciPy's, the limits, and the trap of repeated renderings."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from engine.stats.agreement import kappa_of_counts
from engine.stats.intervals import bootstrap, bootstrap_share, per_group, ratio, resample_counts, wilson


def shares(hits: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
    """Counts of items for `ratio`: hits and clips."""
    clips = np.stack([hits.astype(float), np.ones(len(hits))], axis=1)
    return per_group(np.arange(len(hits)) if items is None else items, clips)


def width(estimate) -> float:
    return estimate.high - estimate.low


def test_clips_are_summed_to_their_items() -> None:
    summed = per_group(np.array([7, 3, 7]), np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]))
    assert summed.tolist() == [[0.0, 1.0], [2.0, 2.0]]
    assert per_group(np.array([], dtype=int), np.zeros((0, 2))).shape == (0, 2)


def test_every_resample_has_as_many_items_as_the_sample_and_is_seeded() -> None:
    counts = resample_counts(50, 200, 1)
    assert (counts.sum(axis=1) == 50).all() and counts.mean() == 1.0
    resample_counts.cache_clear()
    assert (resample_counts(50, 200, 1) == counts).all()
    assert (resample_counts(50, 200, 2) != counts).any()
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 1


def test_the_bootstrap_is_the_slow_one_on_the_same_draws() -> None:
    rng = np.random.default_rng(3)
    items = np.repeat(np.arange(40), 3)
    hits = rng.random(120) < 0.7
    fast = bootstrap(shares(hits, items), ratio, 300, seed=5)
    slow = []
    for drawn in np.random.default_rng(5).integers(40, size=(300, 40)):
        clips = np.concatenate([np.flatnonzero(items == item) for item in drawn])
        slow.append(hits[clips].mean())
    low, high = np.percentile(slow, [2.5, 97.5])
    assert (fast.value, fast.low, fast.high) == pytest.approx((hits.mean(), low, high))
    assert fast.n == 40 and "resamples of groups" in fast.method


def test_one_rendering_an_item_is_the_plain_bootstrap_of_scipy() -> None:
    hits = np.random.default_rng(4).random(300) < 0.8
    ours = bootstrap(shares(hits), ratio, 4000, seed=0)
    theirs = stats.bootstrap((hits.astype(float),), np.mean, n_resamples=4000, method="percentile", rng=0)
    interval = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.005)


def test_duplicates_of_an_item_do_not_narrow_the_interval() -> None:
    hits = np.random.default_rng(6).random(200) < 0.7
    once = bootstrap(shares(hits), ratio, seed=0)
    items = np.repeat(np.arange(200), 6)
    six_voices = bootstrap(shares(np.repeat(hits, 6), items), ratio, seed=0)
    assert (six_voices.value, six_voices.low, six_voices.high, six_voices.n) == pytest.approx(
        (once.value, once.low, once.high, once.n)
    )
    # Rows taken for independent give the too narrow interval of the trap.
    pooled = bootstrap(shares(np.repeat(hits, 6)), ratio, seed=0)
    assert width(pooled) < 0.5 * width(once)


def test_the_interval_covers_the_truth_of_clustered_answers() -> None:
    rng = np.random.default_rng(8)
    covered = naive = 0
    for _ in range(200):
        ease = rng.beta(2, 1, size=60)  # mean 2 / 3
        hits = (rng.random((60, 3)) < ease[:, None]).ravel()
        interval = bootstrap(shares(hits, np.repeat(np.arange(60), 3)), ratio, seed=0)
        plain = bootstrap(shares(hits), ratio, seed=0)
        covered += interval.low <= 2 / 3 <= interval.high
        naive += plain.low <= 2 / 3 <= plain.high
    assert covered >= 182 and naive < covered


def test_undefined_is_nan_with_a_note() -> None:
    one = bootstrap(np.array([[1.0, 2.0]]), ratio, seed=0)
    assert one.value == 0.5 and math.isnan(one.low) and one.note == "One group has no interval."
    none = bootstrap(np.zeros((0, 2)), ratio, seed=0)
    assert math.isnan(none.value) and math.isnan(none.high) and none.n == 0
    empty = bootstrap(np.zeros((3, 2)), ratio, seed=0)
    assert math.isnan(empty.value) and math.isnan(empty.low)


def test_resamples_without_a_value_are_left_out_and_counted() -> None:
    groups = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    estimate = bootstrap(groups, ratio, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
    assert "of 1,000 resamples" in estimate.note


def test_a_cell_of_300_items_in_three_voices_takes_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(9, size=(2, 900))
    counts = np.zeros((900, 81))
    counts[np.arange(900), 9 * a + b] = 1
    groups = per_group(np.repeat(np.arange(300), 3), counts)
    resample_counts.cache_clear()
    start = time.perf_counter()
    estimate = bootstrap(
        groups, lambda sums: kappa_of_counts(sums.reshape(*sums.shape[:-1], 1, 9, 9)), seed=0
    )
    assert time.perf_counter() - start < 1.0
    assert estimate.low < 0 < estimate.high


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (150, 300), (1, 1)])
def test_wilson_is_that_of_statsmodels(k: int, n: int) -> None:
    estimate = wilson(k, n)
    assert (estimate.low, estimate.high) == pytest.approx(
        proportion_confint(k, n, method="wilson"), abs=1e-12
    )
    assert estimate.value == k / n and width(estimate) > 0


def test_wilson_of_nothing_is_not_defined() -> None:
    assert math.isnan(wilson(0, 0).value) and wilson(0, 0).note


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_of_none_or_all_has_the_width_of_wilson_over_items(value: float) -> None:
    # Eight items in three voices, one of which does not count at all.
    groups = np.array([[3 * value, 3.0]] * 7 + [[0.0, 0.0]])
    share = bootstrap_share(groups, seed=0)
    expected = wilson(int(7 * value), 7)
    assert (share.value, share.low, share.high) == (value, expected.low, expected.high)
    assert "Wilson's over 7 groups" in share.note


def test_any_other_share_is_the_plain_bootstrap() -> None:
    groups = shares(np.array([True, False, True, True]))
    assert bootstrap_share(groups, seed=0) == bootstrap(groups, ratio, seed=0)
    assert math.isnan(bootstrap_share(np.zeros((3, 2)), seed=0).low)
