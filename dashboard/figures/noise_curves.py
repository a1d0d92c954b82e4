"""Accuracy against noise for all systems, and the difference speech LLM minus cascade with its zero line."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dashboard.comparison import Difference
from dashboard.components.benchmark_marks import between, figure, signed
from dashboard.figures.charts import GRID, TEXT
from dashboard.figures.table import table_html
from dashboard.names import kind_of, name_of
from dashboard.tables import Level

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# Each reads on white and on the dark card: contrast 3:1 or more against both.
COLOURS = ("#3b7dd8", "#c9741a", "#0f9a7a", "#c2549d", "#8a6fd1", "#d0533f", "#2a95b0", "#8f8a1f", "#808890")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross")  # a system's comparisons, told apart
_LINES = ("solid", "dash", "dot", "dashdot")
_DASHES = {"speech_llm": "solid", "cascade": "dash", "text_llm": "dot"}
_MARKERS = {"speech_llm": "circle", "cascade": "square", "text_llm": "diamond"}
PLOT_HEIGHT, BELOW_AXIS, LEGEND_ROW = 290, 58, 19  # in pixels
# Under the axis and one below the other, so that it looks the same on a phone and in an exported picture.
LEGEND = {
    "orientation": "v",
    "yref": "container",
    "yanchor": "bottom",
    "y": 0,
    "x": 0,
    "maxheight": 0.95,
    "font": {"size": 11.5},
    "tracegroupgap": 4,
}
FAINT = 0.3
_SPREAD = 0.22  # of a step between levels, so that intervals stand beside each other

Differences = Mapping[tuple[str, str], Sequence[Difference]]


def accuracy_figure(
    source: str,
    accuracy: pd.DataFrame,
    levels: Sequence[Level],
    systems: Sequence[str],
    colours: Mapping[str, int],
    legend_title: str,
    chosen: Collection[str],
) -> go.Figure:
    """Return accuracy per level and system with 95 % intervals; babble is joined by a line, others stand alone.

    Args:
        source: whose names are used.
        accuracy: rows of one task.
        levels: in their order on the axis.
        systems: in their order in the legend.
        colours: place of each system in COLOURS.
        legend_title: source and task, so that a picture taken along says what it shows.
        chosen: systems that stand out; the others are faint, so that nine of them can be told apart.
    """
    import plotly.graph_objects as go

    figure_ = go.Figure()
    for number, system in enumerate(systems):
        rows = accuracy[accuracy["system"] == system]
        points = _points(rows, levels)
        shift = _shift(number, len(systems))
        style = _style(colours.get(system, 0), kind_of(source, system))
        for part, joined in _parts(levels):
            figure_.add_scatter(
                x=[index + shift for index in part],
                y=[100 * points[index][0] for index in part],
                error_y=_bars([[100 * value for value in points[index]] for index in part], style["colour"]),
                name=name_of(source, system),
                legendgroup=system,
                showlegend=joined,
                opacity=1.0 if system in chosen else FAINT,
                mode="lines+markers" if joined else "markers",
                line={"color": style["colour"], "width": 2, "dash": style["dash"]},
                marker={"color": style["colour"], "size": 7, "symbol": style["symbol"]},
                text=[levels[index].name for index in part],
                hovertemplate="%{text}: %{y:.1f} %<extra>%{fullData.name}</extra>",
            )
    return _dressed(figure_, levels, "right, %", n_legend=len(systems), legend_title=legend_title)


def difference_figure(
    source: str, levels: Sequence[Level], found: Differences, colours: Mapping[str, int], legend_title: str
) -> go.Figure:
    """Return the difference in points per level and pair, with 95 % intervals and the zero line.

    Args:
        source: whose names are used.
        levels: in their order on the axis.
        found: estimates by pair, one per level.
        colours: place of each system in COLOURS; a pair has its speech LLM's.
        legend_title: source and task, so that a picture taken along says what it shows.
    """
    import plotly.graph_objects as go

    figure_ = go.Figure()
    figure_.add_hline(y=0, line={"color": TEXT, "width": 1.5})
    seen: dict[str, int] = {}
    for number, ((first, second), estimates) in enumerate(found.items()):
        shift, colour = _shift(number, len(found)), COLOURS[colours.get(first, 0) % len(COLOURS)]
        turn = seen[first] = seen.get(first, -1) + 1
        points = [[100 * value for value in (one.value, one.low, one.high)] for one in estimates]
        for part, joined in _parts(levels):
            figure_.add_scatter(
                x=[index + shift for index in part],
                y=[points[index][0] for index in part],
                error_y=_bars([points[index] for index in part], colour),
                name=f"− {name_of(source, second)}",
                legendgroup=first,
                legendgrouptitle={"text": name_of(source, first)} if joined and not turn else None,
                showlegend=joined,
                mode="lines+markers" if joined else "markers",
                line={"color": colour, "width": 2, "dash": _LINES[turn % len(_LINES)]},
                marker={"color": colour, "size": 8, "symbol": MARKERS[turn % len(MARKERS)]},
                text=[levels[index].name for index in part],
                hovertemplate="%{text}: %{y:+.1f} points<extra>%{meta} %{fullData.name}</extra>",
                meta=escape(name_of(source, first)),
            )
    return _dressed(figure_, levels, "points", n_legend=len(found) + len(seen), legend_title=legend_title)


def accuracy_table(
    source: str, accuracy: pd.DataFrame, levels: Sequence[Level], systems: Sequence[str]
) -> str:
    """Return the same as a table: share right with its interval, a row per system."""
    rows = []
    for system in systems:
        points = _points(accuracy[accuracy["system"] == system], levels)
        rows.append(
            (
                name_of(source, system),
                *(f"{figure(one[0])} {between(one[1], one[2])}".strip() for one in points),
            )
        )
    return table_html("As a table", ("System", *(level.name for level in levels)), rows)


def difference_table(source: str, levels: Sequence[Level], found: Differences) -> str:
    """Return the differences as a table, in points."""
    rows = [
        (
            f"{name_of(source, first)} − {name_of(source, second)}",
            *(
                f"{signed(100 * one.value)} {between(100 * one.low, 100 * one.high, 1)}".strip()
                for one in estimates
            ),
        )
        for (first, second), estimates in found.items()
    ]
    return table_html("As a table", ("Difference, points", *(level.name for level in levels)), rows)


def legend_height(n_rows: int) -> int:
    """Return the height of a legend in pixels."""
    return LEGEND_ROW * (n_rows + 1) + 12


def _parts(levels: Sequence[Level]) -> list[tuple[list[int], bool]]:
    """Return which levels a line joins (clean and babble) and which stand alone."""
    joined = [index for index, level in enumerate(levels) if level.noise in ("clean", "babble")]
    alone = [index for index in range(len(levels)) if index not in joined]
    return [(joined, True), *([(alone, False)] if alone else [])]


def _points(rows: pd.DataFrame, levels: Sequence[Level]) -> list[tuple[float, float, float]]:
    """Return (accuracy, low, high) of one system at each level, NaN where it was not measured."""
    known = {
        Level(row.noise, None if row.snr_db != row.snr_db else row.snr_db): (row.accuracy, row.low, row.high)
        for row in rows.itertuples()
    }
    return [known.get(level, (math.nan,) * 3) for level in levels]


def _bars(points: Sequence[Sequence[float]], colour: str) -> dict[str, Any]:
    """Return Plotly's error bars for (value, low, high); none where an interval is not defined."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, _, high in points],
        "arrayminus": [value - low for value, low, _ in points],
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def _shift(number: int, total: int) -> float:
    return 0.0 if total < 2 else _SPREAD * (2 * number / (total - 1) - 1)


