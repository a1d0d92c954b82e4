"""Small panels, lines with bands, and tables whose cells open clips."""

from __future__ import annotations

import math

import pytest

from dashboard.mechanism.charts import (
    CONDITION_COLOURS,
    Cell,
    Line,
    add_line,
    dressed,
    faded,
    interval_bars,
    layer_axis,
    panels,
    place_of,
    points_table,
)
from tests.dashboard.test_benchmark_components import contrast
from tests.dashboard.test_benchmark_figures import UNKNOWN_TO_THE_BUNDLED, keys_in

NAN = math.nan


def line(low: list[float], high: list[float]) -> Line:
    return Line("text", "#3b7dd8", [0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0], low, high, keys=list("abcd"))


def test_panels_stand_in_reading_order_with_escaped_titles() -> None:
    drawn = panels(["one", "<b>", "three", "four"], columns=3, row_height=100)
    assert [a.text for a in drawn.layout.annotations] == ["one", "&lt;b&gt;", "three", "four"]
    assert [place_of(n, 3) for n in (0, 2, 3)] == [
        {"row": 1, "col": 1},
        {"row": 1, "col": 3},
        {"row": 2, "col": 1},
    ]
    assert drawn.layout.xaxis5.visible is False and drawn.layout.xaxis4.visible is None


def test_a_band_runs_from_low_to_high_and_stops_where_it_is_not_defined() -> None:
    drawn = panels(["one"], columns=1, row_height=100)
    add_line(drawn, line([0.0, 1.0, NAN, 3.0], [2.0, 3.0, NAN, 5.0]), named=True, hover="%{y}", row=1, col=1)
    bands = [trace for trace in drawn.data if trace.fill == "toself"]
    assert [list(band.x) for band in bands] == [[0, 1, 1, 0]]
    assert list(bands[0].y) == [2.0, 3.0, 1.0, 0.0]
    assert list(drawn.data[-1].customdata) == ["a", "b", "c", "d"] and bands[0].customdata is None


def test_a_line_without_an_interval_has_no_band() -> None:
    drawn = panels(["one"], columns=1, row_height=100)
    add_line(drawn, Line("plain", "#3b7dd8", [0, 1], [1.0, 2.0]), named=False, hover="", row=1, col=1)
    assert [trace.fill for trace in drawn.data] == [None] and not drawn.data[0].showlegend


@pytest.mark.parametrize(
    ("layers", "ticks"), [(range(9), [0, 2, 4, 6, 8]), (range(33), [0, 8, 16, 24, 32]), ([3], [3])]
)
def test_layers_have_at_most_five_ticks(layers: list[int], ticks: list[int]) -> None:
    drawn = panels(["one"], columns=1, row_height=100)
    layer_axis(drawn, layers, row=1, col=1)
    assert list(drawn.layout.xaxis.tickvals) == ticks


def test_bars_reach_from_the_value_to_both_ends() -> None:
    bars = interval_bars([1.0, 2.0], [0.5, NAN], [3.0, NAN], "#3b7dd8")
    assert bars["array"][0] == 2.0 and bars["arrayminus"][0] == 0.5 and math.isnan(bars["array"][1])


def test_a_measured_cell_is_a_button_and_all_text_is_escaped() -> None:
    html = points_table(["<i>"], [[Cell("<b>", 'a~"b"'), "<u>"]])
    assert 'data-do="point" data-value="a~&quot;b&quot;"' in html
    assert not {"<i>", "<b>", "<u>"} & {html[at : at + 3] for at in range(len(html))}


@pytest.mark.parametrize("colour", CONDITION_COLOURS.values())
def test_conditions_can_be_told_from_both_cards(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#1a1d20") >= 3
    assert faded("#0a0b0c", 0.5) == "rgba(10,11,12,0.5)"


def test_the_bundled_plotly_knows_every_attribute() -> None:
    drawn = panels(["one", "two"], columns=2, row_height=100)
    add_line(drawn, line([0.0] * 4, [5.0] * 4), named=True, hover="%{y}", row=1, col=1)
    layer_axis(drawn, range(4), row=1, col=1)
    shown = dressed(drawn, legend_title="<run>", n_legend=2)
    assert not keys_in(shown.to_plotly_json()) & UNKNOWN_TO_THE_BUNDLED
    assert shown.layout.legend.title.text == "&lt;run&gt;" and shown.layout.height > 100
