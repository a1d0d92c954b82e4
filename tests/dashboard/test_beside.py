"""The sentence beside a live result: the shipped run's own figures, for this question, pair and noise, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard import beside as module
from dashboard.beside import OTHER_WEIGHTS, beside
from dashboard.tables import CLEAN, Level, at, table
from engine.errors import ModelFilesError
from tests.dashboard.made_run import make_run

PAIR = "mini-ultravox"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("shipped"))


@pytest.fixture
def shipped(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dashboard.tables.SHIPPED", made)
    monkeypatch.setattr(module, "revision_of", lambda spec: "not recorded")
    return made


@pytest.mark.parametrize(("noise", "snr_db"), [(None, None), ("babble", 5.0), ("babble", 7.0)])
def test_the_sentence_has_the_tables_own_figures(
    shipped: Path, noise: str | None, snr_db: float | None
) -> None:
    sentence = beside("topic", PAIR, noise, snr_db)
    taken = Level("babble", 5.0) if snr_db == 5.0 else CLEAN
    rows = at(table("measured", "accuracy"), task="topic", level=taken).set_index("system")
    assert sentence is not None and taken.phrase in sentence
    for key in ("mini-ultravox", "mini-cascade"):
        row = rows.loc[key]
        assert f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]" in sentence
    assert f"{rows.loc[PAIR].n_items} held-out" in sentence and "kappa" in sentence


def test_figures_of_other_weights_are_not_shown(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "revision_of", lambda spec: "0123abcd4567")
    assert beside("topic", PAIR, None, None) == OTHER_WEIGHTS


def test_what_the_run_did_not_ask_is_looked_up_in_the_evaluation(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "benchmark_line", lambda task, pair: f"{task} by {pair}")
    assert beside("transcribe", PAIR, None, None) == f"transcribe by {PAIR}"
    assert beside("topic", "mini-qwen2-audio-self", None, None) == "topic by mini-qwen2-audio-self"


def test_a_damaged_table_is_said_and_costs_nobody_a_run(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def damaged(task: str, pair: str) -> str:
        raise ModelFilesError("evaluation.csv is cut off.")

    monkeypatch.setattr(module, "benchmark_line", damaged)
    assert beside("transcribe", PAIR, None, None) == "evaluation.csv is cut off."
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("dashboard.tables.SHIPPED", tmp_path)
    assert "accuracy" in str(beside("topic", PAIR, None, None))
