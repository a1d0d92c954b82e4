"""Two systems on the same clips: the difference in accuracy with its interval.

Differences are of clips answered by both; for the published figures there are no clips, so no interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dashboard.names import kind_of, rank_of
from dashboard.tables import Level, at, levels_of, table
from engine.noise import BABBLES


@dataclass(frozen=True)
class Difference:
    """Of two accuracies, -1 to 1, with its 95 % interval over `n` groups of items; NaN ends where none is known.

    `mc_error` is how far an end may lie off because the resamples are finite.
    """

    value: float
    low: float
    high: float
    n: int
    mc_error: float = 0.0


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


def difference(source: str, task: str, level: Level, first: str, second: str) -> Difference:
    """Return accuracy of the first minus that of the second on the clips that both answered; NaN where none was."""
    if source == "published":
        gap = accuracy_of(source, task, level, first) - accuracy_of(source, task, level, second)
        return Difference(gap, math.nan, math.nan, 0)
    rows = at(table(source, "agreement"), task=task, level=level)
    for sign, a, b in ((1.0, first, second), (-1.0, second, first)):
        found = rows[(rows["system_a"] == a) & (rows["system_b"] == b)]
        if len(found):
            row = found.iloc[0]
            low, high = sorted(sign * row[f"accuracy_difference_{end}"] for end in ("low", "high"))
            return Difference(
                sign * row["accuracy_difference"],
                low,
                high,
                int(row["n_groups"]),
                row["accuracy_difference_mc_error"],
            )
    return Difference(math.nan, math.nan, math.nan, 0)


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
