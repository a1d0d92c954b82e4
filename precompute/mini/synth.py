"""Saying sentences with any of the mini world's engines; a pool of flite clips made once.

Training draws espeak-ng on the fly (3 ms a clip) and flite from the pool (45 ms a clip would be too slow);
evaluation renders Festival, the engine that is never trained on. flite and Festival are Debian packages.
"""

from __future__ import annotations

import logging
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from engine.errors import VoiceError
from engine.voice import speak
from engine.words import SpokenWord
from precompute.mini.sentence import Sentence
from precompute.mini.voices import FLITE_VOICES, Prosody, Voice, draw_prosody

logger = logging.getLogger(__name__)

# flite's mean pitch in Hz by sex at espeak-ng pitch 50; one pitch unit moves it by 1.2 %.
_FLITE_PITCH_HZ = {"man": 112.0, "woman": 178.0}
_TARGET = "said.wav"


@dataclass(frozen=True)
class Rendering:
    """One sentence said by one voice, at the engine's own rate; `words` is empty but for espeak-ng."""

    samples: Float[np.ndarray, "samples"]  # noqa: F821 - jaxtyping axis name
    rate_hz: int
    words: tuple[SpokenWord, ...]


def render(text: str, voice: Voice, prosody: Prosody) -> Rendering:
    """Say the text.

    Raises:
        VoiceError: the voice's program is not installed, or it failed.
    """
    if voice.engine == "espeak":
        samples, rate_hz, words = speak(
            text,
            voice=voice.name,
            rate_wpm=prosody.rate_wpm,
            pitch=prosody.pitch,
            pitch_range=prosody.pitch_range,
            volume=prosody.volume,
        )
        return Rendering(samples, rate_hz, words)
    stretch = 165 / prosody.rate_wpm
    if voice.engine == "flite":
        pitch_hz = _FLITE_PITCH_HZ[voice.sex] * 1.012 ** (prosody.pitch - 50)
        spread_hz = 0.25 * prosody.pitch_range * pitch_hz / 100
        samples, rate_hz = say_with_flite(text, voice.name, stretch, pitch_hz, spread_hz)
    else:
        duration = f"(Parameter.set 'Duration_Stretch {stretch:.3f})"
        command = ["text2wave", "-eval", f"(voice_{voice.name})", "-eval", duration, "-o", _TARGET, "-"]
        samples, rate_hz = _said_by("festival", command, text)
    return Rendering(samples * prosody.volume / 100, rate_hz, ())


def say_with_flite(
    text: str, voice: str, stretch: float, pitch_hz: float, spread_hz: float
) -> tuple[Float[np.ndarray, "samples"], int]:  # noqa: F821 - jaxtyping axis name
    """Return (float32 samples, their rate in Hz) of a text said by Debian's flite.

    Args:
        text: lower-case letters, apostrophes and spaces.
        voice: name of one of flite's.
        stretch: of all durations, 1 for the voice's own.
        pitch_hz: mean of the pitch.
        spread_hz: its standard deviation.

    Raises:
        VoiceError: flite is not installed, the text has other characters, or flite failed.
    """
    settings = {
        "duration_stretch": stretch,
        "int_f0_target_mean": pitch_hz,
        "int_f0_target_stddev": spread_hz,
    }
    options = [part for name, value in settings.items() for part in ("--setf", f"{name}={value:.3f}")]
    return _said_by("flite", ["flite", "-voice", voice, *options, "-t", text, "-o", _TARGET], text)


def _said_by(package: str, command: list[str], text: str) -> tuple[np.ndarray, int]:
    """Run a synthesiser of a Debian package in a folder of its own and return what it wrote there."""
    if shutil.which(command[0]) is None:
        raise VoiceError(f"{package} is not installed; install Debian's package {package} to train.")
    if not re.fullmatch(r"[a-z' ]+", text):
        raise VoiceError(f'"{text[:40]}" has characters other than letters, apostrophes and spaces.')
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / _TARGET
        done = subprocess.run(command, cwd=folder, input=text, text=True, capture_output=True, check=False)
        if done.returncode != 0 or not target.exists():
            raise VoiceError(f"{package} could not say the sentence: {done.stderr.strip()[:200]}")
        samples, rate_hz = soundfile.read(target, dtype="float32")
    return samples, rate_hz


@dataclass(frozen=True)
class PooledClip:
    """One clip of the flite pool: int16 samples at `rate_hz`, with what was said and by whom."""

    sentence: Sentence
    voice: Voice
    samples: np.ndarray
    rate_hz: int


class FlitePool:
    """A fixed, seeded set of flite clips of training sentences, made once and kept on disk."""

    def __init__(self, folder: Path, sentences: Sequence[Sentence], size: int, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._clips = [_pooled(folder, index, sentences, seed) for index in range(size)]
        by_length: dict[int, list[PooledClip]] = {}
        for clip in self._clips:
            by_length.setdefault(length_class(clip.sentence.text), []).append(clip)
        self._by_length = by_length

    def draw(self, length: int, rng: random.Random) -> PooledClip:
        """Draw a clip of this length class, or any clip where the class is empty."""
        return rng.choice(self._by_length.get(length, self._clips))


def length_class(text: str) -> int:
    """Return a coarse length, so that a batch holds clips of about one duration."""
    return len(text) // 7


def _pooled(folder: Path, index: int, sentences: Sequence[Sentence], seed: int) -> PooledClip:
    rng = random.Random(f"flite|{seed}|{index}")
    sentence = rng.choice(sentences)
    name, sex = FLITE_VOICES[index % len(FLITE_VOICES)]
    voice = Voice("flite", name, sex)
    prosody = draw_prosody(rng, sentence.label if sentence.task in ("emotion", "sarcasm") else "")
    file = folder / f"{index:05d}.wav"
    if not file.exists():
        rendering = render(sentence.text, voice, prosody)
        part = file.with_suffix(".part")
        soundfile.write(part, rendering.samples, rendering.rate_hz, format="WAV", subtype="PCM_16")
        part.replace(file)
    samples, rate_hz = soundfile.read(file, dtype="int16")
    return PooledClip(sentence, voice, samples, rate_hz)
