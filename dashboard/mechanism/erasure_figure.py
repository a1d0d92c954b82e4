"""The picture of the erasure bench: for each condition what is left, what lies beyond its controls, and the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from dashboard.figures.charts import TEXT
from dashboard.mechanism.charts import (
    CONDITION_COLOURS,
    CONTROL_COLOUR,
    dressed,
    faded,
    interval_bars,
)
from dashboard.mechanism.effects import AT, Effect, Measure
from dashboard.mechanism.erasure_marks import Band, Mark
from dashboard.names import task_name
from engine.columns import ALL_TASKS, CONTROLS
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW, _BETWEEN, _LEFT = 24, 96, 92  # in pixels: a task, what stands between conditions, room for names
_TOP = 70
_SHIFT = {"plain": 0.0, "erased": 0.0, "rank_matched": 0.27, "change_matched": -0.27}
_SYMBOLS = {"rank_matched": "diamond", "change_matched": "square"}
_NAMES = {
    "plain": "plain, nothing erased",
    "erased": "erased, with its 95 % interval",
    "rank_matched": "random at equal rank, spread over seeds",
    "change_matched": "random at equal change, spread over seeds",
}
_NO_LABEL = "erased: no label (bar from the right)"
_BEYOND = "filled: the interval excludes 0"


def bands_figure(
    bands: Sequence[Band],
    published: Mapping[str, Mapping[str, Mapping[str, Mark]]],
    tasks: Sequence[str],
    measure: Measure,
    *,
    legend_title: str,
) -> go.Figure:
    """Return the figure.

    Args:
        bands: one a condition, from above.
        published: condition -> arm -> task -> mark; {} where the paper has nothing to stand beside this.
        tasks: the rows, `ALL_TASKS` among them where it was pooled.
        measure: what is drawn.
        legend_title: source and system.
    """
    from plotly.subplots import make_subplots

    measured = any(band.marks for band in bands)
    titles = [
        *((measure.axis, "minus its controls") if measured else ()),
        *(("published",) if published else ()),
    ]
    band_height = _ROW * len(tasks)
    inner = len(bands) * band_height + (len(bands) - 1) * _BETWEEN
    drawn = make_subplots(
        rows=len(bands),
        cols=len(titles),
        shared_yaxes=True,
        column_widths=[0.4, 0.34, 0.26][: len(titles)] if measured else None,
        horizontal_spacing=0.04,
        vertical_spacing=_BETWEEN / inner if len(bands) > 1 else 0.0,
    )
    drawn.update_layout(height=inner)
    for number, band in enumerate(bands, 1):
        if measured:
            _add_values(drawn, band.marks, tasks, measure, band.condition, number, 1)
            _add_differences(drawn, band, tasks, measure, number)
        if published:
            of_band = published[band.condition]
            _add_values(drawn, of_band, tasks, measure, band.condition, number, len(titles))
        _head(drawn, band, titles, number)
    if measured:
        _set_ranges(drawn, bands, measure)
    n_legend = _add_legend(drawn, bands, measure)
    _rows(drawn, tasks)
    dressed(drawn, legend_title=legend_title, n_legend=n_legend, left=_LEFT)
    return drawn.update_layout(height=drawn.layout.height + _TOP - drawn.layout.margin.t, margin={"t": _TOP})


def _add_values(
    drawn: go.Figure,
    marks: Mapping[str, Mapping[str, Mark]],
    tasks: Sequence[str],
    measure: Measure,
    condition: str,
    row: int,
    col: int,
) -> None:
    colour = CONDITION_COLOURS[condition]
    if measure.of_table == "accuracy":
        _add_no_label(drawn, marks.get("erased", {}), tasks, colour, row, col)
    for arm in ("plain", "change_matched", "rank_matched", "erased"):
        of_arm = [(at, marks[arm][task]) for at, task in enumerate(tasks) if task in marks.get(arm, {})]
        if not of_arm:
            continue
        values, low, high = (
            [measure.scale * getattr(mark, name) for _, mark in of_arm] for name in ("value", "low", "high")
        )
        mine = TEXT if arm == "plain" else colour if arm == "erased" else CONTROL_COLOUR
        drawn.add_scatter(
            x=values,
            y=[at + _SHIFT[arm] for at, _ in of_arm],
            error_x=None if arm == "plain" else interval_bars(values, low, high, mine),
            customdata=[mark.key for _, mark in of_arm] if all(mark.key for _, mark in of_arm) else None,
            mode="markers",
            marker=_marker(arm, mine),
            text=[mark.words or f"{_task(tasks[at])}: {_value(mark, measure)}" for at, mark in of_arm],
            hovertemplate=f"%{{text}}<extra>{_NAMES[arm].split(',')[0]}</extra>",
            showlegend=False,
            row=row,
            col=col,
        )
    if measure.scale != 1.0:
        drawn.update_xaxes(range=[-4, 104], tickvals=[0, 50, 100], row=row, col=col)
    else:
        drawn.update_xaxes(nticks=4, row=row, col=col)


def _add_no_label(
    drawn: go.Figure, marks: Mapping[str, Mark], tasks: Sequence[str], colour: str, row: int, col: int
) -> None:
    """Draw the share without a label as a bar from 100 % leftwards: what lies between is wrong."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for at, task in enumerate(tasks):
        if task in marks and marks[task].no_label > 0:
            xs += [100.0 * (1.0 - marks[task].no_label), 100.0, None]
            ys += [at, at, None]
    if xs:
        drawn.add_scatter(
            x=xs,
            y=ys,
            mode="lines",
            line={"color": faded(colour, 0.3), "width": 9},
            hoverinfo="skip",
            showlegend=False,
            row=row,
            col=col,
        )


