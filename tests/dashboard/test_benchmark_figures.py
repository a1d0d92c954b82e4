"""The charts' data, their labels and colours; and that the bundled plotly.js knows every attribute used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.benchmark_link import BenchmarkView, settled
from dashboard.figures.noise_curves import COLOURS
from dashboard.tables import Level, at, table
from dashboard.tabs import benchmark_parts as parts
from tests.dashboard.test_benchmark_components import contrast

# New in plotly.js 4: gradio's bundled 3.3.1 would ignore them without a word.
UNKNOWN_TO_THE_BUNDLED = {"clickanywhere", "hoveranywhere", "hoversort", "groupdoubleclick", "titleclick"}


@pytest.fixture
def view(own_run: Path) -> BenchmarkView:
    return settled(BenchmarkView("own", "topic", "babble-5"))


def keys_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_in(inner)}
    return {key for inner in value for key in keys_in(inner)} if isinstance(value, list | tuple) else set()


def test_accuracy_points_and_intervals_are_the_tables(view: BenchmarkView) -> None:
    figure = parts.accuracy(view)["accuracy_plot"]
    line = next(t for t in figure.data if t.name == "mini-Ultravox" and t.mode == "lines+markers")
    rows = at(table("own", "accuracy"), task="topic", level=Level("babble", 0.0)).set_index("system")
    row = rows.loc["mini-ultravox"]
    assert line.text[-1] == "babble, 0 dB"
    assert line.y[-1] == pytest.approx(100 * row["accuracy"])
    assert line.y[-1] + line.error_y.array[-1] == pytest.approx(100 * row["high"])
    assert line.y[-1] - line.error_y.arrayminus[-1] == pytest.approx(100 * row["low"])


def test_the_pair_stands_out_among_all_systems(view: BenchmarkView) -> None:
    figure = parts.accuracy(view)["accuracy_plot"]
    bold = {trace.legendgroup for trace in figure.data if trace.opacity == 1.0}
    faint = {trace.legendgroup for trace in figure.data if trace.opacity < 0.5}
    assert bold == set(view.pair) and faint and not bold & faint


def test_babble_is_a_line_and_other_noises_stand_alone(view: BenchmarkView) -> None:
    figure = parts.accuracy(view)["accuracy_plot"]
    joined, alone = (
        [t.text for t in figure.data if t.name == "mini-Ultravox" and t.mode == mode]
        for mode in ("lines+markers", "markers")
    )
    assert [len(one) for one in joined] == [5] and list(alone[0]) == ["white, 10 dB", "reverberant room"]


def test_the_difference_has_a_zero_line_and_one_trace_a_pair(view: BenchmarkView) -> None:
    figure = parts.differences(view)["difference_plot"]
    assert any(shape.y0 == 0 == shape.y1 for shape in figure.layout.shapes)
    assert len([t for t in figure.data if t.mode == "lines+markers"]) == 3


def test_a_system_has_one_colour_in_every_chart(view: BenchmarkView) -> None:
    charts = {**parts.accuracy(view), **parts.differences(view), **parts.confound(view)}
    own = next(t for t in charts["accuracy_plot"].data if t.name == "mini-Ultravox").marker.color
    for name in ("difference_plot", "confound_plot"):
        traces = [t for t in charts[name].data if t.legendgroup == "mini-ultravox"]
        assert traces and {t.marker.color for t in traces} == {own}


def test_each_picture_says_where_its_numbers_come_from(view: BenchmarkView) -> None:
    measured = {**parts.accuracy(view), **parts.differences(view), **parts.confound(view)}
    published = parts.confound(settled(BenchmarkView("published")))
    assert measured["accuracy_plot"].layout.legend.title.text == "Own run: Topic"
    assert measured["confound_plot"].layout.legend.title.text == "Own run: babble, 5 dB"
    assert published["confound_plot"].layout.legend.title.text == "Published, arXiv 2602.17598: clean"


def test_confound_is_matched_minus_mismatched(view: BenchmarkView) -> None:
    figure = parts.confound(view)["confound_plot"]
    rows = at(table("own", "confound"), level=Level("babble", 5.0))
    drawn = sorted(x for trace in figure.data for x in trace.x)
    assert drawn == pytest.approx(sorted(rows["delta"].dropna()))
    assert any(shape.x0 == 0 == shape.x1 for shape in figure.layout.shapes)


def test_published_noise_is_words_and_never_a_curve() -> None:
    html = parts.stated()
    assert "derived, Figure 3" in html and "stated range" in html and "90.4 %" in html


def test_the_bundled_plotly_knows_every_attribute(view: BenchmarkView) -> None:
    charts = {**parts.accuracy(view), **parts.differences(view), **parts.confound(view)}
    for name in ("accuracy_plot", "difference_plot", "confound_plot"):
        assert not keys_in(charts[name].to_plotly_json()) & UNKNOWN_TO_THE_BUNDLED


@pytest.mark.parametrize("colour", COLOURS)
def test_lines_can_be_seen_on_both_cards(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#1a1d20") >= 3
