"""Erasing layer by layer and layer upon layer: the effect at each place, beside random directions of equal rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dashboard.mechanism.charts import (
    CONDITION_COLOURS,
    Line,
    add_line,
    dressed,
    layer_axis,
    note_html,
    panels,
    place_of,
)
from dashboard.mechanism.effects import OLDER, Differences, Measure, compared, effects_of
from dashboard.mechanism.erasure_table import erasure_table
from dashboard.mechanism.measured import counted, tasks_of
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn
from dashboard.names import name_of, task_name
from dashboard.tables import SOURCES
from engine.columns import ALL_TASKS
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS, _PANEL_HEIGHT = 3, 150


def draw_sweep(source: str, system: str, rows: pd.DataFrame, measure: Measure) -> Drawn:
    """Return the section for erasures at single layers, or up to each layer.

    Args:
        source: a run.
        system: key of the speech LLM.
        rows: of erasure, one way of erasing at several places.
        measure: whose change against the plain system on the same clips is drawn.
    """
    found_effects = effects_of(source, system, rows)
    table = erasure_table(rows, rows.iloc[:0], rows.iloc[:0])
    if found_effects is None:
        return Drawn(None, table, note_html([OLDER]))
    tasks = tasks_of(rows)
    shown = [*([ALL_TASKS] if len(tasks) > 1 else []), *tasks]
    drawn = panels(
        ["All tasks" if task == ALL_TASKS else task_name(task) for task in shown],
        columns=_COLUMNS,
        row_height=_PANEL_HEIGHT,
    )
    said: list[str] = []
    hover = f"layer %{{x}}: %{{y:+.1f}} {measure.difference}"
    found = [one for one in CONDITIONS if (rows["condition"] == one).any()]
    for condition in found:
        of_condition = rows[rows["condition"] == condition]
        effects = effects_by_place(found_effects, of_condition, measure)
        for number, task in enumerate(shown):
            place = place_of(number, min(_COLUMNS, len(shown)))
            for line in _lines(system, of_condition, effects, task, measure):
                add_line(drawn, line, named=number == 0, hover=hover, **place)
        said.append(_reading(condition, effects["beyond"]))
    for number in range(len(shown)):
        layer_axis(drawn, rows["layers"].map(layer_in), **place_of(number, min(_COLUMNS, len(shown))))
    drawn.update_yaxes(title={"text": f"change, {measure.difference}", "standoff": 4}, col=1)
    title = f"{SOURCES[source]}: {name_of(source, system)}, minus the plain system"
    dressed(drawn, legend_title=title, n_legend=2 * len(found))
    said += [
        f"{counted(rows)}; sweeps run on a part of them. Bands are 95 % intervals, 10,000 resamples of groups of "
        "related items; random lines are the mean over seeds of as many random directions.",
        "The control of equal change did not run here, and the paper has no sweep.",
    ]
    return Drawn(drawn, table, note_html(said))


def layer_in(layers: str) -> int:
    """Return the layer that a row's place ends with: "layer 4" and "up to layer 4" are 4."""
    return int(layers.rsplit(" ", 1)[1])


def effects_by_place(
    effects: pd.DataFrame, rows: pd.DataFrame, measure: Measure
) -> dict[str, dict[str, Differences]]:
    """Return erased, random and beyond (their difference) -> place -> differences by task."""
    mine = effects[effects["condition"] == str(rows["condition"].iloc[0])]
    pairs = {
        "erased": ("erased", "plain"), "random": ("rank_matched", "plain"), "beyond": ("erased", "rank_matched")
    }  # fmt: skip
    return {
        kind: {
            layers: compared(mine[mine["layers"] == layers], measure, *pair)
            for layers in sorted(set(rows["layers"]), key=layer_in)
        }
        for kind, pair in pairs.items()
    }


def _lines(
    system: str, rows: pd.DataFrame, effects: dict[str, dict[str, Differences]], task: str, measure: Measure
) -> list[Line]:
    """Return the control's line and the eraser's over it."""
    condition, method, scope = (str(rows[name].iloc[0]) for name in ("condition", "method", "scope"))
    name, colour = CONDITIONS[condition].name, CONDITION_COLOURS[condition]
    n_directions = int(rows["kept_rank"].max())
    lines = []
    for kind, label, dash in (
        ("random", f"{name}: {n_directions} random directions", "dot"),
        ("erased", f"{name} erased", "solid"),
    ):
        places = [place for place in effects[kind] if task in effects[kind][place]]
        found = [effects[kind][place][task] for place in places]
        values, low, high = (
            [measure.scale * getattr(one, end) for one in found] for end in ("value", "low", "high")
        )
        lines.append(
            Line(
                label,
                colour,
                [layer_in(place) for place in places],
                values,
                low if kind == "erased" else (),
                high if kind == "erased" else (),
                [point_key(system, task, method, scope, place, condition) for place in places],
                dash=dash,
                marked=kind == "erased",
            )
        )
    return lines


def _reading(condition: str, beyond: dict[str, Differences]) -> str:
    """Return in words at which layers erasing does more harm than random directions, pooled over tasks."""
    verdicts = {
        layer_in(place): found[ALL_TASKS].verdict if ALL_TASKS in found else ""
        for place, found in beyond.items()
    }
    name = CONDITIONS[condition].name
    told = [layer for layer, verdict in verdicts.items() if verdict == "exceeds"]
    few = [layer for layer, verdict in verdicts.items() if verdict in ("too few groups", "")]
    if len(few) == len(verdicts):
        return f"{name}: too few items to say at which layers it does more harm than random directions."
    if not told:
        return f"{name}: at no layer told from random directions of equal rank (the intervals include 0)."
    return f"{name}: more harm than random directions of equal rank at {_layers(told)} (the interval excludes 0)."


def _layers(layers: Sequence[int]) -> str:
    words = ", ".join(str(layer) for layer in sorted(layers))
    return f"layer {words}" if len(layers) == 1 else f"layers {words}"
