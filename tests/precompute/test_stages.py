"""Facts about the stages with real, tiny systems: the batch gives what the page gives, and shares its work."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine import answers as engine_answers
from engine import run as live
from engine.answers import answer_all
from engine.audio import AudioClip
from engine.checks import BatchFinding
from engine.request import RunRequest
from engine.results import AnyAnswer
from engine.systems import cascade
from engine.systems.base import Heard
from engine.systems.loading import load_transcriber
from engine.tables import read_table
from engine.voice import CLEAN, Recipe, Spoken, recipe_of, say_recipe
from precompute import measure_answers
from precompute.benchmark import run_plan
from precompute.jobs import PERFORM
from precompute.measure_answers import DIGITS, peak_memory_mb_here
from precompute.plan import Plan, make_plan
from precompute.settings import Settings
from precompute.store import Store
from precompute.workers import InlineWorkers
from tests.engine.tiny_systems import FromFolder, ears_config, write_backbone, write_ears

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: the clips are spoken by it")

TASKS = ("topic", "commonsense", "trivia", "emotion", "speaker")
N_BOTH_WAYS = 20
ROLES = {"mini-ultravox": 0, "mini-cascade": 1, "mini-llama": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_backbone(folder / "mini-llama")
    write_ears(folder / "mini-ultravox", ears_config())
    (folder / "mini-whisper").mkdir()
    for name in ("config.json", "model.bin"):
        (folder / "mini-whisper" / name).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def tiny(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transcriber hears the same words in every clip; memory is not measured in a process of its own."""
    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    done = subprocess.CompletedProcess([], 0, stdout="123.4\n", stderr="")
    monkeypatch.setattr("precompute.measure_answers.subprocess.run", lambda *_, **__: done)


@pytest.fixture
def plan(models: Path) -> Plan:
    return make_plan(Settings(quick=True, limit=3, tasks=TASKS, models=models))


def answers_of(plan: Plan, out: Path) -> pd.DataFrame:
    run_plan(plan, out, InlineWorkers(PERFORM), io.StringIO())
    return read_table(out / "answers.parquet", "answers")


@pytest.mark.parametrize("batched", [False, True])
def test_a_live_run_of_a_clip_gives_the_answers_in_the_table(
    plan: Plan, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batched: bool
) -> None:
    """Twenty clips both ways, each made again from its recipe, its noise added by the page's own run.

    One by one every stored value is the page's, exactly; in batches every value of the table is.
    """
    if not batched:
        one_by_one = BatchFinding(False, 0.5, 6, 0)
        monkeypatch.setattr(measure_answers, "batching_of", lambda *_: one_by_one)
    answers = answers_of(plan, tmp_path).set_index(["clip_id", "system"])
    clips = read_table(tmp_path / "clips.parquet", "clips").iloc[:N_BOTH_WAYS]
    assert len(clips) == N_BOTH_WAYS and set(clips["noise"]) == {"clean", "babble"}
    stored = {row.key: row for row in Store(tmp_path).rows.values()}
    planned = {clip.clip_id: clip for clip in plan.clips}
    loaders = "load_speech_llm load_cascade load_text_llm load_eraser batch_is_exact match_of revision_of"
    for module in (live, engine_answers):
        for name in (one for one in loaders.split() if hasattr(module, one)):
            monkeypatch.setattr(module, name, partial(getattr(module, name), models=models))
    engine_answers._heard.clear()
    for clip in clips.itertuples():
        recipe = recipe_of(clip.recipe)
        request = RunRequest(
            say_recipe(recipe).clip,
            clip.task,
            noise=None if recipe.noise == CLEAN else recipe.noise,
            snr_db=recipe.snr_db,
            seed=recipe.seed,
            prompt=clip.prompt,
            reference=clip.reference,
            gold=clip.gold,
        )
        result = live.run(request)
        assert result.snr_db_achieved == (None if pd.isna(clip.snr_db_achieved) else clip.snr_db_achieved)
        for spec in plan.systems:
            lane, row = result.lanes[ROLES[spec.key]], answers.loc[(clip.clip_id, spec.key)]
            heard = "" if lane.role == "speech_llm" else lane.heard
            key = (
                plan.listen_key(spec, planned[clip.clip_id])
                if lane.role == "speech_llm"
                else plan.read_key(spec, planned[clip.clip_id], heard)
            )
            assert row.heard == heard
            assert values_of(lane.answer, 3) == values_of(row, 3) == values_of(stored[key], 3)
            if not batched:
                assert values_of(lane.answer, DIGITS) == values_of(stored[key], DIGITS)
                assert round(lane.answer.log_likelihood, DIGITS) == stored[key].log_likelihood
    engine_answers._heard.clear()


def values_of(answer: Any, digits: int) -> tuple[str, str | None, str, str, dict[str, float]]:
    """Return text, label, status, note and the shares of the allowed answers, of a lane or of a row."""
    forced = answer.forced_choice
    forced = json.loads(forced) if isinstance(forced, str) else forced
    status = answer.label_status if hasattr(answer, "label_status") else answer.status
    shares = {label: round(share, digits) for label, share in forced.items()}
    return answer.text, answer.label, status, answer.note, shares


def test_each_clip_is_rendered_encoded_and_transcribed_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[tuple[object, ...]] = []
    encoded: list[str] = []
    speech = measure_answers.speech_llm("mini-ultravox", plan.settings.models)
    measure_answers.rendered.cache_clear()
    true_hear = speech.hear

    def say(recipe: Recipe, folder: Path) -> Spoken:
        spoken.append(recipe.sound)
        return say_recipe(recipe, folder)

    def hear(clip: AudioClip) -> Heard:
        encoded.append(clip.fingerprint)
        return true_hear(clip)

    monkeypatch.setattr(measure_answers, "say_recipe", say)
    monkeypatch.setattr(speech, "hear", hear)
    transcriber = load_transcriber("mini-whisper", plan.settings.models, plan.hearing)
    assert isinstance(transcriber, FromFolder)
    transcriber.clips.clear()
    measure_answers.batching_of("mini-ultravox", plan.settings.models)
    encoded.clear()
    answers_of(plan, tmp_path)
    assert len(spoken) == len(set(spoken)) < len(plan.clips), "noise on a clip needs no second rendering"
    assert len(encoded) == len(set(encoded)) == len(plan.clips) == len(transcriber.clips)
    n_read = sum(row.stage == "read" for row in Store(tmp_path).rows.values())
    assert n_read < 2 * len(plan.clips), "one transcript for all clips: a question is answered once"


def test_without_parity_it_goes_one_by_one_gives_the_same_and_says_so(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batched = answers_of(plan, tmp_path / "batched")
    sizes: list[int] = []

    def answer(system: Any, heard: Any, questions: Any, *, batch_size: int) -> list[AnyAnswer]:
        sizes.append(batch_size)
        return answer_all(system, heard, questions, batch_size=batch_size)

    monkeypatch.setattr(measure_answers, "answer_all", answer)
    monkeypatch.setattr(measure_answers, "batching_of", lambda *_: BatchFinding(False, 0.5, 6, 0))
    single = answers_of(plan, tmp_path / "single")
    assert set(sizes) == {1}
    columns = ["clip_id", "system", "label", "label_status", "text", "heard"]
    assert single[columns].equals(batched[columns])
    said = json.loads((tmp_path / "single" / "run.json").read_text())["systems"]
    assert all(about["batching"].startswith("batches differ, so one by one") for about in said.values())


def test_the_run_writes_down_what_it_ran_on(plan: Plan, tmp_path: Path, models: Path) -> None:
    answers_of(plan, tmp_path)
    first = json.loads((tmp_path / "run.json").read_text())
    assert first["systems"]["mini-cascade"]["peak_memory_mb"] == 123.4
    assert "cores" in first["hardware"] and first["versions"]["torch"]
    assert first["counts"] == {"clips": len(plan.clips), "answers": 3 * len(plan.clips), "failed": 0}
    assert str(models) not in (tmp_path / "run.json").read_text()
    answers_of(plan, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == first, (
        "findings outlive a run that checks nothing"
    )


def test_missing_weights_end_the_run_with_one_sentence(plan: Plan, tmp_path: Path, models: Path) -> None:
    from engine.errors import ModelFilesError

    broken = tmp_path / "models"
    shutil.copytree(models, broken)
    (broken / "mini-ultravox" / "model.safetensors").write_bytes(b"no weights")
    plan = make_plan(Settings(quick=True, limit=1, tasks=("topic",), models=broken))
    with pytest.raises(ModelFilesError, match="damaged"):
        answers_of(plan, tmp_path / "out")


def test_the_measure_of_memory_is_of_this_process() -> None:
    before = peak_memory_mb_here()
    block = b"x" * 60_000_000
    assert peak_memory_mb_here() > max(20.0, before) - 1.0 and len(block)
