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

from engine import run as live
from engine.answers import answer_batch
from engine.audio import AudioClip
from engine.checks import BatchFinding
from engine.request import RunRequest
from engine.results import Answer
from engine.systems import cascade
from engine.systems.base import Heard
from engine.tables import read_table
from engine.voice import CLEAN, Recipe, Spoken, recipe_of, say_recipe
from precompute.benchmark import ledger_of, run_plan
from precompute.executors import InlineExecutor
from precompute.plan import Plan, Settings, make_plan
from precompute.stages import listen, loaded
from precompute.stages.memory import peak_memory_mb_here
from precompute.stages.perform import PERFORM
from tests.engine.tiny_systems import FromFolder, ears_config, write_backbone, write_ears

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: the clips are spoken by it")

TASKS = ("topic", "commonsense", "trivia", "emotion", "speaker")
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
    monkeypatch.setattr("precompute.stages.memory.subprocess.run", lambda *_, **__: done)


@pytest.fixture
def plan(models: Path) -> Plan:
    return make_plan(Settings(quick=True, limit=3, tasks=TASKS, models=models))


def answers_of(plan: Plan, out: Path) -> pd.DataFrame:
    run_plan(plan, out, InlineExecutor(PERFORM), io.StringIO())
    return read_table(out / "answers.parquet", "answers")


def test_a_live_run_of_a_clip_gives_the_answers_in_the_table(
    plan: Plan, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clip by clip: made again from its recipe, noise added by the page's own run."""
    answers = answers_of(plan, tmp_path).set_index(["clip_id", "system"])
    clips = read_table(tmp_path / "clips.parquet", "clips")
    loaders = "load_speech_llm load_cascade load_text_llm load_eraser batch_is_exact match_of revision_of"
    for module in (live, answers):
        for name in (one for one in loaders.split() if hasattr(module, one)):
            monkeypatch.setattr(module, name, partial(getattr(module, name), models=models))
    answers._heard.clear()
    for clip in clips.iloc[::3].itertuples():
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
        for system, index in ROLES.items():
            _assert_equal(result.lanes[index], answers.loc[(clip.clip_id, system)])
    answers._heard.clear()


def _assert_equal(lane: Any, row: Any) -> None:
    assert (lane.answer.text, lane.answer.label, lane.answer.status) == (
        row.text,
        row.label,
        row.label_status,
    )
    assert lane.answer.forced_choice == pytest.approx(json.loads(row.forced_choice), abs=6e-4)
    assert row.heard == ("" if lane.role == "speech_llm" else lane.heard)


def test_each_clip_is_rendered_encoded_and_transcribed_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[tuple[object, ...]] = []
    encoded: list[str] = []
    speech = loaded.speech_llm("mini-ultravox", plan.settings.models)
    true_hear = speech.hear

    def say(recipe: Recipe, folder: Path) -> Spoken:
        spoken.append(recipe.sound)
        return say_recipe(recipe, folder)

    def hear(clip: AudioClip) -> Heard:
        encoded.append(clip.fingerprint)
        return true_hear(clip)

    monkeypatch.setattr(listen, "say_recipe", say)
    monkeypatch.setattr(speech, "hear", hear)
    transcriber = loaded.transcriber("mini-whisper", plan.settings.models, plan.hearing)
    assert isinstance(transcriber, FromFolder)
    transcriber.clips.clear()
    loaded.batching_of("mini-ultravox", plan.settings.models)
    encoded.clear()
    answers_of(plan, tmp_path)
    assert len(spoken) == len(set(spoken)) < len(plan.clips), "noise on a clip needs no second rendering"
    assert len(encoded) == len(set(encoded)) == len(plan.clips) == len(transcriber.clips)
    n_read = sum(row.stage == "read" for row in ledger_of(tmp_path).rows.values())
    assert n_read < 2 * len(plan.clips), "one transcript for all clips: a question is answered once"


def test_without_parity_it_goes_one_by_one_gives_the_same_and_says_so(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batched = answers_of(plan, tmp_path / "batched")
    sizes: list[int] = []

    def answer(system: Any, heard: Any, questions: Any, batch_size: int) -> list[Answer]:
        sizes.append(batch_size)
        return answer_batch(system, heard, questions, batch_size)

    monkeypatch.setattr(listen, "answer_batch", answer)
    monkeypatch.setattr(listen, "batching_of", lambda *_: BatchFinding(False, 0.5, 6, 0))
    single = answers_of(plan, tmp_path / "single")
    assert set(sizes) == {1}
    columns = ["clip_id", "system", "label", "label_status", "text", "heard"]
    assert single[columns].equals(batched[columns])
    said = json.loads((tmp_path / "single" / "run.json").read_text())["systems"]
    assert said["mini-ultravox"]["batching"].startswith("batches differ, so one by one")
    assert said["mini-llama"]["batching"].startswith("batches of 16 equal singles")


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
