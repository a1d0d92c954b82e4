"""Spearman's rho against SciPy's, its interval by hand and by coverage, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.stats.significance import CONSTANT, TOO_FEW, spearman


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
