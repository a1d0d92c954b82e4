"""The backbone confound: how much of an agreement goes when the cascade's backbone is another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import between, figure, signed
from dashboard.figures.charts import GRID, TEXT
from dashboard.figures.noise_curves import BELOW_AXIS, COLOURS, LEGEND, MARKERS, legend_height
from dashboard.figures.table import table_html
from dashboard.names import name_of, task_name, tasks_in_order

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_ROW_HEIGHT = 34
_SPREAD = 0.28


def confound_figure(
    source: str, confound: pd.DataFrame, colours: Mapping[str, int], legend_title: str
) -> go.Figure:
    """Return kappa with the matched minus kappa with the mismatched cascade, a row per task, zero line drawn.

    Args:
        source: whose names are used.
        confound: rows of one noise condition.
        colours: place of each system in COLOURS, one for all charts.
        legend_title: source and noise condition, so that a picture taken along says what it shows.
    """
    import plotly.graph_objects as go

    confound = confound[confound["delta"].notna()]
    tasks = tasks_in_order(confound["task"])
    drawn = go.Figure()
    drawn.add_vline(x=0, line={"color": TEXT, "width": 1.5})
    groups = list(confound.groupby(["system", "matched", "mismatched"], sort=True))
    groups.sort(key=lambda group: colours.get(str(group[0][0]), 0))
    seen: dict[str, int] = {}
    for number, (keys, rows) in enumerate(groups):
        shift = 0.0 if len(groups) < 2 else _SPREAD * (2 * number / (len(groups) - 1) - 1)
        system = str(keys[0])
        colour = COLOURS[colours.get(system, 0) % len(COLOURS)]
        turn = seen[system] = seen.get(system, -1) + 1
        drawn.add_scatter(
            x=rows["delta"].tolist(),
            y=[tasks.index(task) + shift for task in rows["task"]],
            error_x=_bars(rows, colour),
            mode="markers",
            name=f"{name_of(source, str(keys[1]))}<br>and not {name_of(source, str(keys[2]))}",
            legendgroup=system,
            legendgrouptitle=None if turn else {"text": name_of(source, system)},
            marker={"color": colour, "size": 9, "symbol": MARKERS[turn % len(MARKERS)]},
            text=[task_name(task) for task in rows["task"]],
            hovertemplate="%{text}: %{x:+.2f}<extra>%{fullData.name}</extra>",
        )
    below = BELOW_AXIS + legend_height(2 * len(groups) + len(seen) + 1)
    return _dressed(drawn, [task_name(task) for task in tasks], legend_title, below)


def _dressed(drawn: go.Figure, tasks: Sequence[str], legend_title: str, below: int) -> go.Figure:
    """Return the figure with its axes and its legend, which takes `below` pixels with the lower axis."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID}
    return drawn.update_layout(
        height=_ROW_HEIGHT * len(tasks) + below,
        margin={"l": 8, "r": 8, "t": 8, "b": below - 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 12, "family": "system-ui, sans-serif"},
        legend={**LEGEND, "title": {"text": escape(legend_title)}},
        showlegend=True,
        xaxis={"title": "difference in kappa", **axis},
        yaxis={
            "tickvals": list(range(len(tasks))),
            "ticktext": [escape(task) for task in tasks],
            "range": [len(tasks) - 0.5, -0.5],
            "automargin": True,
            **axis,
        },
    )


def confound_table(source: str, confound: pd.DataFrame) -> str:
    """Return the same as a table."""
    rows = [
        (
            name_of(source, row["system"]),
            name_of(source, row["matched"]),
            name_of(source, row["mismatched"]),
            task_name(row["task"]),
            figure(row["kappa_matched"]),
            figure(row["kappa_mismatched"]),
            f"{signed(row['delta'], 2)} {between(row['low'], row['high'])}".strip(),
            figure(row.get("delta_unparsed_agree")),
            figure(row.get("delta_both_parsed")),
            "; ".join(filter(None, (row.get("status"), row.get("place"), row.get("doubt"), row.get("note")))),
        )
        for row in confound.to_dict("records")
    ]
    headers = (
        "Speech LLM",
        "Matched",
        "Mismatched",
        "Task",
        "Kappa",
        "Kappa, mismatched",
        "Difference",
        "If unparsed agree",
        "Both parsed",
        "Note",
    )
    return table_html("As a table", headers, rows)


def _bars(rows: pd.DataFrame, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["high"] - rows["delta"]).tolist(),
        "arrayminus": (rows["delta"] - rows["low"]).tolist(),
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }
