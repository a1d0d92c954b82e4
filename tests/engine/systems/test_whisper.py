"""Published transcribers: the same files, ids and window as theirs, with weights that always say the same words."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import faster_whisper
import numpy as np
import pytest

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.results import SpokenLanguage
from engine.systems.base import Transcribes
from engine.systems.cascade import PUBLISHED_FILES as NEEDED_FILES
from engine.systems.cascade import PublishedTranscriber
from engine.systems.loading import load_transcriber
from engine.systems.profiles import WhisperSettings
from tests.engine.tiny_systems import sound
from tests.engine.tiny_whisper import SAYS

SMALL, LARGE = "faster-whisper-small", "faster-whisper-large-v3"


@pytest.fixture(scope="module")
def small(published_models: Path) -> PublishedTranscriber:
    return PublishedTranscriber(published_models / SMALL)


@pytest.fixture
def own(published_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published_models / SMALL, tmp_path / SMALL))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "files", "n_ids", "n_mels"),
    [
        (SMALL, {*NEEDED_FILES, "vocabulary.txt"}, 51_865, 80),
        (LARGE, {*NEEDED_FILES, "vocabulary.json", "preprocessor_config.json"}, 51_866, 128),
    ],
)
def test_the_files_are_those_of_the_published_folders(
    published_models: Path, name: str, files: set[str], n_ids: int, n_mels: int, no_network: None
) -> None:
    """As SYSTRAN publishes them: the small one has no preprocessor_config.json, and its vocabulary is lines."""
    folder = published_models / name
    assert {file.name for file in folder.iterdir()} == files
    ears = load_transcriber(name, published_models)
    assert isinstance(ears, PublishedTranscriber) and isinstance(ears, Transcribes)
    model = ears._model
    assert model.model.is_multilingual and model.hf_tokenizer.get_vocab_size() == n_ids
    assert model.feature_extractor.mel_filters.shape[0] == n_mels
    assert model.feature_extractor.n_samples == 480_000
    text, words = ears.transcribe(sound(1.7))
    assert text == " ".join(SAYS) and tuple(word.text for word in words) == SAYS


def test_weights_stay_as_they_were_published(small: PublishedTranscriber) -> None:
    """Half precision on disk is float32 on a processor: "auto" would take 8-bit integers, another model."""
    assert small._model.model.compute_type == "float32"


@pytest.mark.parametrize("duration_s", [0.01, 0.5, 1.7, 29.99, 30.0, 31.0, 65.0])
def test_word_times_lie_within_the_clip_and_in_order(small: PublishedTranscriber, duration_s: float) -> None:
    text, words = small.transcribe(sound(duration_s))
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert all(0 <= time <= duration_s for time in times)
    assert all(word.start_s <= word.end_s for word in words)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)
    assert text == " ".join(word.text for word in words)


@pytest.mark.parametrize(("duration_s", "n_windows"), [(30.0, 1), (31.0, 2), (65.0, 3)])
def test_what_comes_after_the_first_window_is_heard_too(
    small: PublishedTranscriber, duration_s: float, n_windows: int
) -> None:
    _, words = small.transcribe(sound(duration_s))
    assert [word.text for word in words] == [*SAYS] * n_windows
    assert [word.start_s >= 30.0 for word in words[len(SAYS) :]] == [True] * (len(words) - len(SAYS))


def test_the_same_clip_is_transcribed_alike_whatever_came_before(small: PublishedTranscriber) -> None:
    first = small.transcribe(sound(2.0, 1))
    small.transcribe(sound(40.0, 2))
    assert small.transcribe(sound(2.0, 1)) == first


@pytest.mark.parametrize("language", ["en", "de", "no"])
def test_the_language_is_told_and_never_guessed(
    published_models: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    small = PublishedTranscriber(published_models / SMALL, WhisperSettings(language))
    asked: list[list[int]] = []
    generate = faster_whisper.WhisperModel.generate_with_fallback

    def spy(self: Any, encoded: Any, prompt: list[int], *rest: Any) -> Any:
        asked.append(list(prompt))
        return generate(self, encoded, prompt, *rest)

    def guessed(*_: object, **__: object) -> None:
        raise AssertionError("the language was guessed")

    monkeypatch.setattr(faster_whisper.WhisperModel, "generate_with_fallback", spy)
    monkeypatch.setattr(faster_whisper.WhisperModel, "detect_language", guessed)
    small.transcribe(sound(1.0))
    of = small._model.hf_tokenizer.token_to_id
    assert asked == [[of("<|startoftranscript|>"), of(f"<|{language}|>"), of("<|transcribe|>")]]


def test_the_language_is_told_by_the_transcripts_own_encoder_pass(
    small: PublishedTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking the library apart would run the encoder twice."""
    samples = sound(3.0).samples
    code, probability, _ = small._model.detect_language(samples)
    encode, passes = faster_whisper.WhisperModel.encode, []

    def counted(self: Any, features: Any) -> Any:
        passes.append(features.shape)
        return encode(self, features)

    monkeypatch.setattr(faster_whisper.WhisperModel, "encode", counted)
    text, words, told = small.transcribe_and_tell(sound(3.0))
    assert told is not None and told.code == code
    assert told.probability == pytest.approx(probability, abs=1e-3)
    assert 0 <= told.english <= told.probability
    assert len(passes) == 1 and (text, words) == small.transcribe(sound(3.0))


def test_a_clip_of_which_nothing_is_heard_has_no_language_of_the_one_before(published_models: Path) -> None:
    ears = PublishedTranscriber(published_models / SMALL, WhisperSettings(drop_silence=True))
    ears._model.told = SpokenLanguage("de", 1.0, 0.0)
    silence = AudioClip(np.zeros(32_000, np.float32), "silence")
    assert ears.transcribe_and_tell(silence)[2] is None


def test_silence_is_dropped_by_what_the_library_brings(
    published_models: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    """Voice activity detection (silero) comes with faster-whisper; a clip without speech leaves nothing to write."""
    ears = PublishedTranscriber(published_models / SMALL, WhisperSettings(drop_silence=True))
    silence = AudioClip(np.zeros(32_000, np.float32), "silence")
    assert ears.transcribe(silence) == ("", ())


def test_a_language_that_only_large_v3_knows_is_refused_by_the_others(published_models: Path) -> None:
    cantonese = WhisperSettings("yue")
    with pytest.raises(ModelFilesError, match=f"^{SMALL} does not know the language yue; take "):
        PublishedTranscriber(published_models / SMALL, cantonese)
    assert PublishedTranscriber(published_models / LARGE, cantonese).transcribe(sound(1.0))[1]


@pytest.mark.parametrize("name", NEEDED_FILES)
def test_a_missing_file_is_one_sentence(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(ModelFilesError, match=f"^{SMALL} lacks {name}; fetch it again.$"):
        PublishedTranscriber(own)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", b"nothing"),
        ("model.bin", None),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff"),
        ("config.json", b"{"),
        ("vocabulary.txt", b"<|endoftext|>\n"),
        ("preprocessor_config.json", b"[]"),
        ("preprocessor_config.json", json.dumps({"feature_size": "many"}).encode()),
    ],
)
def test_a_damaged_file_is_one_sentence(own: Path, name: str, content: bytes | None) -> None:
    file = own / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with pytest.raises(ModelFilesError, match=f"^{SMALL} could not be loaded: ") as caught:
        PublishedTranscriber(own)
    assert str(own.parent) not in str(caught.value) and "\n" not in str(caught.value)
