"""spoken_knowledge.csv from facts made by hand: shares, halves, and the relation over checkpoints."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from engine.columns import RECALL
from precompute.interleaved.knowledge_tables import ONE_TRAINING, knowledge_rows

MODELS = {"full": {"initialisation": "text", "data": "interleaved"}}
HEARD = {"a": True, "b": True, "c": False, "d": False}


def facts(step: int, right: str) -> list[dict[str, Any]]:
    """Four facts; those named have the likelier right end by mean, and the others by sum."""
    return [
        {
            "model": "full", "step": step, "item_id": key, "group": key,
            "right": -1.0, "wrong": -2.0 if key in right else -0.5,
            "right_sum": -9.0, "wrong_sum": -8.0 if key in right else -10.0,
        }
        for key in HEARD
    ]  # fmt: skip


def layers(step: int, peak: float, **more: Any) -> list[dict[str, Any]]:
    row = {"model": "full", "step": step, "measure": RECALL, "k": 10, "d": 0}
    return [row | {"excess": value} | more for value in (0.0, peak, peak / 2)]


def rows_of(steps: dict[int, tuple[str, float]]) -> dict[tuple[int, str], dict[str, Any]]:
    table = pd.DataFrame([row for step, (right, _) in steps.items() for row in facts(step, right)])
    read = [row for step, (_, peak) in steps.items() for row in layers(step, peak)]
    read += layers(0, 9.0, k=1)
    return {(r["step"], r["measure"]): r for r in knowledge_rows(table, read, MODELS, HEARD, seed=0)}


def test_the_likelier_end_is_counted_by_mean_by_sum_and_by_half() -> None:
    rows = rows_of({5: ("abc", 0.5)})
    assert rows[5, "preferred"]["value"] == 0.75 and rows[5, "preferred"]["n"] == 4
    assert rows[5, "preferred by sum"]["value"] == 0.25
    assert rows[5, "preferred, heard"]["value"] == 1.0 and rows[5, "preferred, heard"]["n"] == 2
    assert rows[5, "preferred, only read"]["value"] == 0.5
    assert all(row["chance"] == 0.5 for row in rows.values()) and (5, "relation") not in rows


def test_the_relation_is_spearmans_over_checkpoints() -> None:
    """Peaks .1 .2 .3 .4 .5 and scores 0 .5 .25 .75 1: one pair stands the wrong way round, rho = 0.9."""
    steps = {1: ("", 0.1), 2: ("ab", 0.2), 3: ("a", 0.3), 4: ("abc", 0.4), 5: ("abcd", 0.5)}
    row = rows_of(steps)[5, "relation"]
    assert row["value"] == pytest.approx(0.9) and row["n"] == 5 and row["chance"] == 0.0
    assert row["low"] < 0.9 < row["high"] and ONE_TRAINING in row["note"]


def test_three_checkpoints_have_no_interval() -> None:
    row = rows_of({1: ("", 0.1), 2: ("a", 0.2), 3: ("ab", 0.3)})[3, "relation"]
    assert row["value"] == pytest.approx(1.0) and math.isnan(row["low"])
