"""Where the phases lie: values of the table in their rows, what is undefined said there and not drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from dashboard.interleaved import phases
from dashboard.interleaved.phases import CURRENT, NEXT, SPEECH, undefined
from tests.dashboard.made_interleaved import CURRENT_PEAK, LAYERS, NEXT_PEAK
from tests.dashboard.made_interleaved import SPEECH as SPEECH_LAYER


@pytest.fixture
def drawn(own_interleaved: Path) -> Any:
    return phases.draw("own", {"k": "10"})


def marks_of(figure: Any, boundary: str) -> Any:
    name = phases.NAMES[boundary]
    return next(trace for trace in figure.data if trace.name == name and trace.x[0] is not None)


def test_each_boundary_stands_at_its_layer_with_its_interval(drawn: Any) -> None:
    for boundary, layer in ((CURRENT, CURRENT_PEAK), (NEXT, NEXT_PEAK), (SPEECH, SPEECH_LAYER)):
        marks = marks_of(drawn.figure, boundary)
        assert marks.x[0] == layer and marks.error_x.array[0] == marks.error_x.arrayminus[0] == 1
        assert marks.marker.color == phases._COLOURS[boundary]
    assert list(drawn.figure.layout.yaxis.ticktext) == ["text start, interleaved", "never taught"]


def test_a_boundary_that_does_not_exist_is_said_and_not_drawn(drawn: Any) -> None:
    assert len(marks_of(drawn.figure, SPEECH).x) == 1 and len(marks_of(drawn.figure, CURRENT).x) == 2
    said = {note.y: note.text for note in drawn.figure.layout.annotations}
    assert said[1] == "speech: no such layer in 100 % of resamples"
    assert said[0].startswith("peaks 2 (1 to 3) apart; next after current in 50 %")
    assert "<td>–</td><td>–</td><td>–</td><td>–</td><td>100 %</td>" in drawn.table


@pytest.mark.parametrize(
    ("layer", "share", "text"),
    [
        (8.0, 0.0, ""),
        (8.0, 0.507, "speech: no such layer in 51 % of resamples"),
        (math.nan, 0.231, "speech: no such layer; there is one in 77 % of resamples"),
        (math.nan, 1.0, "speech: no such layer in 100 % of resamples"),
        (math.nan, math.nan, "speech: no such layer"),
    ],
)
def test_what_is_undefined_is_a_sentence(layer: float, share: float, text: str) -> None:
    assert undefined({"boundary": SPEECH, "layer": layer, "undefined": share}) == text


def test_a_peak_whose_r_is_not_told_from_0_is_open(drawn: Any) -> None:
    assert list(marks_of(drawn.figure, CURRENT).marker.symbol) == ["circle", "circle-open"]


def test_the_last_layer_of_each_model_is_marked(drawn: Any) -> None:
    ends = next(
        trace for trace in drawn.figure.data if trace.name == phases.LAST_NAME and trace.x[0] is not None
    )
    assert set(ends.x) == {LAYERS[-1]} and "numbered from 0" in drawn.note


def test_notes_are_small_sentences_each_once(drawn: Any) -> None:
    assert drawn.note.count("It says so.") == 1 and "110 groups, 120 clips" in drawn.note
