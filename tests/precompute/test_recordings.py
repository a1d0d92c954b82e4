"""Facts about recordings before a run: Edge-TTS says what is not there, once, and nobody else does."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import VoiceError
from precompute.corpora import edge_speech
from precompute.plan import make_plan
from precompute.recordings import fetch_recordings
from precompute.settings import Settings
from tests.precompute.fake_family import write_models
from tests.precompute.tiny_corpora import tone, wav_bytes, write_corpora


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
    plan = make_plan(settings)
    assert {clip.recipe.file.split("/")[0] for clip in plan.clips if clip.item.task == "sst2"} == {
        edge_speech.VOICES[0]
    }
    assert plan.folder_of_task("sst2").name == "speech" and plan.folder_of_task("meld").name == "meld"


def test_nobody_is_asked_where_another_speaks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_speech, "is_available", lambda: False)
    for other in (replace(settings, speech="espeak"), replace(settings, tasks=("meld",))):
        fetch_recordings(other, io.StringIO())
    with pytest.raises(VoiceError, match="Edge-TTS is not installed"):
        fetch_recordings(settings, io.StringIO())
