"""A published Whisper, run by faster-whisper as its makers do: the ears of the paper's cascades.

Unlike the minis' (engine.systems.cascade.Transcriber) it has the window, the languages and the suppressed tokens that
the library expects. One pass at temperature 0: a second try at another temperature would draw at random.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import faster_whisper
import numpy as np
from ctranslate2 import StorageView

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.hearing_verdict import SpokenLanguage
from engine.result import SpokenWord
from engine.systems.residency import is_out_of_memory
from engine.systems.whisper_settings import USUAL, WhisperSettings

SHORTEST_SAMPLES = 640
NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")
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
        missing = [name for name in NEEDED_FILES if not (folder / name).exists()]
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
