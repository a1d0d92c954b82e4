"""Small multiples over layers: a grid of panels, each with few lines, bands where intervals are, and clickable points.

The sections of the mechanism page fill them. Published and measured values never share a panel: their layers
differ in number, so each panel has an axis of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from dashboard.figures.charts import CONTROL, GRID, TEXT

if TYPE_CHECKING:
    import plotly.graph_objects as go

PANEL_HEIGHT, BETWEEN, ABOVE, BELOW = 168, 62, 26, 46  # in pixels
_LEGEND_ROW, _LEGEND_COLUMNS = 20, 5  # pixels, and names that fit beside each other on a wide page
_GAP = 0.032  # between columns, share of the width
_BAND = 0.16  # opacity


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        name: in the legend, where lines of one name share an entry.
        layers: x.
        values: y; NaN leaves a gap.
        low: lower ends of a band; empty for none.
        high: upper ends.
        keys: of the points, reported when one is chosen; empty where nothing lies behind them.
        doubts: of the points; a doubtful one is drawn open and says why on hover.
        dash: "solid" for what is measured, another for controls.
        colour: of a control, grey unless said otherwise.
    """

    name: str
    layers: Sequence[int]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    keys: Sequence[str] = ()
    doubts: Sequence[str] = ()
    dash: str = "solid"
    colour: str = CONTROL


@dataclass(frozen=True)
class Panel:
    """One panel; its lines share both axes."""

    title: str
    lines: tuple[Line, ...] = ()
    y_range: tuple[float, float] = (0.0, 1.0)
    last_layer: int = 1
    y_title: str = ""
    says: str = field(default="", compare=False)  # in the middle of a panel without lines


def panels_figure(grid: Sequence[Sequence[Panel]]) -> go.Figure:
    """Return a figure of the panels, row by row; rows may be of different length."""
    import plotly.graph_objects as go

    # All at once: Plotly takes a second to set so many axes one by one.
    traces: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    titles: list[dict[str, Any]] = []
    seen: set[str] = set()
    number = 0
    for row, panels in enumerate(grid):
        for column, panel in enumerate(panels):
            number += 1
            place = _place(row, column, len(grid), max(map(len, grid)))
            is_last = row == len(grid) - 1 or column >= len(grid[row + 1])
            axes |= _axes(panel, number, place, is_last=is_last)
            titles += _texts(panel, place)
            for line in panel.lines:
                traces += _traces(line, number, first=line.name not in seen)
                seen.add(line.name)
    below = BELOW + _LEGEND_ROW * math.ceil(len(seen) / _LEGEND_COLUMNS)
    return go.Figure(traces, _layout(len(grid), below) | axes | {"annotations": titles})


def _place(row: int, column: int, n_rows: int, n_columns: int) -> tuple[tuple[float, float], ...]:
    """Return a panel's place as shares of the width, from the left, and of the height, from below."""
    width = (1 - _GAP * (n_columns - 1)) / n_columns
    left = column * (width + _GAP)
    height = _height(n_rows)
    above = row * (PANEL_HEIGHT + BETWEEN)
    return (left, min(1.0, left + width)), (1 - (above + PANEL_HEIGHT) / height, 1 - above / height)


def _height(n_rows: int) -> int:
    return n_rows * PANEL_HEIGHT + (n_rows - 1) * BETWEEN


def _traces(line: Line, number: int, *, first: bool) -> list[dict[str, Any]]:
    """Return the line with its points, and its band before it; the legend names it once in the figure."""
    axes = {"xaxis": f"x{number}", "yaxis": f"y{number}", "type": "scatter", "legendgroup": line.name}
    band = [
        (layer, low, high)
        for layer, low, high in zip(line.layers, line.low, line.high, strict=False)
        if math.isfinite(low) and math.isfinite(high)
    ]
    traces: list[dict[str, Any]] = []
    if len(band) > 1:
        layers, low, high = zip(*band, strict=True)
        traces.append(
            axes
            | {
                "x": [*layers, *reversed(layers)],
                "y": [*high, *reversed(low)],
                "fill": "toself",
                "fillcolor": line.colour,
                "opacity": _BAND,
                "line": {"width": 0},
                "mode": "lines",
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    is_control = line.dash != "solid"
    doubts = line.doubts or [""] * len(line.layers)
    traces.append(
        axes
        | {
            "x": list(line.layers),
            "y": list(line.values),
            "name": escape(line.name, quote=False),
            "showlegend": first,
            "mode": "lines" if is_control else "lines+markers",
            "line": {"color": line.colour, "width": 1.6 if is_control else 2, "dash": line.dash},
            "marker": {
                "color": line.colour,
                "size": 7,
                "symbol": ["circle-open" if doubt else "circle" for doubt in doubts],
            },
            "customdata": list(line.keys) or None,
            "text": [f"<br>doubtful: {escape(doubt, quote=False)}" if doubt else "" for doubt in doubts],
            "hovertemplate": "layer %{x}: %{y:.2f}%{text}<extra>%{fullData.name}</extra>",
        }
    )
    return traces


def _axes(
    panel: Panel, number: int, place: tuple[tuple[float, float], ...], *, is_last: bool
) -> dict[str, Any]:
    look = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID}
    margin = 0.03 * panel.last_layer
    return {
        f"xaxis{number}": {
            "domain": place[0],
            "anchor": f"y{number}",
            "range": [-margin, panel.last_layer + margin],
            "title": {"text": "layer" if is_last else "", "standoff": 4},
            "nticks": 6,
            **look,
        },
        f"yaxis{number}": {
            "domain": place[1],
            "anchor": f"x{number}",
            "range": list(panel.y_range),
            "title": {"text": escape(panel.y_title, quote=False), "standoff": 4},
            "nticks": 5,
            **look,
        },
    }


def _texts(panel: Panel, place: tuple[tuple[float, float], ...]) -> list[dict[str, Any]]:
    """Return the title above a panel, and what stands in an empty one."""
    (left, right), (low, high) = place
    plain = {
        **{"showarrow": False, "xref": "paper", "yref": "paper", "font": {"size": 12, "color": TEXT}},
        **{"x": (left + right) / 2, "xanchor": "center"},
    }
    title = plain | {"text": escape(panel.title, quote=False), "y": high, "yanchor": "bottom"}
    said = plain | {"text": escape(panel.says, quote=False), "y": (low + high) / 2, "yanchor": "middle"}
    return [title, said] if panel.says else [title]


def _layout(n_rows: int, below: int) -> dict[str, Any]:
    return {
        "height": _height(n_rows) + ABOVE + below,
        "margin": {"l": 46, "r": 10, "t": ABOVE, "b": below},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        "legend": {
            "orientation": "h",
            "yref": "container",
            "yanchor": "bottom",
            "y": 0,
            "x": 0,
            "font": {"size": 11.5},
        },
        "showlegend": True,
        "hovermode": "closest",
    }
