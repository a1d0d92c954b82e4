"""The erasure bench as a table: every arm of every task, with what was moved, taken out and left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import ABSENT, between, figure, is_number, percent, signed
from dashboard.mechanism.charts import Cell, points_table
from dashboard.mechanism.measured import tasks_of
from dashboard.mechanism.points import point_key
from dashboard.names import task_name
from engine.request import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

_HEADERS = (
    *("Task", "Erased", "Where", "Arm", "Right", "95 % interval", "Spread over seeds", "Change, points"),
    *("At equal rank, points", "At equal change, points", "Forced choice", "No label", "Plain answer, nats"),
    *("Right answer, nats", "State moved", "Directions", "Fitted on"),
    *("Probe, plain", "Probe, erased", "95 % interval", "Probe, random", "Chance", "Gone"),
    *("Items", "Clips", "Seeds", "Note"),
)
_ARMS = {
    "plain": "plain",
    "erased": "erased",
    "rank_matched": "random, equal rank",
    "change_matched": "random, equal change",
}


def erasure_table(rows: pd.DataFrame, plain: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Return the table's HTML; rows of the paper come last and open nothing."""
    import pandas as pd

    measured = pd.concat([plain, rows]) if len(rows) else rows
    tasks, conditions, arms = tasks_of(measured), ["none", *CONDITIONS], list(_ARMS)
    listed = sorted(
        measured.to_dict("records"),
        key=lambda row: (
            tasks.index(row["task"]),
            conditions.index(row["condition"]),
            len(row["layers"]),
            row["layers"],
            arms.index(row["arm"]),
        ),
    )
    return points_table(
        _HEADERS,
        [
            *(_cells(row, paper=False) for row in listed),
            *(_cells(row, paper=True) for row in paper.to_dict("records")),
        ],
    )


def _cells(row: Mapping[str, Any], *, paper: bool) -> list[str | Cell]:
    opens = not paper and row["arm"] != "plain"
    names = ("system", "task", "method", "scope", "layers", "condition")
    task, condition = task_name(row["task"]), CONDITIONS.get(row["condition"])
    source = "; ".join(filter(None, ("published", str(row.get("place") or ""), str(row.get("doubt") or ""))))
    return [
        Cell(task, point_key(*(row[name] for name in names))) if opens else task,
        condition.name if condition else ABSENT,
        str(row["layers"]) if row["layers"] != "none" else ABSENT,
        _ARMS[row["arm"]],
        percent(row["accuracy"], 1),
        between(100 * row["low"], 100 * row["high"], 0),
        percent(row["spread"], 1),
        _points(row, "change"),
        _points(row, "vs_rank_matched"),
        _points(row, "vs_change_matched"),
        percent(row["forced_choice_accuracy"], 1),
        percent(row["unparsed_rate"], 1),
        figure(row["log_likelihood_change"]),
        figure(row["right_log_likelihood_change"]),
        percent(row["relative_change"]),
        _whole(row.get("concept_dim") if paper else row["kept_rank"]),
        *_proof(row, paper=paper),
        _whole(row["n_items"]),
        _whole(row["n_clips"]),
        _whole(row["n_seeds"]),
        source if paper else str(row["note"]),
    ]


def _proof(row: Mapping[str, Any], *, paper: bool) -> tuple[str, ...]:
    """Return the cells of what the erasers were fitted on and what fresh probes read; the paper measured none."""
    if paper or row["arm"] != "erased":
        return (ABSENT,) * 7
    ends = between(row["probe_low"], row["probe_high"])
    return (
        str(row["fitted_on"]) or ABSENT,
        *(figure(row["probe_plain"]), figure(row["probe_erased"]), ends),
        *(figure(row["probe_random"]), figure(row["probe_chance"])),
        str(row["probe_verdict"]) or "not measured",
    )


def _points(row: Mapping[str, Any], name: str) -> str:
    ends = between(100 * row[f"{name}_low"], 100 * row[f"{name}_high"], 0)
    return f"{signed(100 * row[name])} {ends}".strip()


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) else ABSENT
