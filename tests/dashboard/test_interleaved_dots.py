"""Marks in panels: undefined ones are not drawn, forms say what is told, texts are escaped, ranges hold a value."""

from __future__ import annotations

import math

from dashboard.interleaved.dots import DotPanel, Marks, dots, figure_of, fitted, legend_only, without_zero

MARKS = Marks(
    "<i>name</i>", "#0f9a7a", [0, 1, 2], [0.1, math.nan, 0.3], [0.0, math.nan, 0.2], [0.2, math.nan, 0.4],
    told=[True, True, False], keys=["a", "b", "c"], words=["<b>one</b>", "two", "three"],
)  # fmt: skip
PANEL = DotPanel(
    ("<u>t</u>", "below"), ("<first>", "second", "third"), (MARKS,), (0.0, 0.5), (0.0, 1.0), (0.0, 1.0), "share",
    0.5, said={1: "at the right"},
)  # fmt: skip


def test_what_is_undefined_is_not_drawn() -> None:
    line, marks = dots(PANEL, 1).traces
    assert marks["x"] == [0.1, 0.3] and marks["y"] == [0, 2] and marks["customdata"] == ["a", "c"]
    assert marks["marker"]["symbol"] == ["circle", "circle-open"]
    assert [round(one, 6) for one in marks["error_x"]["array"]] == [0.1, 0.1]
    assert line["x"] == [0.5, 0.5] and line["hoverinfo"] == "skip"
    assert (
        dots(
            DotPanel((), ("row",), (Marks("", "#000000", [0], [math.nan]),), (0, 1), (0, 1), (0, 1)), 1
        ).traces
        == []
    )


def test_all_texts_are_escaped() -> None:
    drawing = dots(PANEL, 1)
    title, said = drawing.texts
    assert title["text"] == "<b>&lt;u&gt;t&lt;/u&gt;</b><br>below"
    assert said["text"] == "at the right" and said["x"] > 0.5 and said["yref"] == "y1"
    assert drawing.axes["yaxis1"]["ticktext"][0] == "&lt;first&gt;"
    marks = drawing.traces[1]
    assert marks["name"] == "&lt;i&gt;name&lt;/i&gt;" and marks["text"][0] == "&lt;b&gt;one&lt;/b&gt;"


def test_the_first_row_is_on_top_and_the_legend_is_what_it_is_told() -> None:
    figure = figure_of([dots(PANEL, 1)], height=90, above=10, left=50, keys=[legend_only("filled", "circle")])
    low, high = figure.layout.yaxis.range
    assert low > high
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["filled"]


def test_a_range_holds_its_value_and_leaves_undefined_ends_out() -> None:
    low, high = fitted([0.2, math.nan, 0.4], 0.0)
    assert low < 0.0 and 0.4 < high < 0.5
    assert fitted([], 1.0) == (0.5, 1.5)


def test_an_interval_excludes_0_only_where_it_is_defined() -> None:
    assert without_zero(0.1, 0.2) and without_zero(-0.2, -0.1)
    assert not without_zero(-0.1, 0.1) and not without_zero(math.nan, math.nan) and not without_zero(0.0, 0.1)
