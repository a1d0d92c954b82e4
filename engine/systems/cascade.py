"""A cascade: faster-whisper writes the transcript, a text LLM answers from it and from nothing else."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import faster_whisper
import numpy as np
from ctranslate2 import StorageView

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError, is_out_of_memory
from engine.results import SpokenLanguage
from engine.systems.base import BehaviourModel, Heard, TellsLanguage, Transcribes, words_alone
from engine.systems.catalogue import SystemSpec
from engine.systems.profiles import USUAL, WhisperSettings
from engine.systems.remote import Reply, Tell
from engine.systems.text_llm import OnBackbone, TextLLM
from engine.systems.whisper import HOP_SAMPLES
from engine.words import SpokenWord

MINI_FILES = ("model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json")


class _ShortWindowWhisper(faster_whisper.WhisperModel):
    """faster-whisper 1.2.1 pads every window to 30 s of features; a model with a shorter window refuses them."""

    valid_frames = 0

    def encode(self, features: np.ndarray) -> StorageView:
        return super().encode(features[..., : self.feature_extractor.nb_max_frames])

    def find_alignment(
        self,
        tokenizer: Any,
        text_tokens: list[Any],
        encoder_output: StorageView,
        num_frames: int,
        median_filter_width: int = 7,
    ) -> list[Any]:  # a list for each segment, there and here, which the library's own hints leave out
        """Align within the sound only: in the padded silence attention is arbitrary and words would drift there."""
        frames = min(num_frames, self.valid_frames)
        return super().find_alignment(tokenizer, text_tokens, encoder_output, frames, median_filter_width)


class Transcriber:
    """A CTranslate2 Whisper with word times; holds no state between clips."""

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        missing = [name for name in MINI_FILES if not (folder / name).exists()]
        if missing:
            raise ModelFilesError(
                f"{folder.name} lacks {missing[0]}; restore the folder from the repository."
            )
        self._model = _ShortWindowWhisper(str(folder), device="cpu", compute_type="float32")
        # The library writes 448, the length of Whisper's own text window.
        self._model.max_length = max_tokens
        self._lock = threading.Lock()

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        """Return (text, words with times in seconds) of a clip of any length, window by window."""
        window = self._model.feature_extractor.n_samples
        texts: list[str] = []
        words: list[SpokenWord] = []
        with self._lock:
            for start in range(0, len(clip.samples), window):
                chunk = clip.samples[start : start + window]
                text, found = self._transcribe_window(chunk, window)
                offset_s = start / SAMPLE_RATE_HZ
                texts.append(text)
                words += [replace(w, start_s=w.start_s + offset_s, end_s=w.end_s + offset_s) for w in found]
        return " ".join(text for text in texts if text), tuple(words)

    def _transcribe_window(self, chunk: np.ndarray, window: int) -> tuple[str, list[SpokenWord]]:
        """Transcribe at most one window, padded with silence to a whole one.

        The library would pad the features with zeros, which is not what silence looks like to the model.
        """
        self._model.valid_frames = -(-len(chunk) // HOP_SAMPLES)
        segments, _ = self._model.transcribe(
            np.pad(chunk, (0, window - len(chunk))),
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            suppress_tokens=[],
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
            word_timestamps=True,
        )
        # One window is one segment; the library would go on from the last word's end into the silence.
        found = list(islice(segments, 1))
        limit_s = len(chunk) / SAMPLE_RATE_HZ
        words = [
            SpokenWord(word.word.strip(), float(min(word.start, limit_s)), float(min(word.end, limit_s)))
            for segment in found
            for word in segment.words or ()
            if word.word.strip()
        ]
        return " ".join(segment.text.strip() for segment in found).strip(), words


class Cascade(OnBackbone):
    """A transcriber in front of a text LLM; white-box through the LLM's own modules."""

    def __init__(self, spec: SystemSpec, transcriber: Transcribes, backbone: TextLLM) -> None:
        super().__init__(spec, backbone)
        self.transcriber = transcriber

    def hear(self, clip: AudioClip) -> Heard:
        """Return the transcript of the clip as what the backbone is given."""
        started = time.perf_counter()
        text, words, language = _listen(self.transcriber, clip)
        heard = self.backbone.hear_text(text, words, time.perf_counter() - started)
        return replace(heard, language=language)


class ServedCascade:
    """A transcriber here in front of a text LLM behind a service: behaviour only."""

    def __init__(self, transcriber: Transcribes, reader: BehaviourModel) -> None:
        self.spec: SystemSpec = reader.spec
        self.transcriber = transcriber
        self.reader = reader
        self.fingerprint: str = reader.fingerprint

    def hear(self, clip: AudioClip) -> Heard:
        """Return the transcript of the clip."""
        started = time.perf_counter()
        text, words, language = _listen(self.transcriber, clip)
        return replace(words_alone(text, words, time.perf_counter() - started), language=language)

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        """Return the service's reply to `instruction` about a transcript."""
        return self.reader.ask(given, instruction, tell)


