"""Spoken knowledge: each model beside chance, the checkpoints of the training, and rho with its interval and n."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.interleaved import knowledge, training
from dashboard.interleaved.knowledge import ALL, BY_SUM, CHANCE, HEARD, ONLY_READ
from dashboard.interleaved.measured import rows_of
from precompute.interleaved import knowledge_tables
from tests.dashboard.made_interleaved import FULL, KNOWLEDGE_STEPS, LAST_STEP, SCORES


@pytest.fixture
def drawn(own_interleaved: Path) -> Any:
    return knowledge.draw("own", {"k": "10"})


def trace_of(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name and trace.x[0] is not None)


def test_three_scores_a_model_stand_beside_the_line_of_chance(drawn: Any) -> None:
    assert list(drawn.figure.layout.yaxis.ticktext) == ["text start, interleaved", "never taught"]
    line = next(trace for trace in drawn.figure.data if trace.mode == "lines" and trace.xaxis == "x")
    assert set(line.x) == {CHANCE}
    low, high = drawn.figure.layout.xaxis.range
    for measure in (ALL, HEARD, ONLY_READ):
        marks = trace_of(drawn.figure, knowledge.NAMES[measure])
        assert list(marks.x) == [SCORES[measure]] * 2 and low < SCORES[measure] < high
        assert list(marks.error_x.array) == pytest.approx([0.05, 0.05])
    assert BY_SUM in drawn.table and not any(trace.name == BY_SUM for trace in drawn.figure.data)


def test_a_mark_is_filled_where_its_interval_excludes_chance(drawn: Any) -> None:
    symbols = {
        one: set(trace_of(drawn.figure, knowledge.NAMES[one]).marker.symbol)
        for one in (ALL, HEARD, ONLY_READ)
    }
    assert symbols == {ALL: {"circle-open"}, HEARD: {"diamond"}, ONLY_READ: {"square"}}


def test_the_training_has_a_point_a_checkpoint(drawn: Any) -> None:
    peaks, scores = (trace_of(drawn.figure, name) for name in (training.PEAK_NAME, "all facts"))
    scores = next(trace for trace in drawn.figure.data if trace.name == "all facts" and trace.error_y.array)
    for curve, value in ((peaks, 0.5), (scores, SCORES[ALL])):
        assert list(curve.x) == [0, 1, 2] and list(curve.y) == [value] * 3
        assert list(curve.error_y.array) == pytest.approx([0.05] * 3)
    assert list(drawn.figure.layout.xaxis3.ticktext) == [f"{step:,}" for step in KNOWLEDGE_STEPS]
    assert drawn.figure.layout.xaxis2.domain == drawn.figure.layout.xaxis3.domain
    assert f"({FULL}), 3 checkpoints" in drawn.note


def test_rho_stands_there_with_its_interval_n_and_k(drawn: Any) -> None:
    (said,) = [note.text for note in drawn.figure.layout.annotations if "rho" in note.text]
    assert "0.22 (−0.58 to 0.81)" in said and "n = 3 checkpoints" in said and "k = 10" in said
    assert training.RELATION_K == knowledge_tables.RELATION_K


def test_without_checkpoints_there_are_no_curves(own_interleaved: Path) -> None:
    rows = rows_of("own", "spoken_knowledge")
    assert rows is not None and set(rows["step"]) == {LAST_STEP}
    assert training.training_curves(rows, rows_of("own", "phases"), 10) == training.Curves()
    assert training.training_curves(rows, None, 10) == training.Curves()
