"""The bootstrap: against a slow one and SciPy's, the limits, and the trap of repeated renderings.

Figures with their resamples: paired differences, means, and what is left where only ends or values are known.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from engine.stats.agreement import bootstrap_kappa, confusion
from engine.stats.intervals import (
    FROM_ENDS,
    N_RESAMPLES,
    TOGETHER,
    Estimate,
    Resampled,
    bootstrap,
    bootstrap_mean,
    bootstrap_share,
    from_ends,
    mean_of,
    monte_carlo_error,
    over,
    per_group,
    ratio,
    resample_counts,
    resampled_sums,
    wilson,
)


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
    for drawn in np.random.default_rng(5).integers(40, size=(300, 40), dtype=np.int32):
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
    assert "of 10,000 resamples" in estimate.note


def test_a_cell_of_300_items_in_three_voices_takes_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.integers(9, size=(2, 900))
    counts = confusion(a.tolist(), b.tolist())
    resample_counts.cache_clear()
    start = time.process_time()  # the machine may be busy with other things
    estimate = bootstrap_kappa(counts, np.repeat(np.arange(300), 3), seed=0)
    assert time.process_time() - start < 1.0
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
    assert (share.value, share.low, share.high) == pytest.approx(
        (value, expected.low, expected.high), abs=1e-12
    )
    assert "Wilson's over 7 groups" in share.note


def test_any_other_share_is_the_plain_bootstrap() -> None:
    groups = shares(np.array([True, False, True, True]))
    assert bootstrap_share(groups, seed=0) == bootstrap(groups, ratio, seed=0)
    assert math.isnan(bootstrap_share(np.zeros((3, 2)), seed=0).low)


def test_ten_thousand_resamples_hold_an_end_within_the_error_that_is_told() -> None:
    """The fault: 1,000 moved an end by up to a tenth of the width, and verdicts with it."""
    groups = shares(np.random.default_rng(11).random(120) < 0.6)
    many = [bootstrap(groups, ratio, seed=seed) for seed in range(60)]
    truth = bootstrap(groups, ratio, 200_000, seed=99)
    for end in ("low", "high"):
        off = np.array([abs(getattr(one, end) - getattr(truth, end)) for one in many])
        told = np.array([one.mc_error for one in many])
        assert (off <= told + 1e-12).mean() >= 0.9
    assert N_RESAMPLES >= 10_000 and max(one.mc_error for one in many) < 0.06 * width(truth)


def test_the_error_by_width_is_that_of_a_smooth_statistic() -> None:
    values = np.random.default_rng(12).normal(size=200)
    one = bootstrap(np.stack([values, np.ones(200)], axis=1), ratio, seed=3)
    assert monte_carlo_error(one.low, one.high) == pytest.approx(one.mc_error, rel=0.5)
    ratio_of_errors = monte_carlo_error(0.0, 1.0, 1000) / monte_carlo_error(0.0, 1.0)
    assert ratio_of_errors == pytest.approx(math.sqrt(10))


def test_sums_of_counts_are_exact_in_32_bits_and_others_are_not_rounded() -> None:
    counts = np.random.default_rng(13).integers(9, size=(50, 3)).astype(float)
    drawn = resample_counts(50, 100, 7).astype(np.float64)
    assert (drawn @ counts == resampled_sums(counts, 100, 7).T).all()
    assert pytest.approx(drawn @ (counts / 7), rel=1e-13) == resampled_sums(counts / 7, 100, 7).T


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.0, -1.0, 1.0), (-1.0, -1.0, 1.0), (0.25, -1.0, 1.0), (1.0, 0.0, 1.0)]
)
def test_a_mean_of_equal_groups_has_a_width_and_says_why(value: float, low: float, high: float) -> None:
    """The fault: 212 differences of erasure.csv had intervals without a width, and no note."""
    groups = np.array([[2 * value, 2.0]] * 10 + [[0.0, 0.0]])
    found = bootstrap_mean(groups, seed=0, within=(low, high))
    open_share = wilson(0, 10).high
    assert found.low == pytest.approx(value - open_share * (value - low))
    assert found.high == pytest.approx(value + open_share * (high - value))
    assert found.low < found.high and "Wilson's over 10 groups" in found.note
    assert (found.low, found.high) == pytest.approx((wilson(10, 10).low, 1.0)) if low == 0.0 else True


RNG = np.random.default_rng(0)
COMMON = RNG.normal(size=10_000)


def drawn(value: float, spread: float, shared: float = 1.0) -> Resampled:
    """A figure whose resamples share a part with others of this file."""
    own = RNG.normal(size=10_000)
    noise = shared * COMMON + math.sqrt(1 - shared**2) * own
    return Resampled.of(value, value + spread * noise, 50)


def width_of_resampled(figure: Resampled) -> float:
    return figure.seen.high - figure.seen.low


def test_a_difference_of_paired_figures_is_not_that_of_two_intervals() -> None:
    """The fault: two systems on the same clips were compared by two intervals, as if independent."""
    one, other = drawn(0.8, 0.1, 0.99), drawn(0.7, 0.1, 0.99)
    paired = one - other
    ends = Resampled(one.seen) - Resampled(other.seen)
    assert paired.value == pytest.approx(0.1) and width_of_resampled(paired) < 0.3 * width_of_resampled(ends)
    assert ends.seen.method == FROM_ENDS and ends.seen.low < 0 < paired.seen.low
    independent = drawn(0.8, 0.1, 0.0) - drawn(0.7, 0.1, 0.0)
    assert width_of_resampled(independent) == pytest.approx(width_of_resampled(ends), rel=0.05)


def test_a_difference_that_no_resample_moves_has_the_width_of_both() -> None:
    """Two shares of none: each resample gives 0, which is no certainty."""
    none = Resampled(bootstrap_share(np.array([[0.0, 1.0]] * 30), seed=0), np.zeros(10_000))
    gap = none - none
    assert gap.seen.low < 0 < gap.seen.high and gap.samples is not None and "Wilson's" in gap.seen.note


def test_paired_resamples_are_those_of_the_difference_itself() -> None:
    a, b = (RNG.random((2, 80)) < 0.7).astype(float)
    gap = bootstrap(np.stack([a - b, np.ones(80)], 1), ratio, seed=4)
    both = bootstrap(np.stack([a, b, np.ones(80)], 1), lambda s: (s[..., 0] - s[..., 1]) / s[..., 2], seed=4)
    assert (gap.low, gap.high) == pytest.approx((both.low, both.high))


def test_a_mean_has_the_interval_of_its_resamples_and_of_ends_the_widest() -> None:
    apart = [drawn(0.5, 0.1, 0.0) for _ in range(4)]
    together = [drawn(0.5, 0.1) for _ in range(4)]
    assert width_of_resampled(mean_of(apart)) == pytest.approx(width_of_resampled(apart[0]) / 2, rel=0.05)
    assert width_of_resampled(mean_of(together)) == pytest.approx(width_of_resampled(together[0]), rel=1e-6)
    ends = mean_of([Resampled(one.seen) for one in apart])
    assert ends.seen.method == TOGETHER and width_of_resampled(ends) == pytest.approx(
        width_of_resampled(apart[0]), rel=0.05
    )
    assert mean_of(apart).seen.n == 50 and mean_of(apart[:1]) is apart[0]


def test_a_share_of_a_figure_is_taken_in_each_resample() -> None:
    whole = drawn(0.8, 0.05)
    half = Resampled.of(0.4, whole.samples / 2, 50)
    assert over(half, whole).value == 0.5 and width_of_resampled(over(half, whole)) < 1e-9
    assert math.isnan(over(half, Resampled.known(0.0)).value)


def test_values_alone_have_no_interval_and_stay_values() -> None:
    gap = Resampled.known(0.93) - Resampled.known(0.98)
    assert gap.value == pytest.approx(-0.05) and math.isnan(gap.seen.low) and gap.samples is None
    assert math.isnan(mean_of([gap, gap]).seen.high) and mean_of([gap, gap]).value == pytest.approx(-0.05)
    assert over(gap, Resampled.known(0.5)).value == pytest.approx(-0.1)


def test_shifting_and_turning_move_ends_and_resamples_alike() -> None:
    one = drawn(0.2, 0.1)
    moved = one.shifted(0.3).turned()
    assert (moved.value, moved.seen.low, moved.seen.high) == pytest.approx(
        (-0.5, -one.seen.high - 0.3, -one.seen.low - 0.3)
    )
    assert moved.samples is not None and moved.samples.mean() == pytest.approx(-0.5, abs=0.01)


def test_ends_of_a_table_bring_the_error_of_their_resamples() -> None:
    few, many = (from_ends(0.5, 0.4, 0.6, 30, "bootstrap", n_resamples=n) for n in (1_000, 10_000))
    assert few.seen.mc_error > 3 * many.seen.mc_error > 0
    assert isinstance(few.seen, Estimate)
