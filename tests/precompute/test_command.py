"""Facts about plan, run and summarize on the command line: what is said, what stops them, exit codes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import VoiceError
from engine.tables import read_table
from precompute import jobs, plan
from precompute.__main__ import main
from precompute.command import fetch_recordings
from precompute.corpora import edge_speech
from precompute.settings import Settings
from precompute.store import WRITER
from tests.precompute.fake_family import PERFORM, fake_plan, write_models
from tests.precompute.tiny_corpora import tone, wav_bytes, write_corpora

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small plan of systems that answer at once; returns its results folder."""
    models = write_models(tmp_path / "models")
    monkeypatch.setattr(plan, "make_plan", lambda settings: fake_plan(models, n_items=4))
    monkeypatch.setattr(jobs, "PERFORM", PERFORM)
    return tmp_path / "out"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit status of a job, about the models that ship unless a profile is named."""
    arguments = arguments if "--profile" in arguments else (*arguments, "--profile", "mini")
    monkeypatch.setattr(sys, "argv", ["precompute", *arguments])
    return main()


def test_plan_run_and_summarize_in_turn(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "plan", "--out", str(small)) == 0
    planned = capsys.readouterr().out
    assert "About" in planned and "MB on disk" in planned and not small.exists()
    assert call(monkeypatch, "run", "--out", str(small), "--executor", "inline") == 0
    ran = capsys.readouterr()
    assert ran.out.startswith("48 answers in ") and "summarize --out" in ran.out
    assert "clips heard: " in ran.err and "fake: answers come from a hash." in ran.err
    assert call(monkeypatch, "summarize", "--out", str(small)) == 0
    assert (small / "manifest.json").exists()
    assert call(monkeypatch, "plan", "--out", str(small)) == 0
    assert "Everything is done" in capsys.readouterr().out
    assert len(read_table(small / "answers.parquet", "answers")) == 48


def test_the_papers_plan_is_printed_without_anything_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert call(monkeypatch, "plan", "--profile", "paper", "--out", out, "--usd-gpu-hour", "1") == 0
    said = capsys.readouterr().out
    assert said.startswith("9 systems, 6 tasks, 27,300 files, 245,700 inferences.") and "$1 an hour" in said
    assert "It cannot run here yet. There is no system to run" in said and list(tmp_path.iterdir()) == []
    assert call(monkeypatch, "plan", "--profile", "paper", "--gpu", "abacus", "--out", out) == 2
    assert 'no GPU "abacus"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "--profile", "paper", "--tasks", "golf"], 'There is no task "golf" here'),
        (["plan", "--profile", "paper", "--limit", "0"], "The limit is 0"),
        (["run", "--profile", "paper", "--corpora", "nowhere"], "There is no system to run"),
        (["run", "--corpora", "nowhere", "--systems", "mini-llama"], "ag_news/ is missing"),
        (["run", "--tasks", "golf"], 'There is no task "golf"'),
        (["plan", "--systems", "mini-llama,gpt"], 'There is no system "gpt"'),
        (["run", "--workers", "0"], "The number of workers is 0"),
        (["run", "--address", "auto"], "add --executor ray"),
        (["plan", "--executor", "ray", "--address", "auto"], "--workers how many"),
        (["plan", "--corpus", "nowhere.csv"], 'no readable manifest "nowhere.csv"'),
        (["plan", "--stage", "mechanism", "--systems", "mini-cascade"], "no speech LLM"),
        (["summarize"], "answers.parquet"),
    ],
)
def test_faults_are_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *arguments, "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr()
    assert sentence in said.err and "Traceback" not in said.err and not said.out


@pytest.mark.parametrize("executor", ["inline", "pool", pytest.param("ray", marks=pytest.mark.slow)])
def test_ctrl_c_stops_cleanly_with_one_sentence(
    executor: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As a terminal does it: the signal goes to all processes of the group at once."""
    if executor == "ray":
        request.getfixturevalue("ray_address")  # which says where Ray may write
    command = [
        sys.executable,
        "-m",
        "precompute",
        "run",
        "--profile",
        "mini",
        "--quick",
        "--tasks",
        "trivia",
        "--executor",
        executor,
    ]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C and hands that on: the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (tmp_path / "out" / WRITER).exists():
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
    # Interrupted inside an exec (a dataclass being made), Python ends by the signal itself; a shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT) and not out
    assert said.count("Stopped. Run the same command to go on from where it was.\n") == 1
    assert "Traceback" not in said


# --- recordings before a run: Edge-TTS says what is not there, once, and nobody else does ---


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    corpora = write_corpora(tmp_path / "corpora", monkeypatch)
    models = write_models(tmp_path / "models")
    return Settings(quick=True, tasks=("sst2", "meld"), corpora=corpora, models=models, limit=2)


def test_what_is_missing_is_fetched_once_and_then_planned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetched(text: str, voice: str) -> bytes:
        asked.append((text, voice))
        return wav_bytes(tone(200))

    monkeypatch.setattr(edge_speech, "is_available", lambda: True)
    monkeypatch.setattr(edge_speech, "_fetched", fetched)
    monkeypatch.setattr(edge_speech, "PAUSE_S", 0.0)
    stream = io.StringIO()
    fetch_recordings(settings, stream)
    assert len(asked) == 2 and {voice for _, voice in asked} == {edge_speech.VOICES[0]}
    assert stream.getvalue().startswith("2 recordings are fetched from Edge-TTS")
    fetch_recordings(settings, stream)
    assert len(asked) == 2, "they are there"
    made = plan.make_plan(settings)
    assert {clip.recipe.file.split("/")[0] for clip in made.clips if clip.item.task == "sst2"} == {
        edge_speech.VOICES[0]
    }
    assert made.folder_of_task("sst2").name == "speech" and made.folder_of_task("meld").name == "meld"


def test_nobody_is_asked_where_another_speaks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_speech, "is_available", lambda: False)
    for other in (replace(settings, speech="espeak"), replace(settings, tasks=("meld",))):
        fetch_recordings(other, io.StringIO())
    with pytest.raises(VoiceError, match="Edge-TTS is not installed"):
        fetch_recordings(settings, io.StringIO())
