"""Figures with their resamples: paired differences, means, and what is left where only ends or values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.stats.intervals import (
    FROM_ENDS,
    TOGETHER,
    Estimate,
    Resampled,
    bootstrap,
    bootstrap_share,
    from_ends,
    mean_of,
    over,
    ratio,
)

RNG = np.random.default_rng(0)
COMMON = RNG.normal(size=10_000)


def drawn(value: float, spread: float, shared: float = 1.0) -> Resampled:
    """A figure whose resamples share a part with others of this file."""
    own = RNG.normal(size=10_000)
    noise = shared * COMMON + math.sqrt(1 - shared**2) * own
    return Resampled.of(value, value + spread * noise, 50)


def width(figure: Resampled) -> float:
    return figure.seen.high - figure.seen.low


def test_a_difference_of_paired_figures_is_not_that_of_two_intervals() -> None:
    """The fault: two systems on the same clips were compared by two intervals, as if independent."""
    one, other = drawn(0.8, 0.1, 0.99), drawn(0.7, 0.1, 0.99)
    paired = one - other
    ends = Resampled(one.seen) - Resampled(other.seen)
    assert paired.value == pytest.approx(0.1) and width(paired) < 0.3 * width(ends)
    assert ends.seen.method == FROM_ENDS and ends.seen.low < 0 < paired.seen.low
    independent = drawn(0.8, 0.1, 0.0) - drawn(0.7, 0.1, 0.0)
    assert width(independent) == pytest.approx(width(ends), rel=0.05)


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
    assert width(mean_of(apart)) == pytest.approx(width(apart[0]) / 2, rel=0.05)
    assert width(mean_of(together)) == pytest.approx(width(together[0]), rel=1e-6)
    ends = mean_of([Resampled(one.seen) for one in apart])
    assert ends.seen.method == TOGETHER and width(ends) == pytest.approx(width(apart[0]), rel=0.05)
    assert mean_of(apart).seen.n == 50 and mean_of(apart[:1]) is apart[0]


def test_a_share_of_a_figure_is_taken_in_each_resample() -> None:
    whole = drawn(0.8, 0.05)
    half = Resampled.of(0.4, whole.samples / 2, 50)
    assert over(half, whole).value == 0.5 and width(over(half, whole)) < 1e-9
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
