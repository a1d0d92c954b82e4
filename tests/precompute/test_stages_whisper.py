"""A cascade with a published Whisper: how the profile has it hear reaches every process, its keys and the record."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.errors import ModelFilesError
from precompute.benchmark import Report, run_plan
from precompute.jobs import PERFORM
from precompute.plan import make_plan
from precompute.settings import Settings
from precompute.store import Store
from precompute.workers import InlineWorkers, PoolWorkers, Workers
from tests.engine.tiny_models_folder import write_small_profile
from tests.engine.tiny_whisper import SAYS
from tests.precompute.test_manifest import HEADER, manifest
from tests.precompute.test_stages_services import answers_in

CASCADE = "whisper-small-llama-3.2-1b"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "models"
    write_small_profile(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One recording of a faint hiss, in which nobody speaks."""
    done = subprocess.CompletedProcess([], 0, stdout="123.4\n", stderr="")
    monkeypatch.setattr("precompute.measure_answers.subprocess.run", lambda *_, **__: done)
    hiss = 0.003 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "hiss.wav", hiss, 16_000)
    return manifest(tmp_path, HEADER, "hiss.wav,Who scores?,,the queen,")


def worked(corpus: Path, models: Path, told: str, workers: Workers) -> Report:
    profile = corpus.with_name("own.yaml")
    profile.write_text(f"systems: [{CASCADE}]\n{told}\n", encoding="utf-8")
    plan = make_plan(Settings(profile=str(profile), corpus=corpus, models=models))
    return run_plan(plan, corpus.parent / "out", workers, io.StringIO())


def test_a_run_under_other_settings_hears_anew_and_mixes_nothing(corpus: Path, models: Path) -> None:
    """A worker is a fresh process: what it hears by came with its batch."""
    out, here = corpus.parent / "out", InlineWorkers(PERFORM)
    heard, made, recorded = [], [], []
    for told, workers in (
        ("", here),
        ("drop_silence: true", PoolWorkers(PERFORM, 1)),
        ("language: de", here),
        ("language: en", here),
    ):
        made.append(worked(corpus, models, told, workers).n_made)
        heard.append(answers_in(out)["heard"].item())
        about = json.loads((out / "run.json").read_text(encoding="utf-8"))["systems"][CASCADE]
        recorded.append(about["hearing"].split(", "))
    assert heard == [" ".join(SAYS), "", " ".join(SAYS), " ".join(SAYS)], (
        "voice activity detection finds none"
    )
    assert recorded == [
        ["language en", "beam of 5", "silence kept"],
        ["language en", "beam of 5", "silence dropped"],
        ["language de", "beam of 5", "silence kept"],
        ["language en", "beam of 5", "silence kept"],
    ]
    # Sound, transcript, answer and memory; then transcript and answer; the same words are read once; nothing.
    assert made == [4, 2, 1, 0]
    assert sum(row.stage == "transcribe" for row in Store(out).rows.values()) == 3


def test_a_language_that_the_weights_lack_ends_the_run_in_one_sentence(corpus: Path, models: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"^faster-whisper-small does not know the language yue; "):
        worked(corpus, models, "language: yue", InlineWorkers(PERFORM))
