"""`python -m precompute train --profile laptop`: stages, what is fetched for them, what the lens is fitted on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from precompute.__main__ import main
from precompute.training import train
from precompute.training.train import STAGES, Stage, train_laptop
from precompute.training.tuned_lens import LayerScore

SENTENCES = [f"the {word} sat on the old red mat" for word in ("cat", "dog", "hen", "cow", "pig", "ant")]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(train, "fetch", lambda name, _report: found.append(name))
    return found


def test_a_folder_is_fetched_once_before_the_stages_that_need_it(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage asked for every folder anew, a voice among them that only the speech needs."""
    worked: list[tuple[str, int]] = []
    for name, stage in STAGES.items():

        def work(_: object, name: str = name) -> None:
            worked.append((name, len(fetched)))

        result = tmp_path / f"{name} is there"
        monkeypatch.setitem(STAGES, name, Stage(lambda _, result=result: result, work, stage.needs))  # type: ignore[misc]
    (tmp_path / "export is there").touch()
    assert train_laptop(tmp_path, tmp_path, tmp_path, ["tuned-lens", "backbone"]) == [
        "backbone",
        "tuned-lens",
    ]
    assert worked == [("backbone", 2), ("tuned-lens", 2)]
    assert sorted(fetched) == ["smollm2-135m-instruct", "whisper-base-transformers"]
    assert train_laptop(tmp_path, tmp_path, tmp_path) == ["speech", "ears", "backbone", "tuned-lens"]
    assert "voice-piper-joe" in fetched[2:] and len(set(fetched[2:])) == len(fetched[2:]) == 3


class Recorder:
    """A speech LLM that gives back what it is asked."""

    fingerprint = ""

    def hear(self, clip: object) -> object:
        return clip

    def prepare(self, _heard: object, instruction: str) -> str:
        return instruction


def test_the_tuned_lens_is_fitted_on_sentences_that_taught_nothing_and_reads_them_once(
    tmp_path: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompts were drawn from all sentences, and all corpora were read for each of four sets."""
    reads: list[Path] = []

    def read(corpora: Path) -> tuple[list[str], dict[str, str]]:
        reads.append(corpora)
        return SENTENCES, {}

    made: list[tuple[list[str], list[str]]] = []

    def make(_system: object, fitted: Iterable[Any], held: Iterable[Any], *_: object) -> list[Any]:
        made.append((list(fitted), list(held)))
        return [LayerScore(0, "audio", 1.0, 0.5, 1.0, 1)]

    said: list[str] = []

    def speak(text: str, **_: object) -> tuple[Any, int, tuple[()]]:
        said.append(text)
        return np.sin(np.arange(4000.0)).astype(np.float32), 16_000, ()

    monkeypatch.setattr(train, "read_sentences", read)
    monkeypatch.setattr(
        train, "choose_sentences", lambda *_: ["The CAT sat, on the old red mat!", SENTENCES[1]]
    )
    monkeypatch.setattr(train, "load_speech_llm", lambda *_: Recorder())
    monkeypatch.setattr(train, "make_tuned_lens", make)
    monkeypatch.setattr(train, "speak", speak)
    monkeypatch.setattr(train, "LENS_PROMPTS", 3)
    monkeypatch.setattr(train, "LENS_HELD_OUT", 1)
    train_laptop(tmp_path, tmp_path, tmp_path, ["tuned-lens"])
    assert reads == [tmp_path] and sorted(said[:4]) == sorted(SENTENCES[2:]) and said[4:] == said[:4]
    assert [(len(fitted), len(held)) for fitted, held in made] == [(3, 1)] * 2
    assert len(set(made[0][0])) == 3


def test_a_quick_form_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """--quick was passed over, and hours of training began."""
    monkeypatch.setattr(
        sys, "argv", ["precompute", "train", "--profile", "laptop", "--corpora", str(tmp_path), "--quick"]
    )
    assert main() == 2
    assert "no quick form" in capsys.readouterr().err
