"""Whisper's encoder at any length, with its layers in reach, and as published ears."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np
import pytest
import torch
from faster_whisper import tokenizer
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import AudioClip
from engine.checks import probe_clip
from engine.errors import ModelFilesError, UnknownKeyError
from engine.results import SpokenLanguage
from engine.systems.base import Transcribes
from engine.systems.cascade import PUBLISHED_FILES as NEEDED_FILES
from engine.systems.cascade import PublishedTranscriber
from engine.systems.loading import load_transcriber
from engine.systems.profiles import LANGUAGES, WhisperSettings
from engine.systems.ultravox import Ultravox
from engine.systems.weights import MODELS
from engine.systems.whisper import WhisperEars, encode_mel
from tests.engine.tiny_systems import sound
from tests.engine.tiny_whisper import SAYS

WINDOW_FRAMES = 200


@pytest.fixture(scope="module")
def encoder(ultravox: Ultravox) -> WhisperEncoder:
    return ultravox.ears.audio_tower


def mel(n_frames: int, seed: int = 0, clips: int = 1) -> torch.Tensor:
    return torch.randn(clips, 80, n_frames, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_full_window_equals_transformers_own_forward(encoder: WhisperEncoder) -> None:
    full = mel(WINDOW_FRAMES, clips=2)
    expected = encoder(full).last_hidden_state
    torch.testing.assert_close(encode_mel(encoder, full), expected, atol=1e-5, rtol=1e-4)
    lengths = torch.tensor([WINDOW_FRAMES, WINDOW_FRAMES])
    torch.testing.assert_close(encode_mel(encoder, full, lengths), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("n_frames", [2, 51, 124, 199])
def test_two_frames_make_one_position(encoder: WhisperEncoder, n_frames: int) -> None:
    assert encode_mel(encoder, mel(n_frames)).shape == (1, (n_frames - 1) // 2 + 1, 16)


@torch.inference_mode()
@pytest.mark.parametrize("n_frames", [50, 124])
def test_padding_is_hidden_from_the_clip(encoder: WhisperEncoder, n_frames: int) -> None:
    clip = mel(n_frames)
    padded = torch.nn.functional.pad(clip, (0, WINDOW_FRAMES - n_frames))
    n_valid = (n_frames - 1) // 2 + 1
    alone = encode_mel(encoder, clip)
    masked = encode_mel(encoder, padded, torch.tensor([n_frames]))[:, :n_valid]
    torch.testing.assert_close(masked, alone, atol=1e-5, rtol=1e-4)
    open_to_padding = encode_mel(encoder, padded)[:, :n_valid]
    assert (open_to_padding - alone).abs().max() > 1e-3, "without a mask the padding is heard"


@torch.inference_mode()
def test_more_than_a_window_is_an_error(encoder: WhisperEncoder) -> None:
    with pytest.raises(ValueError, match="202 mel frames exceed the window of 200"):
        encode_mel(encoder, mel(WINDOW_FRAMES + 2))


@torch.inference_mode()
def test_a_block_hears_itself_and_what_came_before(encoder: WhisperEncoder) -> None:
    """Blocks of 25 states are 50 mel frames; conv2 looks one frame ahead, so the change stays clear of the edge."""
    clip = mel(WINDOW_FRAMES)
    later = clip.clone()
    later[..., 104:] += 1.0
    found, changed = (encode_mel(encoder, one, block=25)[0] for one in (clip, later))
    assert torch.equal(found[:50], changed[:50])
    open_to_all = encode_mel(encoder, later)[0]
    assert (encode_mel(encoder, clip)[0, :50] - open_to_all[:50]).abs().max() > 1e-3
    whole = encode_mel(encoder, clip, block=WINDOW_FRAMES)[0]
    torch.testing.assert_close(whole, encode_mel(encoder, clip)[0], atol=1e-5, rtol=1e-4)


FOLDER = MODELS / "mini-whisper"
needs_weights = pytest.mark.skipif(not (FOLDER / "model.bin").exists(), reason="mini-whisper is not here")


@needs_weights
def test_the_last_layer_is_what_ctranslate2_encodes() -> None:
    ears = WhisperEars(FOLDER)
    samples = probe_clip(1.3).samples
    mel, n_frames = ears.features(samples)
    whole = ctranslate2.models.Whisper(str(FOLDER), device="cpu", compute_type="float32").encode(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None].numpy()))
    )
    states = ears.layer_states(samples)
    assert sorted(states) == list(range(6)) and n_frames == 130 and len(states[5]) == 65
    with torch.inference_mode():
        ours = ears.encoder.layer_norm(states[5]).numpy()
    reference = np.array(whole)[0, :65]
    assert np.abs(ours - reference).max() < 1e-3 * np.abs(reference).max()
    assert np.abs(states[4].numpy() - states[5].numpy()).max() > 0.1, (
        "layers differ, so the last one was meant"
    )


ROOT = Path(__file__).resolve().parents[3]


def test_the_languages_are_those_of_the_library() -> None:
    assert set(tokenizer._LANGUAGE_CODES) == LANGUAGES


@pytest.mark.parametrize("language", ["", "EN", "english", "xx", "x" * 400])
def test_a_language_that_whisper_does_not_know_is_refused(language: str) -> None:
    with pytest.raises(UnknownKeyError, match=r"^Whisper knows no language") as caught:
        WhisperSettings(language)
    assert len(str(caught.value)) < 120


def test_the_words_tell_apart_what_changes_a_transcript_and_nothing_else() -> None:
    usual = WhisperSettings()
    assert usual.words == "language en, beam of 5, silence kept"
    others = [WhisperSettings("de"), WhisperSettings(drop_silence=True), WhisperSettings(beam_size=1)]
    assert len({usual.words, *(other.words for other in others)}) == 4
    assert replace(usual, device="cpu").words == usual.words


def test_a_plan_may_hold_them_without_a_model_library() -> None:
    code = (
        "import sys, engine.systems.profiles, precompute.plan; heavy = {'torch', 'faster_whisper', 'ctranslate2'}; "
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


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