def _add_differences(drawn: go.Figure, band: Band, tasks: Sequence[str], measure: Measure, row: int) -> None:
    colour = CONDITION_COLOURS[band.condition]
    for control in CONTROLS:
        found = [
            (at, task, band.against[control][task])
            for at, task in enumerate(tasks)
            if task in band.against[control]
        ]
        if not found:
            continue
        values, low, high = (
            [measure.scale * getattr(one, name) for _, _, one in found] for name in ("value", "low", "high")
        )
        told = [one.verdict in ("exceeds", "below") for _, _, one in found]
        erased = band.marks["erased"]
        drawn.add_scatter(
            x=values,
            y=[at + _SHIFT[control] for at, _, _ in found],
            error_x=interval_bars(values, low, high, colour),
            customdata=[erased[task].key for _, task, _ in found],
            mode="markers",
            marker={
                "color": colour,
                "size": 8,
                "symbol": [_SYMBOLS[control] + ("" if one else "-open") for one in told],
            },
            text=[_task(task) for _, task, _ in found],
            hovertemplate=f"%{{text}}: %{{x:+.1f}} {measure.difference}<extra>{AT[control]}</extra>",
            showlegend=False,
            row=row,
            col=2,
        )
    # Only now: a line is not drawn in a panel that is still empty.
    drawn.add_vline(x=0, line={"color": TEXT, "width": 1.2}, row=row, col=2)
    drawn.update_xaxes(nticks=4, row=row, col=2)


def _set_ranges(drawn: go.Figure, bands: Sequence[Band], measure: Measure) -> None:
    """Give all bands one range, with 0 in it: else a small effect looks like a large one."""
    gaps = [one for band in bands for found in band.against.values() for one in found.values()]
    drawn.update_xaxes(range=_reach(gaps, measure), col=2)
    if measure.of_change:
        values = [mark for band in bands for marks in band.marks.values() for mark in marks.values()]
        drawn.update_xaxes(range=_reach(values, measure), col=1)


