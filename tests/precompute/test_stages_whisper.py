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
from precompute.benchmark import Report, ledger_of, run_plan
from precompute.executors import Executor, InlineExecutor
from precompute.plan import Settings, make_plan
from precompute.pool import PoolExecutor
from precompute.stages.perform import PERFORM
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
    monkeypatch.setattr("precompute.stages.memory.subprocess.run", lambda *_, **__: done)
    hiss = 0.003 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "hiss.wav", hiss, 16_000)
    return manifest(tmp_path, HEADER, "hiss.wav,Who scores?,,the queen,")


def worked(corpus: Path, models: Path, told: str, executor: Executor) -> Report:
    profile = corpus.with_name("own.yaml")
    profile.write_text(f"systems: [{CASCADE}]\n{told}\n", encoding="utf-8")
    plan = make_plan(Settings(profile=str(profile), corpus=corpus, models=models))
    return run_plan(plan, corpus.parent / "out", executor, io.StringIO())


def test_a_run_under_other_settings_hears_anew_and_mixes_nothing(corpus: Path, models: Path) -> None:
    """A worker is a fresh process: what it hears by came with its unit."""
    out, here = corpus.parent / "out", InlineExecutor(PERFORM)
    heard, made, recorded = [], [], []
    for told, executor in (
        ("", here),
        ("drop_silence: true", PoolExecutor(PERFORM, 1)),
        ("language: de", here),
        ("language: en", here),
    ):
        made.append(worked(corpus, models, told, executor).n_made)
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
    assert sum(row.stage == "transcribe" for row in ledger_of(out).rows.values()) == 3


def test_a_language_that_the_weights_lack_ends_the_run_in_one_sentence(corpus: Path, models: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"^faster-whisper-small does not know the language yue; "):
        worked(corpus, models, "language: yue", InlineExecutor(PERFORM))
