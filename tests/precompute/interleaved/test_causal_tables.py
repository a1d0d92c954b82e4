"""phase_causal.csv from clips made by hand: values, changes and controls, clip by clip."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from engine.tables import columns_of
from precompute.interleaved.causal_tables import causal_rows

MODELS = {"full": {"initialisation": "text", "data": "interleaved"}}


def row(
    arm: str, item: str, total: float, *, seed: int = 0, outcome: str = "next word", n: int = 4
) -> dict[str, Any]:
    return {
        "model": "full", "step": 9, "arm": arm, "outcome": outcome, "item_id": item, "group": item, "clip_id": item,
        "seed": seed, "layers": "layers 2 to 3", "kept_rank": 0 if arm == "plain" else 7,
        "relative_change": math.nan if outcome.endswith("follows") else 0.1 * (1 + seed), "total": total, "n": n,
    }  # fmt: skip


def made(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    frame = pd.DataFrame(rows, columns=[column.name for column in columns_of("causal_clips")])
    return {found["arm"]: found for found in causal_rows(frame, MODELS, seed=0)}


@pytest.fixture(scope="module")
def erased() -> dict[str, dict[str, Any]]:
    rows = []
    for item, plain in (("a", 4.0), ("b", 2.0), ("c", 3.0)):
        rows += [row("plain", item, plain), row("erased", item, plain - 2)]
        rows += [row("rank_matched", item, plain - seed, seed=seed) for seed in (0, 1)]
        rows += [row("change_matched", item, plain - 2, seed=0)]
    return made(rows)


def test_values_changes_and_controls_are_taken_clip_by_clip(erased: dict[str, dict[str, Any]]) -> None:
    plain, mine = erased["plain"], erased["erased"]
    assert plain["value"] == pytest.approx(9 / 12) and math.isnan(plain["change"])
    assert mine["value"] == pytest.approx(3 / 12) and mine["change"] == pytest.approx(-0.5)
    assert mine["change_low"] == mine["change_high"] == pytest.approx(-0.5), "the same in every clip"
    assert mine["vs_rank_matched"] == pytest.approx(-1.5 / 4), "the mean over two seeds fell by half a word"
    assert mine["vs_change_matched"] == pytest.approx(0.0)
    assert erased["rank_matched"]["change"] == pytest.approx(-0.5 / 4)
    assert math.isnan(erased["rank_matched"]["vs_rank_matched"])


def test_counts_and_changes_of_states_stand_beside_them(erased: dict[str, dict[str, Any]]) -> None:
    control = erased["rank_matched"]
    assert (control["n"], control["n_groups"], control["n_clips"], control["n_seeds"]) == (12, 3, 3, 2)
    assert control["relative_change"] == pytest.approx(0.15) and control["kept_rank"] == 7
    assert control["layers"] == "layers 2 to 3" and "next word" in control["note"]
    assert set(control) == {column.name for column in columns_of("phase_causal")}


def test_a_patch_is_held_against_an_unrelated_word() -> None:
    outcome = "next word follows"
    rows = [
        row(arm, item, total, outcome=outcome, n=1)
        for item, totals in (("a", (3.0, 0.1, 1.0)), ("b", (5.0, -0.1, 2.0)))
        for arm, total in zip(("patched", "same_word", "unrelated"), totals, strict=True)
    ]
    found = made([*rows, row("patched", "c", 1.0, outcome=outcome, n=1)])
    assert found["patched"]["value"] == pytest.approx(3.0) and found["patched"]["n"] == 3
    assert found["patched"]["change"] == pytest.approx(2.5), "over the two that have both"
    assert found["same_word"]["value"] == pytest.approx(0.0) and math.isnan(found["same_word"]["change"])
    assert math.isnan(found["patched"]["relative_change"])
