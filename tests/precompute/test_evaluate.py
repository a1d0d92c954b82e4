"""Facts about the figures: intervals against scipy, kappa and word errors by hand, a whole table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from scipy.stats import binomtest

from precompute.mini.evaluate import (
    KAPPAS,
    Row,
    _kappa_rows,
    _label,
    _mean_row,
    _wer_row,
    format_rows,
    write_rows,
)


@pytest.mark.parametrize(("right", "n"), [(0, 20), (1, 20), (10, 20), (20, 20), (243, 300), (1, 1)])
def test_a_share_has_wilsons_interval(right: int, n: int) -> None:
    row = _mean_row("accuracy", "topic", "a", "b", [True] * right + [False] * (n - right))
    reference = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert row.value == right / n and row.n_items == n
    assert row.low == pytest.approx(reference.low, abs=1e-6)
    assert row.high == pytest.approx(reference.high, abs=1e-6)
    assert 0 <= row.low <= row.value <= row.high <= 1


def test_kappas_by_hand_with_intervals_that_hold_them_and_repeat() -> None:
    """20 both yes, 5 and 10 apart, 15 both no: observed 0.7, expected 0.5, kappa 0.4 (Cohen 1960)."""
    a = ["x"] * 25 + ["y"] * 25
    b = ["x"] * 20 + ["y"] * 5 + ["x"] * 10 + ["y"] * 15
    rows = _kappa_rows("topic", "a", "b", a, b)
    assert [row.measure for row in rows] == list(KAPPAS.values()) and KAPPAS["never"] == "kappa"
    for row in rows:
        assert row.value == pytest.approx(0.4) and row.low < 0.4 < row.high
    assert rows == _kappa_rows("topic", "a", "b", a, b)


def test_answers_that_were_not_parsed_agree_with_none() -> None:
    assert _label(None) is None and _label("Sci/Tech") == "sci/tech"
    headline, agrees, both = _kappa_rows("topic", "a", "b", [None, None, "x", "y"], [None, None, "x", "y"])
    assert headline.value < 0.5 and agrees.value == both.value == 1.0


def test_word_errors_are_counted_over_the_whole_corpus() -> None:
    """1 of 2 words and 0 of 8: a tenth, and not the mean of a half and nothing."""
    row = _wer_row("a", "b", [(1, 2), (0, 8)])
    assert row.value == pytest.approx(0.1) and row.n_items == 2
    # Drawn with replacement: both clips the first one (a half), or both the second (none).
    assert row.low == 0 and row.high == pytest.approx(0.5)
    assert _wer_row("a", "b", [(12, 8)]).value == 1.5


def test_the_table_is_whole_and_keeps_four_decimals(tmp_path: Path) -> None:
    rows = [Row("accuracy", "topic", "a, b", 'c "d"', 3, 1 / 3, 0.0, 1.0)]
    write_rows(rows, tmp_path / "table.csv", "a 1")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        (read,) = csv.DictReader(stream)
    assert read == {
        "measure": "accuracy",
        "task": "topic",
        "system": "a, b",
        "voices": 'c "d"',
        "n_items": "3",
        "value": "0.3333",
        "low": "0.0000",
        "high": "1.0000",
        "revisions": "a 1",
    }
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


def test_the_terminal_shows_value_and_interval() -> None:
    text = format_rows([Row("accuracy", "topic", "a", "b", 300, 0.8133, 0.7654, 0.8534)])
    assert "accuracy" in text and "0.813 [0.765, 0.853]" in text and " 300 " in text
