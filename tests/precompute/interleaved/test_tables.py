"""interleaved.csv and phases.csv from clips made by hand, every number counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from engine.columns import RECALL, TEXT_SHARE
from engine.tables import columns_of
from precompute.interleaved.tables import NO_UNITS, layer_rows, phase_rows

MODELS = {
    "full": {"initialisation": "text", "data": "interleaved"},
    "ears": {"initialisation": "text", "data": "audio"},
}


def clip(model: str, layer: int, d: int, name: str, hits: int, control: int, share: float) -> dict[str, Any]:
    counts = {f"hits_{k}": hits for k in (1, 5, 10)} | {f"control_{k}": control for k in (1, 5, 10)}
    about = {
        "model": model,
        "step": 10,
        "layer": layer,
        "d": d,
        "item_id": name,
        "group": name,
        "clip_id": name,
    }
    return about | counts | {"n_words": 4, "text_share": share, "n_positions": 10}


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[column.name for column in columns_of("interleaved_clips")])


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    """Three clips: the current word is read at layer 1, the next at layer 2; text until layer 1."""
    rows = []
    for name, first in (("a", 4), ("b", 3), ("c", 2)):
        for layer, share in enumerate((0.9, 0.8, 0.2)):
            for d, peak in ((0, 1), (1, 2)):
                rows.append(
                    clip(
                        "full",
                        layer,
                        d,
                        name,
                        first if layer == peak else 0,
                        1 if layer == peak else 0,
                        share,
                    )
                )
                rows.append(clip("ears", layer, d, name, 1, 0, math.nan))
    return frame(rows)


def test_recall_and_share_are_counted(clips: pd.DataFrame) -> None:
    rows = {
        (r["model"], r["layer"], r["measure"], r["k"], r["d"]): r for r in layer_rows(clips, MODELS, seed=0)
    }
    row = rows["full", 1, RECALL, 5, 0]
    assert row["score"] == pytest.approx(9 / 12) and row["control"] == pytest.approx(3 / 12)
    assert row["excess"] == pytest.approx(0.5) and row["excess_low"] < 0.5 < row["excess_high"]
    assert (row["n_words"], row["n_groups"], row["n_clips"]) == (12, 3, 3)
    assert (row["initialisation"], row["data"], row["step"]) == ("text", "interleaved", 10)
    share = rows["full", 1, TEXT_SHARE, 0, 0]
    assert share["score"] == pytest.approx(0.8) and share["n_words"] == 30 and math.isnan(share["control"])
    none = rows["ears", 1, TEXT_SHARE, 0, 0]
    assert math.isnan(none["score"]) and none["note"] == NO_UNITS and none["n_clips"] == 0
    assert "hears the whole clip" in rows["full", 2, RECALL, 1, 1]["note"]


def test_every_declared_column_is_there(clips: pd.DataFrame) -> None:
    for name, rows in (
        ("interleaved", layer_rows(clips, MODELS, seed=0)),
        ("phases", phase_rows(clips, MODELS, seed=0)),
    ):
        declared = {column.name for column in columns_of(name)}
        assert all(set(row) == declared for row in rows), name


def test_the_phases_are_where_the_clips_have_them(clips: pd.DataFrame) -> None:
    rows = {(r["model"], r["k"], r["boundary"]): r for r in phase_rows(clips, MODELS, seed=0)}
    assert [rows["full", 10, name]["layer"] for name in ("current word", "next word", "current to next")] == [
        1,
        2,
        1,
    ]
    assert rows["full", 10, "current word"]["score"] == pytest.approx(0.5)
    assert rows["full", 10, "current to next"]["score"] == 1.0
    speech = rows["full", 10, "speech"]
    assert math.isnan(speech["layer"]) and speech["undefined"] == 1.0, "no layer stands behind the last one"
    assert math.isnan(rows["ears", 1, "speech"]["layer"]) and "no units" in rows["ears", 1, "speech"]["note"]
