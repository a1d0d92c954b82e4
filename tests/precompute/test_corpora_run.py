"""Facts about a run from the corpora's files to the tables, with real, tiny systems, espeak-ng and a tiny MUSAN."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from engine.musan import FOLDER_VARIABLE
from engine.recipe import recipe_of, say_recipe, spoil
from engine.records import file_of, read_table
from engine.systems import cascade
from engine.tasks import CORPUS_TASKS
from precompute.benchmark import ledger_of, run_plan
from precompute.executors import InlineExecutor
from precompute.plan import Plan, Settings, make_plan
from precompute.stages.perform import PERFORM
from precompute.stages.summary import summarize
from tests.engine.tiny_systems import FromFolder, ears_config, write_backbone, write_ears
from tests.precompute.tiny_corpora import N_TEXTS, write_corpora

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: it says the texts here")
SYSTEMS = ("mini-ultravox", "mini-cascade", "mini-llama")


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> tuple[Plan, Path]:
    """A quick run over all six corpora, summarised."""
    folder = tmp_path_factory.mktemp("run")
    models = folder / "models"
    write_backbone(models / "mini-llama")
    write_ears(models / "mini-ultravox", ears_config())
    (models / "mini-whisper").mkdir()
    for name in ("config.json", "model.bin"):
        (models / "mini-whisper" / name).write_text("{}")
    patch.setattr(cascade, "Transcriber", FromFolder)
    done = subprocess.CompletedProcess([], 0, stdout="123.4\n", stderr="")
    patch.setattr("precompute.stages.memory.subprocess.run", lambda *_, **__: done)
    corpora = write_corpora(folder / "corpora", patch)
    plan = make_plan(
        Settings(quick=True, corpora=corpora, speech="espeak", models=models, systems=SYSTEMS, limit=N_TEXTS)
    )
    run_plan(plan, folder / "out", InlineExecutor(PERFORM), io.StringIO())
    summarize(folder / "out")
    return plan, folder / "out"


def test_every_corpus_is_answered_under_its_own_name(ran: tuple[Plan, Path]) -> None:
    plan, out = ran
    answers = read_table(out / "answers.parquet", "answers")
    assert set(answers["task"]) == set(CORPUS_TASKS) and set(answers["system"]) == set(SYSTEMS)
    assert len(answers) == 3 * len(plan.clips) and not (answers["label_status"] == "failed").any()
    noisy = answers[answers["noise"] == "musan"]
    assert set(noisy["task"]) == {"ag_news", "sst2", "csqa", "triviaqa"} and set(noisy["snr_db"]) == {5.0}


def test_the_tables_know_which_words_decide(ran: tuple[Plan, Path]) -> None:
    _, out = ran
    agreement = read_table(file_of(out, "agreement"), "agreement")
    assert {*CORPUS_TASKS, "all words-only"} == set(agreement["task"])
    pooled = agreement[agreement["task"] == "all words-only"].iloc[0]
    assert "ag_news, csqa, sst2" in pooled["note"]
    accuracy = read_table(file_of(out, "accuracy"), "accuracy").set_index(["task", "noise", "system"])
    assert accuracy.loc[("triviaqa", "clean", "mini-llama"), "note"].startswith("Open answers")
    assert pd.notna(accuracy.loc[("meld", "clean", "mini-llama"), "macro_f1"])


def test_noise_is_made_again_from_the_recipe_where_musan_is(
    ran: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = ran
    rows = read_table(out / "clips.parquet", "clips")
    row = rows[rows["noise"] == "musan"].iloc[0]
    recipe = recipe_of(row["recipe"])
    monkeypatch.setenv(FOLDER_VARIABLE, str(plan.musan))
    made = spoil(say_recipe(recipe).clip, recipe)
    assert made is not None and made.snr_db_achieved == row["snr_db_achieved"]
    heard = {r.audio_sha256 for r in ledger_of(out).rows.values() if r.stage == "render"}
    assert made.clip.fingerprint in heard


def test_recordings_carry_flags_and_accuracy_is_told_without_them(ran: tuple[Plan, Path]) -> None:
    _, out = ran
    clips = read_table(out / "clips.parquet", "clips")
    flags = clips.set_index("item_id")["flags"]
    assert flags["meld-dia0_utt0"] == "no_speech,very_short" and flags["meld-dia1_utt0"] == "no_speech"
    assert set(clips[clips["task"] == "sst2"]["flags"]) == {""}, "what is spoken here is not looked at"
    accuracy = read_table(file_of(out, "accuracy"), "accuracy")
    notes = accuracy[accuracy["task"] == "meld"]["note"]
    assert all("3 of 3 clips are flagged: none is left without them." in note for note in notes)