def _reach(values: Sequence[Effect | Mark], measure: Measure) -> list[float]:
    ends = [measure.scale * end for one in values for end in (one.value, one.low, one.high) if end == end]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.06 * (high - low) or 1.0
    return [low - margin, high + margin]


def _marker(arm: str, colour: str) -> dict[str, object]:
    if arm == "plain":
        return {"symbol": "line-ns-open", "size": 15, "color": colour, "line": {"width": 2, "color": colour}}
    if arm == "erased":
        return {"symbol": "circle", "size": 9, "color": colour}
    return {"symbol": f"{_SYMBOLS[arm]}-open", "size": 7, "color": colour, "line": {"width": 1.5}}


def _value(mark: Mark, measure: Measure) -> str:
    if measure.of_change:
        return f"{mark.value:+.2f} nats"
    no_label = "" if mark.no_label != mark.no_label else f", {100 * mark.no_label:.0f} % without a label"
    return f"{100 * mark.value:.0f} %" + ("" if measure.of_table == "unparsed_rate" else no_label)


def _head(drawn: go.Figure, band: Band, titles: Sequence[str], number: int) -> None:
    """Write over a band its condition, rank, probe and change of state, and over the first what columns show."""
    proof = "<br>".join(escape(part) for part in band.proof.split("|"))
    name = CONDITIONS[band.condition].name
    top = drawn.layout["yaxis" if number == 1 else f"yaxis{(number - 1) * len(titles) + 1}"].domain[1]
    drawn.add_annotation(
        text=f"<b>{escape(name)}</b>" + (f", {proof}" if proof else ""),
        x=0, xref="paper", xanchor="left", xshift=8 - _LEFT,
        y=top, yref="paper", yanchor="bottom", yshift=17,
        align="left", showarrow=False, font={"size": 11.5, "color": TEXT},
    )  # fmt: skip
    for at, title in enumerate(titles):
        axis = (number - 1) * len(titles) + at + 1
        left, right = drawn.layout["xaxis" if axis == 1 else f"xaxis{axis}"].domain
        drawn.add_annotation(
            text=escape(title), x=(left + right) / 2, xref="paper", xanchor="center",
            y=top, yref="paper", yanchor="bottom", showarrow=False, font={"size": 11, "color": TEXT},
        )  # fmt: skip


def _rows(drawn: go.Figure, tasks: Sequence[str]) -> None:
    drawn.update_yaxes(
        tickvals=list(range(len(tasks))),
        ticktext=[f"<b>{_task(task)}</b>" if task == ALL_TASKS else escape(_task(task)) for task in tasks],
        range=[len(tasks) - 0.5, -0.5],
    )


def _task(task: str) -> str:
    return "All tasks" if task == ALL_TASKS else task_name(task)


def _add_legend(drawn: go.Figure, bands: Sequence[Band], measure: Measure) -> int:
    """Name the marks once, without a condition's colour; return how many entries that takes."""
    ran = {arm for band in bands for arm, marks in band.marks.items() if marks}
    measured = bool(ran)
    arms = (
        {arm: name for arm, name in _NAMES.items() if arm in ran}
        if measured
        else {arm: _NAMES[arm].split(",")[0] for arm in ("plain", "erased", "rank_matched")}
    )
    for arm, name in arms.items():
        drawn.add_scatter(
            x=[None], y=[None], mode="markers", name=name, marker=_marker(arm, TEXT), hoverinfo="skip",
            row=1, col=1,
        )  # fmt: skip
    extra = 0
    if measured and measure.of_table == "accuracy":
        line = {"color": faded(TEXT, 0.35), "width": 9}
        drawn.add_scatter(x=[None], y=[None], mode="lines", name=_NO_LABEL, line=line, row=1, col=1)
        extra += 1
    if measured:
        drawn.add_scatter(
            x=[None], y=[None], mode="markers", name=_BEYOND, marker={"symbol": "diamond", "size": 8, "color": TEXT},
            row=1, col=1,
        )  # fmt: skip
        extra += 1
    return len(arms) + extra
