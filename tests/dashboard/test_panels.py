"""Small multiples: which line stands in which panel, bands, controls, doubtful points, and what a click reports."""

from __future__ import annotations

import math

from dashboard.figures.panels import Line, Panel, panels_figure

LINE = Line("lens", [0, 1, 2], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [0.2, 0.3, 0.4], ["a", "b", "c"])
CONTROL = Line("chance", [0, 1, 2], [0.1, 0.1, 0.1], dash="dot")


def test_a_panel_has_its_lines_on_axes_of_its_own() -> None:
    figure = panels_figure(
        [[Panel("one", (CONTROL, LINE), last_layer=2), Panel("two", (CONTROL,), last_layer=31)]]
    )
    control, _, line, other = figure.data
    assert (control.xaxis, line.xaxis, other.xaxis) == ("x", "x", "x2")
    assert figure.layout.xaxis.range[1] < 2.1 and figure.layout.xaxis2.range[1] > 31
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    assert [one.text for one in figure.layout.annotations] == ["one", "two"]


def test_rows_stand_below_each_other_and_names_once_in_the_legend() -> None:
    figure = panels_figure([[Panel("one", (LINE,))], [Panel("two", (LINE,)), Panel("three")]])
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert figure.layout.yaxis2.domain[0] >= 0 and figure.layout.yaxis.domain[1] == 1
    assert sum(bool(trace.showlegend) for trace in figure.data) == 1


def test_the_lowest_panel_of_a_column_names_its_axis() -> None:
    figure = panels_figure([[Panel("one"), Panel("two")], [Panel("three")]])
    titles = [figure.layout[axis].title.text for axis in ("xaxis", "xaxis2", "xaxis3")]
    assert titles == ["", "layer", "layer"]


def test_a_band_is_the_interval_and_skips_what_is_undefined() -> None:
    nan = math.nan
    line = Line("x", [0, 1, 2], [0.1, nan, 0.3], [0.0, nan, 0.2], [0.2, nan, 0.4])
    band, drawn = panels_figure([[Panel("one", (line,))]]).data
    assert list(band.x) == [0, 2, 2, 0] and list(band.y) == [0.2, 0.4, 0.2, 0.0]
    assert band.hoverinfo == "skip" and math.isnan(drawn.y[1])


def test_only_measured_points_report_a_key() -> None:
    control, band, line = panels_figure([[Panel("one", (CONTROL, LINE))]]).data
    assert list(line.customdata) == ["a", "b", "c"]
    assert control.customdata is None and band.customdata is None
    assert control.mode == "lines" and line.mode == "lines+markers"


def test_doubtful_points_are_open_and_say_why() -> None:
    line = Line("p", [0, 1], [0.1, 0.2], doubts=["", "<i>odd</i>"])
    (drawn,) = panels_figure([[Panel("<b>t</b>", (line,), says="a < b")]]).data
    assert list(drawn.marker.symbol) == ["circle", "circle-open"]
    assert "&lt;i&gt;odd" in drawn.text[1] and drawn.text[0] == ""


def test_names_are_escaped_and_the_ground_is_clear() -> None:
    figure = panels_figure([[Panel("<b>t</b>", (Line("<u>", [0], [1.0]),), says="a < b")]])
    assert [one.text for one in figure.layout.annotations] == ["&lt;b&gt;t&lt;/b&gt;", "a &lt; b"]
    assert figure.data[0].name == "&lt;u&gt;"
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
