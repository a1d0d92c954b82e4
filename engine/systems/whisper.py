"""A published Whisper, run by faster-whisper as its makers do: the ears of the paper's cascades.

Unlike the minis' (engine.systems.cascade.Transcriber) it has the window, the languages and the suppressed tokens that
the library expects. One pass at temperature 0: a second try at another temperature would draw at random.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import faster_whisper

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.result import SpokenWord

NEEDED_FILES = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True)
class WhisperSettings:
    """How a clip is transcribed.

    Attributes:
        language: of the speech, as Whisper's code; every task here is in English, and a guessed language is a
            source of errors that is no system's own.
        beam_size: hypotheses kept; 5 is the library's own, and 1 is greedy.
        drop_silence: cut stretches without speech first (voice activity detection); words keep their times.
        device, compute_type: as CTranslate2 names them.
    """

    language: str = "en"
    beam_size: int = 5
    drop_silence: bool = False
    device: str = "auto"
    compute_type: str = "auto"


class PublishedTranscriber:
    """A CTranslate2 Whisper with word times; holds no state between clips.

    Raises:
        ModelFilesError: a file is missing or damaged.
    """

    def __init__(self, folder: Path, settings: WhisperSettings = WhisperSettings()) -> None:
        missing = [name for name in NEEDED_FILES if not (folder / name).exists()]
        if missing:
            raise ModelFilesError(f"{folder.name} lacks {missing[0]}; fetch it again.")
        self._settings = settings
        try:
            self._model = faster_whisper.WhisperModel(
                str(folder), device=settings.device, compute_type=settings.compute_type
            )
        except (RuntimeError, ValueError) as error:
            raise ModelFilesError(f"{folder.name} could not be loaded: {type(error).__name__}.") from error
        self._lock = threading.Lock()

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        """Return the transcript of a clip of any length and its words with times in seconds."""
        with self._lock:
            segments, _ = self._model.transcribe(
                clip.samples,
                language=self._settings.language,
                beam_size=self._settings.beam_size,
                temperature=0.0,
                condition_on_previous_text=False,
                vad_filter=self._settings.drop_silence,
                word_timestamps=True,
            )
            found = list(segments)  # the work is done here, while the lock is held
        words = tuple(
            SpokenWord(word.word.strip(), float(word.start), float(min(word.end, clip.duration_s)))
            for segment in found
            for word in segment.words or ()
            if word.word.strip()
        )
        return " ".join(segment.text.strip() for segment in found).strip(), words
