"""Marks with intervals in panels: a row for each thing that is compared, and a line where a value would say nothing.

Undefined values are not drawn. Panels are put together as plain values, since Plotly is slow to set many axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from dashboard.figures.charts import CONTROL, GRID, TEXT
from dashboard.mechanism.charts import interval_bars

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LEGEND_ROW, _LEGEND_COLUMNS = 20, 4  # pixels, and names that fit beside each other on a wide page
_BELOW = 52  # pixels under the lowest panel, for its axis
_MARGIN = 0.05  # of a range, at either end
_SIZE = 9
_STROKE = "-ns-open"  # how the name of a symbol ends that is a stroke

Shares = tuple[float, float]


@dataclass(frozen=True)
class Marks:
    """Marks of one name in one panel.

    Attributes:
        name: on hover.
        rows: where each stands, from above; 0 is the first row, a fraction lies between two.
        values: of each; one that is NaN is not drawn.
        low: lower ends of the intervals; empty for none.
        high: upper ends.
        told: whether each is filled; empty for all.
        keys: reported when a mark is chosen; empty where nothing lies behind them.
        words: of each, on hover.
    """

    name: str
    colour: str
    rows: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    symbol: str = "circle"
    told: Sequence[bool] = ()
    keys: Sequence[str] = ()
    words: Sequence[str] = ()


@dataclass(frozen=True)
class DotPanel:
    """One panel.

    Attributes:
        titles: lines above it, the first one bold.
        rows: what is compared, from above.
        across: from the left, shares of the width.
        down: from above, shares of the height.
        x_range: of the axis.
        x_title: of the axis.
        line: where a value would say nothing; None for no line.
        whole: whether the axis has whole numbers only.
        said: what stands at the right of a row, by its number.
    """

    titles: tuple[str, ...]
    rows: tuple[str, ...]
    marks: tuple[Marks, ...]
    across: Shares
    down: Shares
    x_range: Shares
    x_title: str = ""
    line: float | None = None
    whole: bool = False
    said: Mapping[int, str] = field(default_factory=dict)


class Drawing(NamedTuple):
    """A panel as Plotly has it."""

    traces: list[dict[str, Any]]
    axes: dict[str, Any]
    texts: list[dict[str, Any]]


def fitted(values: Iterable[float], always: float) -> Shares:
    """Return the range of these values with a margin, and with one value in it always; NaN are left out."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min([always, *known]), max([always, *known])
    margin = _MARGIN * (high - low) or 0.5
    return low - margin, high + margin


def without_zero(low: float, high: float) -> bool:
    """Whether an interval is defined and excludes 0."""
    return low > 0 or high < 0


def dots(panel: DotPanel, number: int) -> Drawing:
    """Return a panel of marks; `number` names its axes."""
    traces = [trace for marks in panel.marks for trace in _traces(marks, number)]
    if panel.line is not None:
        traces.insert(0, _line(panel, number))
    above, below = (1 - share for share in panel.down)
    axes = {
        f"xaxis{number}": {
            **{"domain": panel.across, "anchor": f"y{number}", "range": list(panel.x_range)},
            **{"nticks": 4, "tickangle": 0, "gridcolor": GRID, "zeroline": False, "linecolor": GRID},
            **({"dtick": 1} if panel.whole else {}),
            "title": {"text": escape(panel.x_title, quote=False), "standoff": 4, "font": {"size": 11}},
        },
        f"yaxis{number}": {
            **{"domain": (below, above), "anchor": f"x{number}", "gridcolor": GRID, "zeroline": False},
            "range": [len(panel.rows) - 0.5, -0.5],
            "tickvals": list(range(len(panel.rows))),
            "ticktext": [escape(row, quote=False) for row in panel.rows],
        },
    }
    said = [
        beside(text, x=panel.across[1] + 0.012, y=row, yref=f"y{number}", xanchor="left")
        for row, text in panel.said.items()
    ]
    return Drawing(traces, axes, [*_heads(panel.titles, panel.across, above), *said])


