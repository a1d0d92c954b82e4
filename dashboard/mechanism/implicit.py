"""Implicit cascade: does a layer's lens text, read by the same LLM, lead to the speech LLM's answer?

Table 6 of arXiv 2602.17598, at every layer and beside its control: the text of another clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboard.figures.noise_curves import COLOURS
from dashboard.mechanism.charts import (
    CONTROL_COLOUR,
    Line,
    add_line,
    dressed,
    layer_axis,
    note_html,
    panels,
    place_of,
)
from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.implicit_table import implicit_table, reading_of
from dashboard.mechanism.measured import (
    answer_in_words,
    counted,
    measured_table,
    picked,
    system_option,
    tasks_of,
)
from dashboard.mechanism.points import layer_of, parts_of, point_key
from dashboard.mechanism.section import Drawn, Listed, ListedClip, Option, Section
from dashboard.names import name_of, task_name
from dashboard.published import published_as_declared
from dashboard.tables import SOURCES
from engine.words import normalise

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_COLUMNS, _PANEL_HEIGHT = 3, 150
_PUBLISHED = "Published"
_LENS, _CASCADE, _SPEECH = COLOURS[0], COLOURS[1], COLOURS[2]


@dataclass(frozen=True)
class _Reference:
    """What a measure is read against: a column, its interval's columns, and how it is drawn."""

    column: str
    name: str
    colour: str
    dash: str
    interval: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Measure:
    column: str
    axis: str
    scale: float
    interval: tuple[str, str] | None
    references: tuple[_Reference, ...]


_MEASURES = {
    "kappa": _Measure(
        "kappa",
        "kappa",
        1.0,
        ("low", "high"),
        (
            _Reference(
                "kappa_cascade", "Whisper's transcript", _CASCADE, "dash", ("cascade_low", "cascade_high")
            ),
            _Reference("kappa_mismatched", "control: another clip's text", CONTROL_COLOUR, "dot"),
        ),
    ),
    "agreement": _Measure("agreement", "same answer, %", 100.0, None, ()),
    "accuracy": _Measure(
        "accuracy",
        "right, %",
        100.0,
        ("accuracy_low", "accuracy_high"),
        (
            _Reference("speech_accuracy", "the speech LLM itself", _SPEECH, "solid"),
            _Reference("cascade_accuracy", "Whisper's transcript", _CASCADE, "dash"),
        ),
    ),
}
_MEASURE = Option(
    "measure",
    "Measure",
    {
        "kappa": "Kappa with the speech LLM",
        "agreement": "Same answer as the speech LLM",
        "accuracy": "Right answers",
    },
)
_LENS_NAME = "the layer's text"


def _options(source: str) -> tuple[Option, ...]:
    return (*system_option(source, "sufficiency"), _MEASURE)


def _draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    options = _options(source)
    measure = _MEASURES[picked(options, chosen, "measure")]
    rows = measured_table(source, "sufficiency")
    rows = rows[rows["system"] == picked(options, chosen, "system")]
    paper = published_as_declared("sufficiency")
    shown = rows[rows[measure.column].notna()]
    tasks, papers_tasks = tasks_of(shown), tasks_of(paper[paper[measure.column].notna()])
    if not tasks and not papers_tasks:
        return Drawn(None, "", note_html(["Nothing was measured or published of this."]))
    titles = [*map(task_name, tasks), *([_PUBLISHED] if papers_tasks else [])]
    drawn = panels(titles, columns=_COLUMNS, row_height=_PANEL_HEIGHT)
    for number, task in enumerate(tasks):
        of_task = shown[shown["task"] == task].sort_values("layer")
        place = place_of(number, min(_COLUMNS, len(titles)))
        for line in _lines(of_task, measure):
            add_line(
                drawn,
                line,
                named=number == 0,
                hover=f"layer %{{x}}: %{{y:{'.2f' if measure.scale == 1 else '.0f'}}}",
                **place,
            )
        layer_axis(drawn, of_task["layer"].astype(int), **place)
    if papers_tasks:
        _add_published(
            drawn, paper, papers_tasks, measure, not tasks, place_of(len(tasks), min(_COLUMNS, len(titles)))
        )
    drawn.update_yaxes(title={"text": measure.axis, "standoff": 4}, col=1)
    said = SOURCES[source] + (f": {name_of(source, str(rows['system'].iloc[0]))}" if len(rows) else "")
    n_legend = 1 + len(measure.references)
    return Drawn(
        dressed(drawn, legend_title=said, n_legend=n_legend),
        implicit_table(rows, paper),
        note_html(_notes(rows, measure, paper)),
    )


