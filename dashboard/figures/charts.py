"""The two ordinary charts of the clip page: where words emerge, and one token through the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.emergence import HIGH, LOW, Spread
from dashboard.figures.table import table_html
from engine.results import LensReadout

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from engine.lens import TokenTrack

# Read on white and on near-black alike: gr.Plot does not follow the theme.
TEXT = "#7d8388"
GRID = "rgba(128,128,128,0.22)"
HIT = "#0f9a7a"
CONTROL = "#8a9096"
OTHERS = "#5b8ad6"
OTHERS_BAND = "rgba(91,138,214,0.18)"


def emergence_figure(lens: LensReadout, spread: Spread | None = None) -> go.Figure:
    """Return precision per layer, its mismatched-transcript control, and where other clips of the task lie."""
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            *(_spread_traces(spread) if spread else ()),
            go.Scatter(
                x=list(lens.layers),
                y=list(lens.precision),
                name="this clip's words",
                mode="lines+markers",
                line={"color": HIT, "width": 2},
            ),
            go.Scatter(
                x=list(lens.layers),
                y=list(lens.control),
                name="other clips' words",
                mode="lines",
                line={"color": CONTROL, "width": 2, "dash": "dot"},
            ),
        ]
    )
    return _dressed(figure, "layer", "share of columns in the transcript", height=260)


def _spread_traces(spread: Spread) -> list[go.Scatter]:
    """Return the benchmark's clips: a band of percentiles where there are enough of them, and the mean."""
    import plotly.graph_objects as go

    def line(values: list[float], name: str, **how: Any) -> go.Scatter:
        return go.Scatter(x=list(spread.layers), y=values, name=name, mode="lines", **how)

    mean = line(
        spread.mean(), f"benchmark, mean of {spread.n_clips:,} clips", line={"color": OTHERS, "width": 2}
    )
    if not spread.has_band:
        return [mean]
    edge: dict[str, Any] = {"line": {"width": 0}, "hoverinfo": "skip"}
    return [
        line(spread.percentile(LOW), "", showlegend=False, **edge),
        line(
            spread.percentile(HIGH),
            f"its {LOW}th to {HIGH}th percentile",
            fill="tonexty",
            fillcolor=OTHERS_BAND,
            **edge,
        ),
        mean,
    ]


def emergence_table(lens: LensReadout, spread: Spread | None = None) -> str:
    """Return the same as a table."""
    headers: tuple[str, ...] = ("Layer", "This clip's words", "Other clips' words")
    columns: list[list[str]] = [[f"{one:.2f}" for one in series] for series in (lens.precision, lens.control)]
    if spread is not None:
        headers += ("Benchmark, mean", f"{LOW}th percentile", f"{HIGH}th percentile", "Clips")
        columns += _spread_columns(lens, spread)
    notes = ["one token holds most columns" if one in lens.degenerate_layers else "" for one in lens.layers]
    rows = zip(lens.layers, *columns, notes, strict=True)
    return table_html("As a table", (*headers, "Note"), rows)


def _spread_columns(lens: LensReadout, spread: Spread) -> list[list[str]]:
    """Return mean, both percentiles and number of clips for each layer of the lens."""
    series = [dict(zip(spread.layers, spread.mean(), strict=True))]
    series += [dict(zip(spread.layers, spread.percentile(one), strict=True)) for one in (LOW, HIGH)]
    columns = [[f"{one[layer]:.2f}" if layer in one else "" for layer in lens.layers] for one in series]
    if not spread.has_band:
        columns[1:] = [[""] * len(lens.layers)] * 2
    return [*columns, [str(len(spread.values.get(layer, ()))) for layer in lens.layers]]


def token_figure(track: TokenTrack, lens: LensReadout) -> go.Figure:
    """Return the token's rank over layers and time; 1 is the top, the colour is logarithmic."""
    import plotly.graph_objects as go

    ranks = np.asarray(track.ranks)
    decades = np.arange(0, np.ceil(np.log10(max(10, ranks.max()))) + 1)
    heat = go.Heatmap(
        x=lens.centres_s.round(3),
        y=np.asarray(lens.layers),
        z=np.log10(ranks).astype(np.float32),
        customdata=ranks,
        colorscale="Cividis",
        reversescale=True,
        zmin=0.0,
        zmax=float(decades[-1]),
        hovertemplate="layer %{y}, %{x:.2f} s: rank %{customdata}<extra></extra>",
        colorbar={
            "title": "rank",
            "tickvals": decades,
            "ticktext": [f"{10 ** int(decade):,}" for decade in decades],
            "thickness": 12,
            "outlinewidth": 0,
        },
    )
    return _dressed(go.Figure(heat), "seconds", "layer", height=300)


def token_table(track: TokenTrack, lens: LensReadout) -> str:
    """Return, per layer, the token's best rank, where that is, and its highest probability."""
    ranks, probabilities = np.asarray(track.ranks), np.asarray(track.probabilities)
    best = ranks.argmin(axis=1)
    rows = [
        (
            layer,
            f"{ranks[row, best[row]]:,}",
            f"{lens.centres_s[best[row]]:.2f} s",
            f"{probabilities[row].max():.3f}",
        )
        for row, layer in enumerate(lens.layers)
    ]
    return table_html("As a table", ("Layer", "Best rank", "At", "Highest probability"), rows)


def _dressed(figure: go.Figure, x_title: str, y_title: str, *, height: int) -> go.Figure:
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID}
    return figure.update_layout(
        height=height,
        margin={"l": 50, "r": 12, "t": 12, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        xaxis={"title": x_title, **axis},
        yaxis={"title": y_title, **axis},
    )