def _listen(
    transcriber: Transcribes, clip: AudioClip
) -> tuple[str, tuple[SpokenWord, ...], SpokenLanguage | None]:
    if isinstance(transcriber, TellsLanguage):
        return transcriber.transcribe_and_tell(clip)
    return *transcriber.transcribe(clip), None


SHORTEST_SAMPLES = 640
PUBLISHED_FILES = ("model.bin", "config.json", "tokenizer.json")
ENGLISH_TOKENS = 51_864  # of every Whisper whose name ends in .en; the others have one more, or two


class _TellingWhisper(faster_whisper.WhisperModel):
    """Tells the language by the encoder's output for the transcript: where the time goes, nothing is run twice.

    Attributes:
        asked: whether the next window's language is wanted.
        told: it, once that window is encoded.
    """

    asked = False
    told: SpokenLanguage | None = None

    def encode(self, features: np.ndarray) -> StorageView:
        encoded = super().encode(features)
        if self.asked:
            # Likeliest first, each as "<|de|>".
            shares = {token[2:-2]: share for token, share in self.model.detect_language(encoded)[0]}
            code = next(iter(shares))
            self.told, self.asked = SpokenLanguage(code, shares[code], shares["en"]), False
        return encoded


class PublishedTranscriber:
    """A CTranslate2 Whisper with word times; holds no state between clips.

    Raises:
        ModelFilesError: a file is missing or damaged, or its vocabulary lacks the language.
    """

    def __init__(self, folder: Path, settings: WhisperSettings = USUAL) -> None:
        missing = [name for name in PUBLISHED_FILES if not (folder / name).exists()]
        if missing:
            raise ModelFilesError(f"{folder.name} lacks {missing[0]}; fetch it again.")
        self._settings = settings
        try:
            self._model = _TellingWhisper(
                str(folder), device=settings.device, compute_type=settings.compute_type
            )
        except Exception as error:  # the tokenizer's library raises no other
            if is_out_of_memory(error):
                raise
            raise ModelFilesError(f"{folder.name} could not be loaded: {type(error).__name__}.") from error
        speaks_english_only = not self._model.model.is_multilingual
        if speaks_english_only and _n_tokens(folder) != ENGLISH_TOKENS:
            # It would be run as English's own, whose prompt names neither language nor task.
            raise ModelFilesError(
                f"{folder.name} could not be loaded: its vocabulary is damaged; fetch it again."
            )
        unknown = self._model.hf_tokenizer.token_to_id(f"<|{settings.language}|>") is None
        if unknown or (speaks_english_only and settings.language != "en"):
            raise ModelFilesError(
                f"{folder.name} does not know the language {settings.language}; take a cascade with Whisper large-v3."
            )
        self._lock = threading.Lock()

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        """Return the transcript of a clip of any length and its words with times in seconds."""
        text, words, _ = self.transcribe_and_tell(clip)
        return text, words

    def transcribe_and_tell(
        self, clip: AudioClip
    ) -> tuple[str, tuple[SpokenWord, ...], SpokenLanguage | None]:
        """Return the same, in the language of the settings, and which language the first window of 30 s is taken for.

        None for a model of one language, and where no window was heard.
        """
        # Below two mel frames the library fails; the silence is what it would fill the window with.
        samples = np.pad(clip.samples, (0, max(0, SHORTEST_SAMPLES - len(clip.samples))))
        with self._lock:
            self._model.told, self._model.asked = None, self._model.model.is_multilingual
            segments, _ = self._model.transcribe(
                samples,
                language=self._settings.language,
                beam_size=self._settings.beam_size,
                temperature=0.0,
                condition_on_previous_text=False,
                vad_filter=self._settings.drop_silence,
                word_timestamps=True,
            )
            found = list(segments)  # the work is done here, while the lock is held
            told = self._model.told
        words = tuple(
            SpokenWord(
                word.word.strip(),
                float(min(word.start, clip.duration_s)),
                float(min(word.end, clip.duration_s)),
            )
            for segment in found
            for word in segment.words or ()
            if word.word.strip()
        )
        return " ".join(segment.text.strip() for segment in found).strip(), words, told


def _n_tokens(folder: Path) -> int:
    """Return how many tokens a folder's vocabulary has; CTranslate2 keeps it as lines or as a list."""
    lines = folder / "vocabulary.txt"
    if lines.exists():
        return lines.read_bytes().count(b"\n")
    return len(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