def _lines(rows: pd.DataFrame, measure: _Measure) -> list[Line]:
    """Return the lines of one task, references first so that the layer's own lies over them."""
    layers = rows["layer"].astype(int).tolist()

    def values(column: str) -> list[float]:
        return (measure.scale * rows[column].astype(float)).tolist()

    def ends(interval: tuple[str, str] | None) -> tuple[list[float], list[float]]:
        return (values(interval[0]), values(interval[1])) if interval else ([], [])

    references = [
        Line(
            one.name,
            one.colour,
            layers,
            values(one.column),
            *ends(one.interval),
            dash=one.dash,
            marked=False,
        )
        for one in measure.references
    ]
    keys = [
        point_key(row["system"], row["task"], int(row["layer"]))
        for row in rows[["system", "task", "layer"]].to_dict("records")
    ]
    return [
        *references,
        Line(_LENS_NAME, _LENS, layers, values(measure.column), *ends(measure.interval), keys=keys),
    ]


def _add_published(
    drawn: go.Figure,
    paper: pd.DataFrame,
    tasks: list[str],
    measure: _Measure,
    named: bool,
    place: dict[str, int],
) -> None:
    """Draw the paper's layer 31 in its own panel: a mark a task, nothing joined and nothing measured beside it."""
    by_task = paper.set_index("task")
    marks = [
        (measure.column, _LENS_NAME, _LENS),
        *((one.column, one.name, one.colour) for one in measure.references),
    ]
    for column, name, colour in marks:
        values = [measure.scale * float(by_task.loc[task, column]) for task in tasks]
        if all(value != value for value in values):
            continue
        drawn.add_scatter(
            x=[task_name(task).replace("CommonsenseQA", "CSQA") for task in tasks],
            y=values,
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=named,
            marker={"color": colour, "size": 8, "symbol": "diamond-open", "line": {"width": 2}},
            hovertemplate=f"%{{x}}: %{{y:.2f}}<extra>published: {name}</extra>",
            **place,
        )
    drawn.update_xaxes(tickangle=-35, tickfont={"size": 10}, **place)


def _notes(rows: pd.DataFrame, measure: _Measure, paper: pd.DataFrame) -> list[str]:
    said = []
    if len(rows):
        said += [
            f"{counted(rows)}. Bands are 95 % intervals; 10,000 resamples of groups of related items.",
            reading_of(rows),
        ]
        missing = [task for task in tasks_of(rows) if rows[rows["task"] == task][measure.column].isna().all()]
        for task in missing:
            reasons = rows[rows["task"] == task]["note"].iloc[0]
            said.append(f"{task_name(task)} is not drawn. {reasons}")
        if measure.column == "agreement":
            said.append(
                "Two answers without a label are not the same. What chance gives is told by kappa, not here."
            )
    else:
        said.append("No run was measured here; only the paper's own figures are shown.")
    if len(paper):
        said.append(
            "Published: Table 6 of arXiv 2602.17598, Ultravox v0.6 at layer 31 alone, without a control and "
            "without intervals. Its models, data and sample are others, so no mark joins it to ours."
        )
    return said


def _clips(source: str, point: str) -> Listed:
    system, task, layer = parts_of(point, 3)
    rows = mechanism_clips(
        source,
        "implicit_clips",
        [("system", (system,)), ("task", (task,)), ("layer", (layer_of(layer),))],
        ("clip_id", "gold", "heard", "label", "label_status", "speech_label", "cascade_label"),
    )
    found = sorted(rows.to_dict("records"), key=lambda row: (_same(row), str(row["clip_id"])))
    n_other = sum(not _same(row) for row in found)
    return Listed(
        f"{name_of(source, system)}, {task_name(task)}, layer {layer}: another answer than the speech LLM's on "
        f"{n_other:,} of {len(found):,} clips; these come first",
        (f"Text of layer {layer}", "Its answer", "Speech LLM", "Whisper cascade", "Right answer"),
        tuple(
            ListedClip(
                str(row["clip_id"]),
                (
                    str(row["heard"]),
                    answer_in_words(row, "label", "label_status"),
                    answer_in_words(row, "speech_label", ""),
                    answer_in_words(row, "cascade_label", ""),
                    str(row["gold"]),
                ),
            )
            for row in found
        ),
    )


def _same(row: Mapping[str, Any]) -> bool:
    """Whether the layer's text led to the speech LLM's answer; two without a label are not alike, as in the table."""
    mine, other = (
        normalise(label) if isinstance(label, str) else None for label in (row["label"], row["speech_label"])
    )
    return mine is not None and mine == other


SECTION = Section(
    key="implicit",
    title="Implicit cascade",
    says=(
        "Each layer's lens text is given to the same LLM as a transcript: how often does it answer as the speech "
        "LLM does? Look for the layer where the line leaves its control and reaches Whisper's."
    ),
    tables=("sufficiency",),
    options=_options,
    draw=_draw,
    clips=_clips,
)
