"""Facts about who says a text corpus: recordings by the names of their items, and espeak-ng without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import voice
from engine.errors import VoiceError
from engine.voice import say_recipe, spoil
from precompute.clips import Condition, clips_in_speech
from precompute.corpora import speech
from precompute.corpora.item import Item, question_of
from precompute.corpora.source import CorpusError
from precompute.corpora.speech import espeak_speech, file_stem, open_recordings
from precompute.mini.voices import test_voices as held_out_voices

ITEMS = [
    Item(f"sst2-{name}", "sst2", "a fine film", "", "positive", (), name, question_of("sentiment"))
    for name in ("one", "t/wo")
]


def write(folder: Path, *places: str) -> Path:
    for index, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / place, 0.1 * np.sin(np.arange(8_000) / (7 + index)), 16_000)
    return folder


def test_sub_folders_are_voices(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/sst2-{item}.wav" for name in ("ann", "bob") for item in ("one", "t_wo")))
    write(tmp_path, "ann/sst2-other.wav")
    found = open_recordings(tmp_path, ITEMS)
    assert found.voices == ("ann", "bob") and len(found.files) == 4
    noise = (Condition("babble", 5.0),)
    clips = list(clips_in_speech(ITEMS, found, 1, noise))
    assert [(clip.voice, clip.condition.noise) for clip in clips[:3]] == [
        ("ann", "clean"),
        ("ann", "babble"),
        ("bob", "clean"),
    ]
    clean, noisy = (say_recipe(clip.recipe, tmp_path).clip for clip in clips[:2])
    assert clean.fingerprint == noisy.fingerprint, "the noise is added afterwards"
    spoilt = spoil(noisy, clips[1].recipe)
    assert spoilt is not None and spoilt.snr_db_achieved == pytest.approx(5.0, abs=0.01)


def test_files_without_sub_folders_are_one_voice(tmp_path: Path) -> None:
    found = open_recordings(write(tmp_path, "sst2-one.wav", "sst2-t_wo.wav"), ITEMS)
    assert found.voices == ("recording",)
    assert found.recipe(ITEMS[1], "recording").file == "sst2-t_wo.wav" == f"{file_stem(ITEMS[1])}.wav"


def test_missing_recordings_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="There is no folder of recordings"):
        open_recordings(tmp_path / "nowhere", ITEMS)
    with pytest.raises(
        CorpusError, match="2 of 2 recordings are missing, the first is sst2-one by recording"
    ):
        open_recordings(tmp_path, ITEMS)
    write(tmp_path, "ann/sst2-one.wav", "ann/sst2-t_wo.wav", "bob/sst2-one.wav")
    with pytest.raises(CorpusError, match="1 of 4 recordings are missing, the first is sst2-t_wo by bob"):
        open_recordings(tmp_path, ITEMS)
    only_ann = open_recordings(tmp_path, ITEMS, ["ann"])
    assert only_ann.voices == ("ann",)
    with pytest.raises(CorpusError, match="no recording of sst2-t/wo by bob"):
        only_ann.recipe(ITEMS[1], "bob")


@pytest.mark.skipif(not voice.is_available(), reason="espeak-ng is not installed")
def test_espeak_says_an_item_the_same_way_every_time() -> None:
    provider = espeak_speech(6)
    sexes = {one.name: one.sex for one in held_out_voices()}
    assert len(set(provider.voices)) == 6
    assert [sexes[name] for name in provider.voices[:4]] == ["woman", "man", "woman", "man"]
    first, second = (say_recipe(provider.recipe(ITEMS[0], name)).clip for name in provider.voices[:2])
    again = say_recipe(provider.recipe(ITEMS[0], provider.voices[0])).clip
    assert first.fingerprint == again.fingerprint != second.fingerprint
    with pytest.raises(VoiceError, match="1 to 7 can be had"):
        espeak_speech(8)


def test_without_a_synthesiser_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "is_available", lambda: False)
    with pytest.raises(VoiceError, match=r"espeak-ng is not installed here; install espeakng-loader or give"):
        espeak_speech()
