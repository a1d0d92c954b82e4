"""Probes at every layer, beside what the same probe reads from nothing: figure 4 and table 4 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import between, figure
from dashboard.figures.panels import Line, Panel, panels_figure
from dashboard.figures.table import Pressed, table_html
from dashboard.mechanism.behind import (
    PUBLISHED_LAYERS,
    PUBLISHED_NAME,
    colour_of,
    doubts_of,
    has_table,
    measured,
    published_cell,
    sizes_of,
    system_name,
    systems_of,
    why_not_measured,
)
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.points import layer_of, parts_of, point_key
from dashboard.mechanism.section import Drawn, Listed, ListedClip, Option, Section
from dashboard.names import task_name
from dashboard.published import published
from dashboard.tables import clips_of
from engine.columns import PROBE_TARGETS
from engine.errors import UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "energy": "Energy, R²",
    "pitch": "Pitch, R²",
    "letters": "Letters, R²",
    "text": "Text, 1 − CER",
    "speaker": "Speaker, accuracy",
    "emotion": "Emotion, accuracy",
}
# Controls, the line that each is drawn with, and its words.
CONTROLS = (
    ("shuffled", "dot", "labels dealt anew"),
    ("random_model", "dash", "weights drawn anew"),
    ("input_features", "dashdot", "log-mel features"),
)
CLIPPED = "Text is cut off at 0: a probe that writes more wrong letters than there are right ones scores 0."
MADE_BEFORE = "This run was made before the scores of single clips were kept; measure it again to list them."
LOWEST_SHOWN = -0.5
BELOW = f"Values under {figure(LOWEST_SHOWN, 1)} lie outside the picture; the table has them."
ALL = "all"


def _options(source: str) -> tuple[Option, ...]:
    del source
    names = {ALL: "All six"} | {target: name.split(",")[0] for target, name in NAMES.items()}
    return (Option("target", "Probe", names),)


def _draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    target = chosen.get("target", ALL)
    targets = PROBE_TARGETS if target == ALL else (target,)
    rows, theirs = measured(source, "probes"), published("probes")
    if rows is not None:
        rows = rows[rows["target"].isin(targets)]
    theirs = theirs[theirs["target"].isin(targets)]
    ranges = {one: _range(rows, one) for one in targets}
    by_system = [_measured_panels(source, rows, system, ranges) for system in _systems(source, rows)]
    by_system.append(_published_panels(theirs, ranges))
    # One row for each system; a single target puts the systems side by side.
    grid = by_system if target == ALL else [[panel for panels in by_system for panel in panels]]
    low = rows is not None and bool((rows[["score", "low"]] < LOWEST_SHOWN).any(axis=None))
    note = note_html(
        [
            why_not_measured(source, "probes") if rows is None else "",
            ""
            if rows is None
            else f"Read on {_sizes(rows)}, on sentences and voices that the probe was not fitted on. "
            "Bands are 95 % intervals over groups of related clips. Controls: "
            + ", ".join(f"{words} ({dash})" for _, dash, words in CONTROLS)
            + ".",
            CLIPPED if "text" in targets else "",
            BELOW if low else "",
            *(dict.fromkeys([] if rows is None else rows["note"])),
            doubts_of(theirs),
            "" if len(theirs) else "The paper has no such probe.",
        ]
    )
    return Drawn(panels_figure(grid), _table(source, rows, theirs), note)


def _systems(source: str, rows: pd.DataFrame | None) -> list[str]:
    return [] if rows is None else systems_of(source, rows)


def _sizes(rows: pd.DataFrame) -> str:
    return sizes_of(rows, ("n_groups", "groups"), ("n_clips", "clips"), ("n_frames", "positions"))


def _range(rows: pd.DataFrame | None, target: str) -> tuple[float, float]:
    """Return one axis for a target in all panels: from 0 or the lowest score to 1, cut at LOWEST_SHOWN."""
    names = ["score", *(name for name, _, _ in CONTROLS)]
    found = [] if rows is None else rows.loc[rows["target"] == target, names].min().dropna().tolist()
    return max(LOWEST_SHOWN, min([0.0, *found])) - 0.05, 1.05


def _measured_panels(
    source: str, rows: pd.DataFrame | None, system: str, ranges: Mapping[str, tuple[float, float]]
) -> list[Panel]:
    if rows is None:
        return []
    of_system = rows[rows["system"] == system]
    name = system_name(source, system)
    panels: list[Panel] = []
    for target, y_range in ranges.items():
        own = of_system[of_system["target"] == target].sort_values("layer")
        layers = own["layer"].tolist()
        controls = [Line(words, layers, own[key].tolist(), dash=dash) for key, dash, words in CONTROLS]
        keys = [point_key(system, target, layer) for layer in layers]
        line = Line(
            name,
            layers,
            own["score"].tolist(),
            own["low"].tolist(),
            own["high"].tolist(),
            keys,
            colour=colour_of(source, system),
        )
        last = max(1, int(of_system["layer"].max()))
        title = NAMES[target] if len(ranges) > 1 else name
        says = "" if layers else "not read"
        panels.append(
            Panel(title, (*controls, line), y_range, last, "" if panels or len(ranges) == 1 else name, says)
        )
    return panels


def _published_panels(theirs: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]) -> list[Panel]:
    panels: list[Panel] = []
    for target, y_range in ranges.items():
        of_target = theirs[theirs["target"] == target]
        lines = tuple(
            Line(
                f"{system_name('published', system)}, published",
                own["layer"].tolist(),
                own["score"].tolist(),
                doubts=own["doubt"].tolist(),
                colour=colour_of("published", system),
            )
            for system in systems_of("published", of_target)
            for own in [of_target[of_target["system"] == system]]
        )
        title = NAMES[target] if len(ranges) > 1 else PUBLISHED_NAME
        says = "" if lines else "not published"
        y_title = "Published" if len(ranges) > 1 and not panels else ""
        panels.append(Panel(title, lines, y_range, PUBLISHED_LAYERS, y_title, says))
    return panels


def _table(source: str, rows: pd.DataFrame | None, theirs: pd.DataFrame) -> str:
    cells: list[Sequence[object]] = []
    for system in _systems(source, rows):
        assert rows is not None, "it has systems"
        own = rows[rows["system"] == system]
        order = own["target"].map(PROBE_TARGETS.index)
        for row in own.assign(order=order).sort_values(["order", "layer"]).to_dict("records"):
            score = f"{figure(row['score'])} {between(row['low'], row['high'])}".strip()
            cells.append(
                (
                    system_name(source, system),
                    NAMES.get(row["target"], row["target"]),
                    row["layer"],
                    Pressed(score, "point", point_key(system, row["target"], row["layer"])),
                    *(figure(row[key]) for key, _, _ in CONTROLS),
                    figure(row["selectivity"]),
                    f"{row['n_clips']:,}",
                )
            )
    for row in theirs.to_dict("records"):
        name = f"{system_name('published', row['system'])}, published"
        score = published_cell(row, figure(row["score"]))
        cells.append((name, NAMES[row["target"]], row["layer"], score, "–", "–", "–", "–", "–"))
    headers = (
        *("System", "Probe", "Layer", "Score, choose to list its clips"),
        *(words.capitalize() for _, _, words in CONTROLS),
        *("Score minus labels dealt anew", "Clips"),
    )
    return table_html("As a table", headers, cells)


def _clips(source: str, point: str) -> Listed:
    system, target, layer = parts_of(point, 3)
    if target not in NAMES:
        raise UnknownKeyError(f'There is no probe of "{target[:40]}"; choose a point in the chart.')
    name = NAMES[target]
    title = f"{system_name(source, system)}, layer {layer}: {name[0].lower()}{name[1:]}"
    headers = ("Voice", name.split(", ")[1][0].upper() + name.split(", ")[1][1:], "Task")
    if not has_table(source, "probe_scores"):
        return Listed(f"{title}. {MADE_BEFORE}", headers, ())
    rows = mechanism_clips(
        source,
        "probe_scores",
        [("system", (system,)), ("target", (target,)), ("layer", (layer_of(layer),))],
    )
    rows = rows.sort_values(["score", "clip_id"], ascending=[False, True], na_position="last")
    known = clips_of(source, tuple(rows["clip_id"]))
    listed = tuple(
        ListedClip(row.clip_id, _cells(known.get(row.clip_id, {}), row, target)) for row in rows.itertuples()
    )
    return Listed(title, headers, listed)


def _cells(clip: Mapping[str, Any], row: Any, target: str) -> tuple[str, ...]:
    is_label = target in ("speaker", "emotion")
    score = (
        ("right" if row.score == 1 else "wrong") if is_label and row.score == row.score else figure(row.score)
    )
    return str(clip.get("voice") or ""), score, task_name(str(clip.get("task") or ""))


SECTION = Section(
    key="probes",
    title="Probes",
    says="What a linear reader finds at each layer; it is learnt from the network where a line leaves all its "
    "controls.",
    tables=("probes", "probe_clips", "probe_scores"),
    options=_options,
    draw=_draw,
    clips=_clips,
)
