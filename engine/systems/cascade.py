"""A cascade: faster-whisper writes the transcript, a text LLM answers from it and from nothing else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import faster_whisper
import numpy as np
from ctranslate2 import StorageView

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.result import SpokenWord
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.systems.text_llm import TextLLM

NEEDED_FILES = ("model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json")


class _ShortWindowWhisper(faster_whisper.WhisperModel):
    """faster-whisper 1.2.1 pads every window to 30 s of features; a model with a shorter window refuses them."""

    def encode(self, features: np.ndarray) -> StorageView:
        return super().encode(features[..., : self.feature_extractor.nb_max_frames])


class Transcriber:
    """A CTranslate2 Whisper with word times; holds no state between clips."""

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        missing = [name for name in NEEDED_FILES if not (folder / name).exists()]
        if missing:
            raise ModelFilesError(f"{folder.name} lacks {missing[0]}; restore the folder from the repository.")
        self._model = _ShortWindowWhisper(str(folder), device="cpu", compute_type="float32")
        # The library writes 448, the length of Whisper's own text window.
        self._model.max_length = max_tokens
        self._lock = threading.Lock()

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        """Return (text, words with times in seconds) of a clip of any length.

        The clip is padded with silence to whole windows: the library would pad the features with zeros, which
        is not what silence looks like to the model.
        """
        window = self._model.feature_extractor.n_samples
        samples = np.pad(clip.samples, (0, -len(clip.samples) % window))
        with self._lock:
            segments, _ = self._model.transcribe(
                samples,
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
            found = list(segments)
        duration_s = len(clip.samples) / SAMPLE_RATE_HZ
        words = tuple(
            SpokenWord(word.word.strip(), float(min(word.start, duration_s)), float(min(word.end, duration_s)))
            for segment in found
            for word in segment.words or ()
            if word.word.strip()
        )
        return " ".join(segment.text.strip() for segment in found).strip(), words


class Cascade:
    """A transcriber in front of a text LLM; white-box through the LLM's own modules."""

    def __init__(self, spec: SystemSpec, transcriber: Transcriber, backbone: TextLLM) -> None:
        self.spec = spec
        self.transcriber = transcriber
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer
        self.language_model = backbone.language_model
        self.decoder_layers = backbone.decoder_layers
        self.final_norm = backbone.final_norm
        self.unembedding = backbone.unembedding
        self.fingerprint = backbone.fingerprint

    def hear(self, clip: AudioClip) -> Heard:
        """Return the transcript of the clip as what the backbone is given."""
        started = time.perf_counter()
        text, words = self.transcriber.transcribe(clip)
        return self.backbone.hear_text(text, words, time.perf_counter() - started)

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt with the transcript in the clip's place."""
        return self.backbone.prepare(heard, instruction)
