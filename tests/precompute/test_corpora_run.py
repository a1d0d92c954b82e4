"""Facts about a run from the corpora's files to the tables: tiny systems, fake services, espeak-ng, a tiny MUSAN."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from engine.noise import FOLDER_VARIABLE
from engine.systems import cascade
from engine.systems.catalogue import get_spec
from engine.tables import file_of, read_table
from engine.tasks import CORPUS_TASKS
from engine.voice import recipe_of, say_recipe, spoil
from precompute.benchmark import run_plan
from precompute.estimate import estimate, format_plan
from precompute.jobs import PERFORM
from precompute.plan import Plan, make_plan, memory_batches
from precompute.settings import Settings
from precompute.stages.summary import summarize
from precompute.store import Store
from precompute.workers import InlineWorkers
from tests.engine.fake_service import Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, forget_services, point_to
from tests.engine.tiny_systems import FromFolder, ears_config, write_backbone, write_ears
from tests.precompute.tiny_corpora import N_TEXTS, write_corpora

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: it says the texts here")
HERE = ("mini-ultravox", "mini-cascade", "mini-llama")
SERVED = ("gemini", "mini-cascade-endpoint", "endpoint-text")


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
    patch.setattr("precompute.measure_answers.subprocess.run", lambda *_, **__: done)
    settings = Settings(
        quick=True,
        corpora=write_corpora(folder / "corpora", patch),
        speech="espeak",
        models=models,
        systems=(*HERE, *SERVED),
        limit=N_TEXTS,
    )
    with serving(Sent(GEMINI_SAYS)) as gemini, serving(Sent(ENDPOINT_SAYS)) as text:
        point_to(patch, gemini=gemini.url, text=text.url)
        plan = make_plan(settings)
        run_plan(plan, folder / "out", InlineWorkers(PERFORM), io.StringIO())
    summarize(folder / "out")
    return plan, folder / "out"


def test_a_service_has_a_fingerprint_where_others_have_weights(
    ran: tuple[Plan, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = ran
    gemini, cascade_there, oracle = map(get_spec, SERVED)
    assert plan.folders_of(gemini) == () and plan.backbone(gemini) == ""
    assert plan.reader(cascade_there) == plan.reader(oracle) == "endpoint-text"
    clip = plan.clips[0]
    assert plan.read_key(cascade_there, clip, "hey") == plan.read_key(oracle, clip, "hey"), "asked once"
    assert plan.read_key(oracle, clip, "hey") != plan.read_key(get_spec("mini-llama"), clip, "hey")
    before = plan.listen_key(gemini, clip)
    monkeypatch.setenv("GEMINI_MODEL", "another")
    forget_services()
    assert plan.listen_key(gemini, clip) != before, "another model, another result"
    forget_services()


def test_services_are_planned_priced_and_recorded(ran: tuple[Plan, Path]) -> None:
    plan, out = ran
    store = Store(out)
    assert {batch.model for batch in memory_batches(plan, Store(out / "none"))} == set(HERE)
    left = estimate(plan, store, 1).n_left
    assert not any(left.values()) and "Everything is done" in format_plan(plan, store, 1)
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))["systems"]
    assert len(about["gemini"]["fingerprint"]) == 64 and about["gemini"]["weights_sha256"] == {}
    assert list(about["mini-cascade-endpoint"]["weights_sha256"]) == ["mini-whisper"]


def test_every_corpus_is_answered_under_its_own_name(ran: tuple[Plan, Path]) -> None:
    plan, out = ran
    answers = read_table(out / "answers.parquet", "answers")
    assert set(answers["task"]) == set(CORPUS_TASKS) and set(answers["system"]) == {*HERE, *SERVED}
    assert len(answers) == 6 * len(plan.clips) and not (answers["label_status"] == "failed").any()
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
    heard = {r.audio_sha256 for r in Store(out).rows.values() if r.stage == "render"}
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
