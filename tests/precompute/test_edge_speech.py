"""Facts about Edge-TTS, on a fake of its package: resumed after a break, slow on purpose, whole files or none."""

from __future__ import annotations

import asyncio
import importlib.machinery
import io
import sys
import types
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.errors import VoiceError
from engine.voice import say_recipe
from precompute.corpora import edge_speech
from precompute.corpora.edge_speech import FIRST_WAIT_S, PAUSE_S, TRIES, fetch_speech
from precompute.corpora.item import Item, question_of
from precompute.corpora.source import CorpusError

ITEMS = [
    Item(f"sst2-{name}", "sst2", f"a {name} film", "", "positive", (), name, question_of("sentiment"))
    for name in ("fine", "poor")
]
VOICES = ("en-US-AriaNeural", "en-US-GuyNeural")


class Stopped(BaseException):
    """The process ends."""


class Service:
    """What the service is asked, and how it answers: a tone, an error, or nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.faults: dict[int, str] = {}
        self.waits: list[float] = []

    def answer(self, text: str, voice: str) -> list[dict[str, Any]]:
        self.asked.append((text, voice))
        fault = self.faults.get(len(self.asked))
        if fault == "error":
            raise ConnectionResetError("the wire holds secrets")
        if fault == "break":
            raise Stopped
        sound = io.BytesIO()
        soundfile.write(sound, 0.1 * np.sin(np.arange(12_000) / 9), 24_000, format="MP3")
        content = sound.getvalue()
        parts = [] if fault == "empty" else [content[:500], content[500:]]
        return [{"type": "WordBoundary", "text": text}, *({"type": "audio", "data": part} for part in parts)]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    served = Service()

    class Communicate:
        def __init__(self, text: str, voice: str) -> None:
            self.text, self.voice = text, voice

        async def stream(self) -> AsyncIterator[dict[str, Any]]:
            for part in served.answer(self.text, self.voice):
                yield part

    package = types.ModuleType("edge_tts")
    package.__spec__ = importlib.machinery.ModuleSpec("edge_tts", None)
    vars(package)["Communicate"] = Communicate
    monkeypatch.setitem(sys.modules, "edge_tts", package)
    return served


@pytest.fixture
def fetch(service: Service, tmp_path: Path) -> Callable[[], Any]:
    return lambda: fetch_speech(ITEMS, tmp_path, VOICES, sleep=service.waits.append)


def test_it_is_fetched_inside_a_running_event_loop_too(fetch: Callable[[], Any], service: Service) -> None:
    """Bug: in a program that runs an event loop of its own every try failed, and no sound was fetched."""

    async def program() -> None:
        fetch()

    # On a thread of its own, for the browser tests' loop may run on this one.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(lambda: asyncio.run(program())).result()
    assert len(service.asked) == 4


def test_every_item_is_fetched_in_every_voice_with_a_pause_between(
    service: Service, fetch: Callable[[], Any], tmp_path: Path
) -> None:
    found = fetch()
    assert service.asked == [(item.text, voice) for item in ITEMS for voice in VOICES]
    assert service.waits == [PAUSE_S] * 3
    assert found.voices == VOICES
    recipe = found.recipe(ITEMS[0], VOICES[1])
    assert recipe.file == f"{VOICES[1]}/sst2-fine.mp3" and not recipe.text
    clip = say_recipe(recipe, tmp_path).clip
    assert clip.duration_s == pytest.approx(0.5, abs=0.1) and clip.peak > 0.05


def test_after_a_break_only_what_is_missing_is_asked_for(
    service: Service, fetch: Callable[[], Any], tmp_path: Path
) -> None:
    service.faults = {3: "break"}
    with pytest.raises(Stopped):
        fetch()
    assert len(list(tmp_path.rglob("*.mp3"))) == 2 and not list(tmp_path.rglob("*.part"))
    service.asked, service.faults = [], {}
    assert len(fetch().files) == 4 and len(service.asked) == 2
    service.asked = []
    fetch()
    assert service.asked == []


@pytest.mark.parametrize("fault", ["error", "empty"])
def test_a_failure_is_tried_again_after_a_longer_and_longer_wait(
    service: Service, fetch: Callable[[], Any], fault: str
) -> None:
    service.faults = {1: fault, 2: fault}
    assert len(fetch().files) == 4
    assert service.waits[:2] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S]


def test_a_service_that_stays_away_is_one_sentence(
    service: Service, fetch: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    service.faults = dict.fromkeys(range(2, 20), "error")
    with pytest.raises(CorpusError, match=r"sst2-fine by en-US-GuyNeural in 4 tries; 1 of 4 clips are there"):
        fetch()
    assert len(service.asked) == 1 + TRIES
    assert "ConnectionResetError" in caplog.text and "secrets" not in caplog.text


def test_a_folder_that_cannot_be_written_is_one_sentence(
    service: Service, fetch: Callable[[], Any], tmp_path: Path
) -> None:
    (tmp_path / VOICES[0]).write_text("a file stands where the folder should be", encoding="utf-8")
    with pytest.raises(CorpusError, match="folder for recordings cannot be written"):
        fetch()


def test_without_the_package_nothing_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(edge_speech, "is_available", lambda: False)
    with pytest.raises(
        VoiceError, match="Edge-TTS is not installed here; install edge-tts, or give a folder"
    ):
        fetch_speech(ITEMS, tmp_path)
    assert not list(tmp_path.iterdir())
