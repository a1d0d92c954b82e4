"""Facts about the command line: every job is listed, faults are one sentence, quick runs stay apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelFilesError
from engine.systems.weights import MODELS
from precompute.__main__ import main
from precompute.mini import cards, train
from precompute.mini.train import FULL, QUICK
from precompute.mini.workshop import Recipe
from precompute.training import evaluate as people

JOBS = ("plan", "run", "summarize", "train", "erasers", "examples", "evaluate", "cards", "speed")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["precompute", *arguments])
    return main()


def test_help_names_every_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(job in shown for job in JOBS)


@pytest.mark.parametrize("arguments", [["bake"], [], ["speed", "--repeats", "many"], ["erasers", "--slow"]])
def test_an_unknown_job_or_option_says_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert "usage: python -m precompute" in capsys.readouterr().err


def test_a_fault_of_the_set_up_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ModelFilesError("The weights are gone; train them.")

    monkeypatch.setattr(cards, "write_cards", fail)
    assert call(monkeypatch, "cards") == 2
    assert capsys.readouterr().err == "The weights are gone; train them.\n"


def test_no_repeat_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "speed", "--repeats", "0") == 2
    assert "give 1 or more" in capsys.readouterr().err


def test_a_stopped_job_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_all", stop)
    assert call(monkeypatch, "train") == 130
    assert "go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "build", "models", "recipe"),
    [
        ([], Path("build/mini"), MODELS, FULL),
        (["--quick"], Path("build/quick"), Path("build/quick/models"), QUICK),
        (["--quick", "--build", "mine"], Path("mine"), Path("mine/models"), QUICK),
        (["--build", "mine", "--out", "there"], Path("mine"), Path("there"), FULL),
    ],
)
def test_a_quick_run_never_touches_the_weights_that_ship(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], build: Path, models: Path, recipe: Recipe
) -> None:
    """A folder given with --quick was replaced by a neighbour named quick."""
    calls = record_training(monkeypatch)
    assert call(monkeypatch, "train", *arguments) == 0
    assert calls == [(build, models, recipe, [])]


def record_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Write down what training is asked for instead of doing it."""
    calls: list[tuple[object, ...]] = []

    def note(*given: object) -> dict[str, object]:
        calls.append(given)
        return {}

    monkeypatch.setattr(train, "train_all", note)
    return calls


def test_stages_are_chosen_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = record_training(monkeypatch)
    assert call(monkeypatch, "train", "--stage", "qwen2", "--stage", "weak_asr") == 0
    assert calls == [(Path("build/mini"), MODELS, FULL, ["qwen2", "weak_asr"])]
    assert "Every model is there" in capsys.readouterr().out


def test_erasers_are_of_a_speech_llm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "erasers", "--system", "mini-cascade") == 2
    assert "hears no audio of its own" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--clips", "5"], ["--held", "0"], ["--quick", "--held", "-1"]])
def test_too_few_clips_for_an_eraser_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert call(monkeypatch, "erasers", *arguments) == 2
    assert "need 20 clips to fit on and as many held out" in capsys.readouterr().err


def test_every_option_of_the_evaluation_on_people_reaches_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--limit was read and told nobody: all clips were asked."""
    asked: list[tuple[Any, dict[str, Any]]] = []

    def keep(*given: Any, **named: Any) -> str:
        asked.append((given, named))
        return ""

    monkeypatch.setattr(people, "evaluate_people", keep)
    options = ("--system", "bridge-smollm2", "--aim-only", "--limit", "8")
    assert call(monkeypatch, "evaluate", "--profile", "laptop", "--speech", str(tmp_path), *options) == 0
    assert asked == [((tmp_path, ["bridge-smollm2"]), {"aim_only": True, "limit": 8})]
