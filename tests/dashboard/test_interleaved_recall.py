"""R of interleaved models: four on one range, their share of text below, continuous encoders on their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.interleaved import recall
from dashboard.interleaved.measured import UNIT_COLOUR, number
from tests.dashboard.made_interleaved import CONTROL, FULL, MODELS, excess_of

FOUR = (FULL, "random-interleaved", "text-speech", "random-speech")


@pytest.fixture
def figure(own_interleaved: Path) -> Any:
    return recall.draw("own", {"k": "10"}).figure


def line_of(figure: Any, name: str, panel: int) -> Any:
    axis = "x" if panel == 1 else f"x{panel}"
    return next(trace for trace in figure.data if trace.name == name and trace.xaxis == axis)


def test_the_four_stand_in_a_row_on_one_range_with_0_in_it(figure: Any) -> None:
    titles = [note.text for note in figure.layout.annotations if note.text]
    assert titles[:4] == [
        *("text start, interleaved", "random start, interleaved"),
        *("text start, speech only", "random start, speech only"),
    ]
    ranges = {tuple(figure.layout[axis].range) for axis in ("yaxis", "yaxis2", "yaxis3", "yaxis4")}
    ((low, high),) = ranges
    highest = max(excess_of(FULL, layer, 10, 0) for layer in range(9)) + 0.03
    assert low < -0.03 and highest < high < 1.2 * highest, "fitted to the lines and their bands, not 0 to 1"
    for panel, model in enumerate(FOUR, start=1):
        for name, d in ((recall.CURRENT_NAME, 0), (recall.NEXT_NAME, 1)):
            assert list(line_of(figure, name, panel).y) == [
                excess_of(model, layer, 10, d) for layer in range(9)
            ]


def test_the_share_of_text_stands_below_its_model_from_0_to_1(figure: Any) -> None:
    for panel in range(1, 5):
        share = line_of(figure, recall.SHARE_NAME, panel + 4)
        assert len(share.y) == 9 and share.line.color == UNIT_COLOUR
        above, below = (figure.layout["xaxis" + (str(one) if one > 1 else "")] for one in (panel, panel + 4))
        assert above.domain == below.domain
        assert tuple(figure.layout[f"yaxis{panel + 4}"].range) == (0, 1)
        assert line_of(figure, recall.NEVER_SHARE, panel + 4).line.dash != "solid"
    shares = [trace for trace in figure.data if trace.name == recall.SHARE_NAME]
    assert len(shares) == 4, "a continuous encoder has no units, so no share of text"


def test_continuous_encoders_say_that_their_range_is_their_own(figure: Any) -> None:
    titles = [note.text for note in figure.layout.annotations if note.text][4:]
    assert titles == [f"{model}, R on its own range" for model in ("mini-qwen2-audio", "mini-ultravox")]
    assert figure.layout.yaxis9.range == figure.layout.yaxis10.range != figure.layout.yaxis.range
    assert figure.layout.yaxis9.title.text == "R, own range"


def test_the_one_never_taught_is_in_each_panel_of_r_with_its_band(figure: Any) -> None:
    for panel in (1, 2, 3, 4, 9, 10):
        never = line_of(figure, recall.NEVER_TAUGHT[0], panel)
        assert never.line.dash != "solid" and set(never.y) == {0.0}
        bands = [
            trace
            for trace in figure.data
            if trace.fill == "toself" and trace.legendgroup == never.legendgroup
        ]
        assert len(bands) == 6 and max(bands[0].y) == 0.03 and min(bands[0].y) == -0.03


def test_each_k_has_its_own_lines_and_table(own_interleaved: Path) -> None:
    for k in (1, 5):
        figure = recall.draw("own", {"k": str(k)}).figure
        assert max(line_of(figure, recall.NEXT_NAME, 1).y) == pytest.approx(excess_of(FULL, 5, k, 1))
    table = recall.draw("own", {"k": "5"}).table
    assert number(excess_of(FULL, 3, 5, 0) + CONTROL) in table and "0.05" in table
    assert "<td>600</td>" not in table, "an earlier checkpoint is not the model"
    assert all(model in table for model in MODELS)
    places = [table.index(f"<td>{model}</td>") for model in (*FOUR, "untrained", "mini-qwen2-audio")]
    assert places == sorted(places)


def test_the_published_ceiling_is_called_one_and_drawn_nowhere(own_interleaved: Path) -> None:
    drawn = recall.draw("own", {"k": "5"})
    assert drawn.figure is not None
    assert "77 %" in drawn.note and "ceiling" in drawn.note and "120 clips" in drawn.note
    assert not any(0.77 in list(trace.y) for trace in drawn.figure.data)