def _traces(marks: Marks, number: int) -> list[dict[str, Any]]:
    kept = [at for at, value in enumerate(marks.values) if math.isfinite(value)]
    if not kept:
        return []

    def of(values: Sequence[Any]) -> list[Any]:
        return [values[at] for at in kept] if len(values) else []

    values, told = of(marks.values), of(marks.told) or [True] * len(kept)
    bars = interval_bars(values, of(marks.low), of(marks.high), marks.colour) if len(marks.low) else None
    return [
        {
            **{"type": "scatter", "mode": "markers", "xaxis": f"x{number}", "yaxis": f"y{number}"},
            **{"x": values, "y": of(marks.rows), "error_x": bars},
            **{"name": escape(marks.name, quote=False), "showlegend": False},
            "marker": {
                **_look(marks.symbol, marks.colour),
                "symbol": [marks.symbol + ("" if one else "-open") for one in told],
            },
            "customdata": of(marks.keys) or None,
            "text": [escape(words, quote=False) for words in of(marks.words)] or None,
            "hovertemplate": "%{text}<extra>%{fullData.name}</extra>" if marks.words else None,
        }
    ]


def _look(symbol: str, colour: str) -> dict[str, Any]:
    """Return size and colour of a mark: a stroke is longer and thicker than a dot's rim."""
    stroke = symbol.endswith(_STROKE)
    return {
        **{"color": colour, "size": 15 if stroke else _SIZE},
        "line": {"width": 2 if stroke else 1.5, "color": colour},
    }


def _line(panel: DotPanel, number: int) -> dict[str, Any]:
    return {
        **{"type": "scatter", "mode": "lines", "xaxis": f"x{number}", "yaxis": f"y{number}"},
        **{"x": [panel.line, panel.line], "y": [-0.5, len(panel.rows) - 0.5], "showlegend": False},
        **{"line": {"color": TEXT, "width": 1.2, "dash": "dot"}, "hoverinfo": "skip"},
    }


def _heads(titles: Sequence[str], across: Shares, above: float) -> list[dict[str, Any]]:
    lines = [escape(title, quote=False) for title in titles]
    text = "<br>".join([f"<b>{lines[0]}</b>", *lines[1:]]) if lines else ""
    return (
        [beside(text, x=across[0], y=above, yref="paper", xanchor="left", yanchor="bottom")] if text else []
    )


def beside(text: str, **place: Any) -> dict[str, Any]:
    """Return a text at a place; `x` is a share of the width, the text is HTML that is already escaped."""
    return {
        **{"text": text, "xref": "paper", "showarrow": False, "align": "left"},
        **{"font": {"size": 11.5, "color": TEXT}, **place},
    }


def legend_only(name: str, symbol: str, colour: str = CONTROL) -> dict[str, Any]:
    """Return an entry of the legend: of a mark, or of what a mark's form says, in no colour of its own."""
    return {
        **{"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "hoverinfo": "skip"},
        "marker": {**_look(symbol, colour), "symbol": symbol},
    }


def figure_of(
    drawings: Sequence[Drawing],
    *,
    height: int,
    above: int,
    left: int,
    right: int = 10,
    keys: Sequence[dict[str, Any]],
) -> go.Figure:
    """Return the figure of some panels.

    Args:
        drawings: its panels, numbered from 1.
        height: of the panels together, in pixels.
        above: room for titles, in pixels.
        left: room for names of rows, in pixels.
        right: room there, in pixels.
        keys: entries of the legend.
    """
    import plotly.graph_objects as go

    traces = [*(trace for one in drawings for trace in one.traces), *keys]
    below = _BELOW + _LEGEND_ROW * math.ceil(len(keys) / _LEGEND_COLUMNS)
    axes = {name: axis for one in drawings for name, axis in one.axes.items()}
    return go.Figure(
        traces,
        {
            "height": height + above + below,
            "margin": {"l": left, "r": right, "t": above, "b": below},
            **{"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"},
            "font": {"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
            "legend": {
                **{"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
                **{"xref": "container", "font": {"size": 11.5}},
            },
            **{"showlegend": True, "hovermode": "closest"},
            "annotations": [text for one in drawings for text in one.texts],
            **axes,
        },
    )
