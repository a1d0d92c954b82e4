"""The n that would be needed: against a hand computation, its limits, and a simulation of what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.stats.significance import NIL, NO_INTERVAL, n_needed


def test_by_hand() -> None:
    """The half that faces the line is 0.2 and the effect 0.1: twice too wide, so four times the groups."""
    assert n_needed(0.1, -0.1, 0.5, 0.0, 50).n == 200
    assert n_needed(-0.1, -0.5, 0.1, 0.0, 50).n == 200
    assert n_needed(0.6, 0.4, 1.0, 0.5, 50).n == 200


def test_a_fraction_of_a_group_is_a_group() -> None:
    assert n_needed(0.3, -0.1, 0.7, 0.0, 10).n == math.ceil(10 * (0.4 / 0.3) ** 2) == 18


def test_an_interval_that_ends_on_the_line_needs_one_more() -> None:
    assert n_needed(0.01, 0.0, 0.03, 0.0, 85).n == 86


def test_about_nil_needs_more_than_could_be_had() -> None:
    """A hundred times the sample is the bound: a tenth of the half interval."""
    assert n_needed(0.0, -0.2, 0.2, 0.0, 50) == n_needed(0.019, -0.181, 0.219, 0.0, 50)
    assert math.isnan(n_needed(0.0, -0.2, 0.2, 0.0, 50).n) and n_needed(0.0, -0.2, 0.2, 0.0, 50).note == NIL
    assert n_needed(0.021, -0.179, 0.221, 0.0, 50).n > 4000


@pytest.mark.parametrize(
    ("low", "high", "n"), [(math.nan, math.nan, 50), (0.1, 0.1, 50), (-0.1, 0.3, 1), (0.2, 0.3, 50)]
)
def test_without_an_interval_nothing_is_said(low: float, high: float, n: int) -> None:
    needed = n_needed(0.1, low, high, 0.0, n)
    assert math.isnan(needed.n) and needed.note == NO_INTERVAL


def test_at_that_n_half_of_all_samples_exclude_the_line() -> None:
    """The promise of the docstring: one sample of two, and about four of five at twice the groups."""
    rng = np.random.default_rng(0)
    effect, spread, seen = 0.2, 1.0, 40
    half = 1.96 * spread / math.sqrt(seen)
    n = int(n_needed(effect, effect - half, effect + half, 0.0, seen).n)

    def excluded(size: int) -> float:
        means = rng.normal(effect, spread / math.sqrt(size), 20_000)
        return float((means - 1.96 * spread / math.sqrt(size) > 0).mean())

    assert excluded(n) == pytest.approx(0.5, abs=0.02)
    assert excluded(2 * n) == pytest.approx(0.79, abs=0.02)
    assert excluded(seen) < 0.4
