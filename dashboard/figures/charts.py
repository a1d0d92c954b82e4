"""The two ordinary charts of the clip page: where words emerge, and one token through the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dashboard.figures.table import table_html
from engine.result import LensReadout

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from engine.lens import TokenTrack

# Read on white and on near-black alike: gr.Plot does not follow the theme.
TEXT = "#7d8388"
GRID = "rgba(128,128,128,0.22)"
HIT = "#0f9a7a"
CONTROL = "#8a9096"


def emergence_figure(lens: LensReadout) -> go.Figure:
    """Return precision per layer, with the mismatched-transcript control as a dashed line."""
    import plotly.graph_objects as go

    figure = go.Figure(
        [
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


def emergence_table(lens: LensReadout) -> str:
    """Return the same as a table."""
    rows = [
        (
            layer,
            f"{own:.2f}",
            f"{other:.2f}",
            "one token holds most columns" if layer in lens.degenerate_layers else "",
        )
        for layer, own, other in zip(lens.layers, lens.precision, lens.control, strict=True)
    ]
    return table_html("As a table", ("Layer", "This clip's words", "Other clips' words", "Note"), rows)


def token_figure(track: TokenTrack, lens: LensReadout) -> go.Figure:
    """Return the token's rank over layers and time; 1 is the top, the colour is logarithmic."""
    import plotly.graph_objects as go

    ranks = np.asarray(track.ranks)
    centres_s = (np.arange(ranks.shape[1]) + 0.5) * lens.seconds_per_position
    decades = np.arange(0, np.ceil(np.log10(max(10, ranks.max()))) + 1)
    heat = go.Heatmap(
        x=centres_s.round(3),
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
            f"{(best[row] + 0.5) * lens.seconds_per_position:.2f} s",
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