def _style(number: int, kind: str) -> dict[str, str]:
    return {
        "colour": COLOURS[number % len(COLOURS)],
        "dash": _DASHES.get(kind, "dashdot"),
        "symbol": _MARKERS.get(kind, "cross"),
    }


def _dressed(
    figure_: go.Figure, levels: Sequence[Level], title: str, *, n_legend: int, legend_title: str
) -> go.Figure:
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID}
    ticks = [_short(level) for level in levels]
    return figure_.update_layout(
        height=PLOT_HEIGHT + BELOW_AXIS + legend_height(n_legend),
        margin={"l": 46, "r": 8, "t": 8, "b": BELOW_AXIS + legend_height(n_legend)},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        legend={**LEGEND, "title": {"text": escape(legend_title)}},
        showlegend=True,
        hovermode="closest",
        xaxis={
            "tickvals": list(range(len(levels))),
            "ticktext": ticks,
            "range": [-0.5, len(levels) - 0.5],
            "tickangle": 0,
            "title": {
                "text": "babble, dB" if any(level.noise == "babble" for level in levels) else "",
                "standoff": 4,
            },
            **axis,
            "showgrid": False,
        },
        yaxis={"title": title, **axis},
    )


def _short(level: Level) -> str:
    """Return a level for the axis: babble is the axis itself, so only its ratio is written."""
    if level.noise == "babble" and level.snr_db is not None:
        return f"{level.snr_db:g}"
    return {"clean": "clean", "room": "room"}.get(level.noise, escape(level.name).replace(", ", "<br>"))
