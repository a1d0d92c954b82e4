"""McNemar and Benjamini-Hochberg against statsmodels and SciPy.

The n that would be needed: against a hand computation, its limits, and a simulation of what it promises.

Spearman's rho against SciPy's, its interval by hand and by coverage, and where there is none.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control, spearmanr
from statsmodels.stats.contingency_tables import mcnemar as by_statsmodels
from statsmodels.stats.multitest import multipletests

from engine.stats.significance import (
    CONSTANT,
    EXACT_BELOW,
    NIL,
    NO_INTERVAL,
    TOO_FEW,
    benjamini_hochberg,
    mcnemar,
    n_needed,
    spearman,
)

PS = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(b: int, c: int) -> None:
    table = [[11, b], [c, 7]]
    theirs = by_statsmodels(table, exact=b + c < EXACT_BELOW, correction=True).pvalue
    assert mcnemar(b, c) == pytest.approx(float(theirs), rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 5), (9, 3), (12, 12)])
def test_few_discordant_pairs_are_tested_exactly(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c, 0.5).pvalue)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(10, 30) == pytest.approx(math.erfc(math.sqrt(19**2 / 40 / 2)))
    assert mcnemar(0, 0) == 1.0


def test_the_test_keeps_its_level_on_independent_pairs() -> None:
    rng = np.random.default_rng(0)
    rejected = np.mean([mcnemar(int(b), 60 - int(b)) < 0.05 for b in rng.binomial(60, 0.5, size=4000)])
    assert 0.01 < rejected <= 0.055


@given(PS)
def test_adjusted_p_are_those_of_statsmodels_and_scipy(p: list[float]) -> None:
    ours = benjamini_hochberg(p)
    assert ours == pytest.approx(multipletests(p, method="fdr_bh")[1], rel=1e-9)
    assert ours == pytest.approx(false_discovery_control(p), rel=1e-9)
    assert all(raised >= plain * (1 - 1e-12) for raised, plain in zip(ours, p, strict=True))


def test_adjusted_p_by_hand_and_undefined_p_left_out() -> None:
    adjusted = benjamini_hochberg([0.04, float("nan"), 0.01, 0.03])
    assert adjusted[2] == pytest.approx(0.03) and adjusted[0] == adjusted[3] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert benjamini_hochberg([]) == []


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


def test_rho_is_scipys_ties_included() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 8, 40):
        x, y = rng.integers(0, 6, n), rng.integers(0, 6, n)
        assert spearman(x.tolist(), y.tolist()).value == pytest.approx(spearmanr(x, y).statistic)


def test_the_interval_by_hand() -> None:
    """[1 2 3 4 5] and [2 1 4 3 5]: sum of squared differences 4, rho = 1 - 24 / 120 = 0.8."""
    it = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    half = 1.959963984540054 * math.sqrt((1 + 0.32) / 2)
    assert it.value == pytest.approx(0.8) and it.n == 5
    assert it.low == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert it.high == pytest.approx(math.tanh(math.atanh(0.8) + half)) and it.low < 0 < it.high


def test_the_interval_holds_no_relation_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [spearman(*rng.normal(size=(2, 12)).tolist()) for _ in range(1000)]
    assert sum(it.low <= 0 <= it.high for it in found) / 1000 == pytest.approx(0.95, abs=0.025)


def test_what_is_not_defined_says_why() -> None:
    few = spearman([1, 2, 3], [1, 3, 2])
    assert few.value == pytest.approx(0.5) and math.isnan(few.low) and few.note == TOO_FEW
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]).note == CONSTANT
    same = spearman([1, 2, 3, 4], [10, 20, 30, 40])
    assert same.value == 1.0 and math.isnan(same.low) and "same order" in same.note
    assert spearman([4, 3, 2, 1], [10, 20, 30, 40]).value == -1.0
