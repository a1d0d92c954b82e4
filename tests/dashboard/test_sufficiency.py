"""What was measured of a layer's text: the row of that layer, task and system, its controls, and what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard import sufficiency, tables
from dashboard.sufficiency import kappa_beside
from engine.columns import TABLES
from engine.tables import write_table

ROW = {
    **{column.name: 25 for column in TABLES["sufficiency"] if not column.optional},
    "system": "mini-ultravox",
    "task": "topic",
    "layer": 8,
    "n_items": 25,
    "n_clips": 25,
    "kappa": 0.5,
    "low": 0.25,
    "high": 0.75,
    "kappa_cascade": 0.625,
    "cascade_low": 0.375,
    "cascade_high": 0.875,
    "kappa_mismatched": -0.0625,
    "agreement": 0.6,
    "accuracy": 0.5,
    "accuracy_low": 0.3,
    "accuracy_high": 0.7,
    "speech_accuracy": 0.8,
    "cascade_accuracy": 0.8,
    "note": "",
}
OPEN = {"layer": 7, "kappa": float("nan"), "low": float("nan"), "high": float("nan"), "note": "Kappa: open."}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tables, "SHIPPED", tmp_path)
    monkeypatch.setattr(sufficiency, "is_of_these_weights", lambda systems: True)
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "tables").mkdir()
    write_table([ROW, {**ROW, **OPEN}], tmp_path / "tables" / "sufficiency.csv", "sufficiency")
    return tmp_path


def test_kappa_stands_with_its_interval_its_cascade_and_its_control(shipped: Path) -> None:
    assert kappa_beside("topic", "mini-ultravox", 8) == (
        "On 25 clean topic clips, layer 8: kappa with the speech LLM 0.50 [0.25, 0.75], from the transcriber's "
        "text 0.62 [0.38, 0.88]; from other clips' texts −0.06. 95 % intervals over 25 questions; precomputed "
        "with these weights."
    )


def test_the_other_readings_of_unparsed_answers_are_said_where_they_differ(shipped: Path) -> None:
    other = {"kappa_unparsed_agree": 0.625, "kappa_both_parsed": 0.75}
    write_table([ROW | other], shipped / "tables" / "sufficiency.csv", "sufficiency")
    said = str(kappa_beside("topic", "mini-ultravox", 8))
    assert "Two unparsed answers never agree here; if they did 0.62, both parsed 0.75." in said


def test_another_llm_and_an_undefined_kappa_are_said(shipped: Path) -> None:
    assert "not the LLM of this pair's cascade" in str(kappa_beside("topic", "mini-ultravox-other", 8))
    assert "Kappa: open." in str(kappa_beside("topic", "mini-ultravox", 7))


def test_what_was_not_measured_is_not_said(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert kappa_beside("topic", "mini-ultravox", 3) is None
    assert kappa_beside("emotion", "mini-ultravox", 8) is None
    assert kappa_beside("topic", "mini-qwen2-audio", 8) is None
    (shipped / "tables" / "sufficiency.csv").unlink()
    assert kappa_beside("topic", "mini-ultravox", 8) is None


def test_other_weights_and_a_damaged_table_are_said(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shipped / "tables" / "sufficiency.csv").write_text("system,task\n")
    assert "cannot be read" in str(kappa_beside("topic", "mini-ultravox", 8))
    write_table([ROW], shipped / "tables" / "sufficiency.csv", "sufficiency")
    monkeypatch.setattr(sufficiency, "is_of_these_weights", lambda systems: False)
    assert "other weights" in str(kappa_beside("topic", "mini-ultravox", 8))
