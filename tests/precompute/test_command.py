"""Facts about plan, run and summarize on the command line: what is said, what stops them, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.tables import read_table
from precompute import plan
from precompute.__main__ import main
from precompute.stages import perform
from tests.precompute.fake_family import PERFORM, fake_plan, write_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small plan of systems that answer at once; returns its results folder."""
    models = write_models(tmp_path / "models")
    monkeypatch.setattr(plan, "make_plan", lambda settings: fake_plan(models, n_items=4))
    monkeypatch.setattr(perform, "PERFORM", PERFORM)
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


@pytest.mark.usefixtures("ray_address")  # which says where Ray may write
@pytest.mark.parametrize("executor", ["inline", "pool", "ray"])
def test_ctrl_c_stops_cleanly_with_one_sentence(executor: str, tmp_path: Path) -> None:
    """As a terminal does it: the signal goes to all processes of the group at once."""
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
    while process.poll() is None and not (tmp_path / "out" / "ledger" / "lock").exists():
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
    # Interrupted inside an exec (a dataclass being made), Python ends by the signal itself; a shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT) and not out
    assert said.count("Stopped. Run the same command to go on from where it was.\n") == 1
    assert "Traceback" not in said
