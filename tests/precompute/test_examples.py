"""`python -m precompute examples`: two jobs write one gallery, and either leaves the other's clips."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.audio import SAMPLE_RATE_HZ, AudioClip, clip_from_samples
from engine.words import SpokenWord
from precompute.__main__ import main
from precompute.mini import example_clips
from precompute.mini.held_out import HeldOutItem
from precompute.mini.voices import Voice
from precompute.training import examples


class Tone:
    """A voice that hums; it is loaded in no time."""

    rate_hz = SAMPLE_RATE_HZ

    def __init__(self, _folder: Path) -> None:
        self.said: list[str] = []

    def say(self, text: str, _voice: str = "", _rng: random.Random | None = None) -> np.ndarray:
        self.said.append(text)
        return hum(len(text))


def hum(n: int) -> np.ndarray:
    return (0.3 * np.sin(np.arange(400 * n) / 20)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and voices that need neither weights nor programs."""

    def say(item: HeldOutItem, voices: tuple[Voice, ...]) -> tuple[AudioClip, tuple[SpokenWord, ...], Voice]:
        clip = clip_from_samples(hum(9), SAMPLE_RATE_HZ, "held-out clip")
        return clip, (SpokenWord(item.sentence.text.split()[0], 0.0, 0.12345),), voices[0]

    monkeypatch.setattr(example_clips, "say_item", say)
    monkeypatch.setattr(examples, "fetch", lambda *_: None)
    for voice in ("PiperVoice", "KokoroVoice"):
        monkeypatch.setattr(examples, voice, Tone)
    return tmp_path / "gallery"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["precompute", "examples", *map(str, arguments)])
    return main()


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in json.loads((folder / "index.json").read_text(encoding="utf-8"))}


def test_either_job_keeps_the_others_examples(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minis' examples were written over the natural ones, which no command could make."""
    person = gallery.parent / "person.wav"
    soundfile.write(person, hum(30), SAMPLE_RATE_HZ)
    assert call(monkeypatch, "--out", gallery) == 0
    minis = rows_of(gallery)
    assert call(monkeypatch, "--natural", "--person", person, "--out", gallery) == 0
    both = rows_of(gallery)
    assert (
        next(iter(both)) == "jfk" and list(both)[-len(minis) :] == list(minis) and len(both) == 7 + len(minis)
    )
    assert call(monkeypatch, "--out", gallery) == 0
    assert rows_of(gallery) == both and list(rows_of(gallery)) == list(both)
    assert all(len(soundfile.read(gallery / f"{key}.flac")[0]) for key in both)
    assert minis["topic-1"]["words"][0][1:] == [0.0, 0.123]


def test_one_natural_example_is_made_again_in_its_place(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "--natural", "--out", gallery) == 0
    order = list(rows_of(gallery))
    others = {key: (gallery / f"{key}.flac").read_bytes() for key in order if key != "natural-negative"}
    monkeypatch.setattr(Tone, "say", lambda *_: hum(5))
    assert call(monkeypatch, "--natural", "--example", "natural-negative", "--out", gallery) == 0
    assert list(rows_of(gallery)) == order
    assert len(soundfile.read(gallery / "natural-negative.flac")[0]) == 2000
    assert all((gallery / f"{key}.flac").read_bytes() == sound for key, sound in others.items())
    assert rows_of(gallery)["natural-negative"]["voice"] == "Piper joe, a man"
    assert rows_of(gallery)["natural-milk"]["voice"].startswith("Kokoro jf_")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--natural", "--example", "jfk"], 'No voice says an example "jfk"'),
        (["--person", "a.wav"], "give --natural, too"),
        (["--example", "topic-1"], "give --natural or --pair to choose one"),
        (["--natural", "--person", "nowhere.wav"], "The sound file is not there"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    gallery: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert call(monkeypatch, *arguments, "--out", gallery) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not gallery.exists()
