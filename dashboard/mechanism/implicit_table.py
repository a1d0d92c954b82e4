"""The implicit cascade as a table and in words: what the last layer's text is enough for, as far as intervals say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import ABSENT, between, figure, percent
from dashboard.mechanism.charts import Cell, points_table
from dashboard.mechanism.measured import tasks_of
from dashboard.mechanism.points import point_key
from dashboard.names import task_name
from engine.columns import FEWEST_GROUPS

if TYPE_CHECKING:
    import pandas as pd


def implicit_table(rows: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Return the table's HTML; rows of the paper come last and open nothing."""
    headers = (
        *(
            "Task",
            "Layer",
            "Kappa",
            "95 % interval",
            "If unparsed agree",
            "Both parsed",
            "Whisper's transcript",
            "95 % interval",
            "Another clip's text",
        ),
        *("Same answer", "Right", "95 % interval", "Speech LLM right", "Whisper's transcript right"),
        *("Items", "Clips", "Note"),
    )
    ordered = rows.assign(turn=rows["task"].map({task: n for n, task in enumerate(tasks_of(rows))}))
    measured = [_cells(row, opens=True) for row in ordered.sort_values(["turn", "layer"]).to_dict("records")]
    published = [_cells(row, opens=False) for row in paper.to_dict("records")]
    return points_table(headers, [*measured, *published])


def _cells(row: dict[str, Any], *, opens: bool) -> list[str | Cell]:
    layer = str(int(row["layer"]))
    key = point_key(row["system"], row["task"], layer)
    from_paper = " ".join(filter(None, ("published:", row.get("place"), row.get("doubt"))))
    return [
        task_name(row["task"]),
        Cell(layer, key) if opens else layer,
        figure(row["kappa"]),
        between(row["low"], row["high"]),
        figure(row.get("kappa_unparsed_agree")),
        figure(row.get("kappa_both_parsed")),
        figure(row["kappa_cascade"]),
        between(row["cascade_low"], row["cascade_high"]),
        figure(row["kappa_mismatched"]),
        percent(row["agreement"]),
        percent(row["accuracy"]),
        between(100 * row["accuracy_low"], 100 * row["accuracy_high"], 0),
        percent(row["speech_accuracy"]),
        percent(row["cascade_accuracy"]),
        f"{row['n_items']:.0f}" if opens else ABSENT,
        f"{row['n_clips']:.0f}" if opens else ABSENT,
        str(row["note"]) if opens else from_paper,
    ]


def reading_of(rows: pd.DataFrame) -> str:
    """Return in words what the last layer's text is enough for, as far as the intervals say."""
    last = rows[(rows["layer"] == rows["layer"].max()) & rows["kappa"].notna()]
    if not len(last):
        return ""
    small = last[last["n_groups"] < FEWEST_GROUPS]
    told = last[last["n_groups"] >= FEWEST_GROUPS]
    groups = {
        "above its control and not told from Whisper's transcript (the intervals overlap)": told[
            (told["low"] > told["kappa_mismatched"]) & (told["high"] >= told["cascade_low"])
        ],
        "above its control but below Whisper's transcript": told[
            (told["low"] > told["kappa_mismatched"]) & (told["high"] < told["cascade_low"])
        ],
        "not told from its control": told[~(told["low"] > told["kappa_mismatched"])],
        f"not to be said (fewer than {FEWEST_GROUPS} groups of items)": small,
    }
    parts = [
        f"{words}: {', '.join(task_name(task) for task in tasks_of(found))}"
        for words, found in groups.items()
        if len(found)
    ]
    return f"By kappa, the last layer's text is {'; '.join(parts)}."
