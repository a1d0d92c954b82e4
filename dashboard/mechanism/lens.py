"""The logit lens through the layers, beside the words of other clips: figure 5 and table 5 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import between, figure
from dashboard.figures.charts import CONTROL
from dashboard.figures.noise_curves import COLOURS
from dashboard.figures.panels import Line, Panel, panels_figure
from dashboard.figures.table import Pressed, table_html
from dashboard.mechanism.behind import (
    PUBLISHED_LAYERS,
    PUBLISHED_NAME,
    colour_of,
    doubts_of,
    measured,
    published_cell,
    shortened,
    sizes_of,
    system_name,
    systems_of,
    why_not_measured,
)
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.clip_tables import Filters, mechanism_clips
from dashboard.mechanism.points import layer_of, parts_of, point_key
from dashboard.mechanism.section import Drawn, Listed, ListedClip, Option, Section
from dashboard.names import task_name, tasks_in_order
from dashboard.published import published
from engine.columns import ALL_TASKS, LENS_MEASURES
from engine.errors import UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

MISMATCHED = "words of other clips"
NOT_IN_RUN = "This run has no such measure; run it again (python -m precompute run --stage mechanism)."
INTERVALS = "Bands are 95 % intervals over 10,000 resamples of groups of related items."
NO_RECALL = "The paper published set precision only, over all its tasks together."
OUTSIDE_NAME = "Replication outside the paper"
_OUTSIDE = {"minicpm_o_4_5": "MiniCPM-o 4.5", "realtime_venus_audio": "Realtime Venus Audio"}
_MEASURES = {
    "precision": "Tokens that are words of the clip",
    "set_precision": "Positions whose token is a word of the clip, as the paper counts",
} | {
    f"{name}_{top}": f"{words}, among the top {top}" if top > 1 else f"{words}, at the top"
    for name, words in (("current", "Word being spoken"), ("next", "Next word"))
    for top in (1, 5, 10)
}

# The paper's one measure stands beside the reading that is its own, and nowhere else.
PAPERS_READING = "set_precision"
_PAPERS = {PAPERS_READING: "precision", "precision": "none of the paper's"}
_CONTROLS = {"precision": "control", "set_precision": "set_control"}


def _options(source: str) -> tuple[Option, ...]:
    rows = measured(source, "lens")
    found = [] if rows is None else tasks_in_order(set(rows["task"]) - {ALL_TASKS})
    tasks = {ALL_TASKS: "All tasks"} | {key: task_name(key) for key in found}
    # A section opens on its first choice: without a lens of the run's own, on the one that has the paper's figures.
    measures = _MEASURES if rows is not None else {PAPERS_READING: _MEASURES[PAPERS_READING]} | _MEASURES
    return Option("measure", "Read for", measures), Option("task", "Task", tasks)


def _draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    measure, task = chosen.get("measure", "precision"), chosen.get("task", ALL_TASKS)
    rows = measured(source, "lens")
    if rows is not None:
        rows = rows[(rows["measure"] == measure) & (rows["task"] == task)]
    theirs = published("lens")
    theirs = theirs[(theirs["measure"] == _PAPERS.get(measure, measure)) & (theirs["task"] == task)]
    top = max(
        [0.05, *theirs["score"], *([] if rows is None else [*rows["high"].dropna(), *rows["score"].dropna()])]
    )
    y_range = (0.0, min(1.0, 1.08 * top))
    panels = [*_measured_panels(source, rows, y_range)]
    if len(theirs):
        panels.append(_published_panel(theirs, y_range))
    if measure == "current_10" and task == ALL_TASKS:
        panels.append(_outside_panel())
    note = note_html(
        [
            why_not_measured(source, "lens") if rows is None else "" if len(rows) else NOT_IN_RUN,
            ""
            if rows is None or not len(rows)
            else f"Measured on {_sizes(rows)}. {INTERVALS} Dotted: {MISMATCHED}, the control.",
            *(dict.fromkeys([] if rows is None else rows["note"])),
            doubts_of(theirs) if len(theirs) else NO_RECALL,
        ]
    )
    return Drawn(panels_figure([panels]) if panels else None, _table(source, rows, theirs), note)


def _sizes(rows: pd.DataFrame) -> str:
    return sizes_of(
        rows, ("n_items", "items"), ("n_groups", "groups"), ("n_clips", "clips"), ("n_positions", "positions")
    )


def _measured_panels(source: str, rows: pd.DataFrame | None, y_range: tuple[float, float]) -> list[Panel]:
    if rows is None or not len(rows):
        return []
    last = int(rows["layer"].max())
    panels: list[Panel] = []
    for system in systems_of(source, rows):
        own = rows[rows["system"] == system].sort_values("layer")
        layers = own["layer"].tolist()
        keys = [point_key(system, one.task, one.measure, one.layer) for one in own.itertuples()]
        name = system_name(source, system)
        lines = (
            Line(MISMATCHED, layers, own["control"].tolist(), dash="dot"),
            Line(
                name,
                layers,
                own["score"].tolist(),
                own["low"].tolist(),
                own["high"].tolist(),
                keys,
                colour=colour_of(source, system),
            ),
        )
        panels.append(Panel(name, lines, y_range, last, "" if panels else "share"))
    return panels


def _published_panel(theirs: pd.DataFrame, y_range: tuple[float, float]) -> Panel:
    lines = tuple(
        Line(
            system_name("published", system),
            own["layer"].tolist(),
            own["score"].tolist(),
            doubts=own["doubt"].tolist(),
            colour=colour_of("published", system),
        )
        for system in systems_of("published", theirs)
        for own in [theirs[theirs["system"] == system]]
    )
    return Panel(PUBLISHED_NAME, lines, y_range, PUBLISHED_LAYERS)


def _outside_panel() -> Panel:
    """Return what others found: of two more models, read anywhere in the clip."""
    rows = published("lens_recall_outside")
    lines = tuple(
        Line(
            _OUTSIDE.get(str(system), MISMATCHED),
            own["layer"].tolist(),
            own["recall_at_10"].tolist(),
            doubts=own["doubt"].tolist() if system in _OUTSIDE else (),
            dash="solid" if system in _OUTSIDE else "dot",
            colour=COLOURS[3 + list(_OUTSIDE).index(str(system))] if system in _OUTSIDE else CONTROL,
        )
        for system, own in rows.groupby("system", sort=False)
    )
    return Panel(OUTSIDE_NAME, lines, (0.0, 1.0), int(rows["layer"].max()))


def _table(source: str, rows: pd.DataFrame | None, theirs: pd.DataFrame) -> str:
    cells: list[tuple[object, ...]] = []
    for system in [] if rows is None else systems_of(source, rows):
        assert rows is not None, "it has systems"
        for row in rows[rows["system"] == system].sort_values("layer").itertuples():
            score = f"{figure(row.score)} {between(row.low, row.high)}".strip()
            key = point_key(system, row.task, row.measure, row.layer)
            shown = Pressed(score, "point", key)
            cells.append(
                (system_name(source, system), row.layer, shown, figure(row.control), f"{row.n_clips:,}")
            )
    for system in systems_of("published", theirs):
        for one in theirs[theirs["system"] == system].to_dict("records"):
            name = f"{system_name('published', system)}, published"
            score = published_cell(one, figure(one["score"], 3))
            cells.append((name, one["layer"], score, "–", f"{one['n_clips']:,}"))
    headers = ("System", "Layer", "Share, choose to list its clips", MISMATCHED.capitalize(), "Clips")
    return table_html("As a table", headers, cells)


def _clips(source: str, point: str) -> Listed:
    system, task, measure, layer = parts_of(point, 4)
    if measure not in LENS_MEASURES:
        raise UnknownKeyError(f'The lens has no measure "{measure[:40]}"; choose a point in the chart.')
    where: list[tuple[str, tuple[str | int, ...]]] = [
        ("system", (system,)),
        ("layer", (layer_of(layer),)),
        ("noise", ("clean",)),
    ]
    of_task: Filters = [] if task == ALL_TASKS else [("task", (task,))]
    rows = mechanism_clips(source, "lens_clips", [*where, *of_task])
    ranked = sorted(rows.to_dict("records"), key=lambda row: _rank(row, measure))
    title = f"{system_name(source, system)}, layer {layer}: {_MEASURES[measure].lower()}"
    headers = (f"Read at layer {layer}", _MEASURES[measure], MISMATCHED.capitalize(), "Task")
    return Listed(title, headers, tuple(_listed(row, measure) for row in ranked))


def _shares(row: Mapping[str, Any], measure: str) -> tuple[float, float]:
    """Return what a clip scores and what the words of others score on it; NaN where nothing asks for a word."""
    if measure in _CONTROLS:
        return float(row[measure]), float(row[_CONTROLS[measure]])
    name, top = measure.split("_")
    own, other = (
        row[f"{one}_{top}"] / row[f"n_{one}"] if row[f"n_{one}"] else float("nan")
        for one in (name, "mismatched")
    )
    return own, other


def _rank(row: Mapping[str, Any], measure: str) -> tuple[bool, float, str]:
    """Return what orders the list: the highest scores first, clips without one last."""
    score, _ = _shares(row, measure)
    return score != score, -score if score == score else 0.0, str(row["clip_id"])


def _listed(row: Mapping[str, Any], measure: str) -> ListedClip:
    own, other = _shares(row, measure)
    cells = (
        shortened(str(row["text"])),
        figure(own),
        figure(other),
        task_name(row["task"]),
    )
    return ListedClip(str(row["clip_id"]), cells)


SECTION = Section(
    key="lens",
    title="Logit lens",
    says="What the output head reads at the clip's positions, layer by layer: text is there where a line leaves "
    "its control.",
    tables=("lens", "lens_clips"),
    options=_options,
    draw=_draw,
    clips=_clips,
)
