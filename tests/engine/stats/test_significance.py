"""McNemar and Benjamini-Hochberg against statsmodels and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control
from statsmodels.stats.contingency_tables import mcnemar as by_statsmodels
from statsmodels.stats.multitest import multipletests

from engine.stats.significance import EXACT_BELOW, benjamini_hochberg, mcnemar

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
