"""Two systems on the same clips: the difference in accuracy with its interval.

Differences are of clips answered by both; intervals resample items, as in the tables. For the published
figures there are no clips, so no interval, and the method says so.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dashboard.names import kind_of, rank_of
from dashboard.tables import Level, answers_to, at, changed_ns, folder_of, levels_of, table
from engine.noise import BABBLES
from engine.stats.intervals import Estimate, bootstrap_mean, per_group
from engine.tables import file_of

if TYPE_CHECKING:
    import pandas as pd

SEED = 0


def matched_pairs(source: str, task: str | None = None) -> list[tuple[str, str, str]]:
    """Return (speech LLM, cascade, match) of every matched pair of a task, or of any; closest match first."""
    rows = at(table(source, "agreement"), task=task)
    order = {"exact": 0, "self": 1, "ancestor": 2, "paper": 3}
    found = {
        (str(a), str(b), str(match))
        for a, b, match in zip(rows["system_a"], rows["system_b"], rows["match"], strict=True)
        if match in order and kind_of(source, a) == "speech_llm" and kind_of(source, b) == "cascade"
    }
    return sorted(
        found, key=lambda pair: (order[pair[2]], rank_of(source, pair[0]), rank_of(source, pair[1]), pair)
    )


def difference(source: str, task: str, level: Level, first: str, second: str) -> Estimate:
    """Return accuracy of the first minus that of the second, in -1..1, on the clips that both answered."""
    if source == "published":
        return _published_difference(task, level, first, second)
    both = _side_by_side(source, task, level, first, second)
    if not len(both):
        return _undefined("No clip was answered by both.")
    return bootstrap_mean(_gaps(both), seed=SEED, within=(-1.0, 1.0))


def _gaps(both: pd.DataFrame) -> np.ndarray:
    """Return for each group of related items the summed lead of the first, and the clips, [groups, 2]."""
    gap = (both["right_first"] - both["right_second"]).to_numpy(dtype=float)
    groups = np.unique(both["group"].to_numpy(dtype=str), return_inverse=True)[1]
    return per_group(groups, np.stack([gap, np.ones_like(gap)], axis=1))


def loudest_babble(source: str, task: str) -> Level | None:
    """Return the babble with the lowest ratio of this task, None where there is none."""
    levels = [
        level for level in levels_of(at(table(source, "accuracy"), task=task)) if level.noise in BABBLES
    ]
    return min(levels, key=lambda level: level.snr_db or 0.0, default=None)


def accuracy_of(source: str, task: str, level: Level, system: str) -> float:
    """Return a system's accuracy in a cell, NaN where it was not measured."""
    rows = at(table(source, "accuracy"), task=task, level=level)
    found = rows.loc[rows["system"] == system, "accuracy"]
    return float(found.iloc[0]) if len(found) else math.nan


def _side_by_side(source: str, task: str, level: Level, first: str, second: str) -> pd.DataFrame:
    """Return item_id, group, right_first and right_second (0 or 1) of the clips that both answered."""
    folder = folder_of(source)
    marks = _marks(source, task, changed_ns(file_of(folder, "answers")) if folder else 0)
    names = {"item_id": "item_id", "group": "group", "right_first": first, "right_second": second}
    rows = (
        at(marks, level=level)
        if {first, second} <= set(marks)
        else marks.iloc[:0].reindex(columns=names.values())
    )
    return rows[list(names.values())].set_axis(list(names), axis=1).dropna()


@lru_cache(maxsize=16)
def _marks(source: str, task: str, changed: int) -> pd.DataFrame:
    """Return one row per clip of a task: its item and noise, and a column per system, 1 where it was right."""
    del changed
    rows = answers_to(source, task)
    about = rows.drop_duplicates("clip_id").set_index("clip_id")[
        ["item_id", "group", "task", "noise", "snr_db"]
    ]
    about["group"] = about["group"].where(about["group"] != "", about["item_id"])
    return about.join(rows.pivot(index="clip_id", columns="system", values="correct").astype(float))


def _published_difference(task: str, level: Level, first: str, second: str) -> Estimate:
    gap = accuracy_of("published", task, level, first) - accuracy_of("published", task, level, second)
    return Estimate(gap, math.nan, math.nan, 0, "published totals, no interval")


def _undefined(note: str) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, 0, "none", note)
