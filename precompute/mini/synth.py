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
from engine.result import SpokenWord
from engine.voice import speak
from precompute.mini.sentence import Sentence
from precompute.mini.voices import FLITE_VOICES, Prosody, Voice, draw_prosody

logger = logging.getLogger(__name__)

# flite's mean pitch in Hz by sex at espeak-ng pitch 50; one pitch unit moves it by 1.2 %.
_FLITE_PITCH_HZ = {"man": 112.0, "woman": 178.0}


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
    program = "flite" if voice.engine == "flite" else "text2wave"
    if shutil.which(program) is None:
        raise VoiceError(
            f"{voice.engine} is not installed; install Debian's package {voice.engine} to train."
        )
    if not re.fullmatch(r"[a-z' ]+", text):
        raise VoiceError(f'"{text[:40]}" has characters other than letters, apostrophes and spaces.')
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        command = (
            _flite(text, voice, prosody, target) if program == "flite" else _festival(voice, prosody, target)
        )
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        if done.returncode != 0 or not target.exists():
            raise VoiceError(f"{voice.engine} could not say the sentence: {done.stderr.strip()[:200]}")
        samples, rate_hz = soundfile.read(target, dtype="float32")
    return Rendering(samples * prosody.volume / 100, rate_hz, ())


def _flite(text: str, voice: Voice, prosody: Prosody, target: Path) -> list[str]:
    pitch_hz = _FLITE_PITCH_HZ[voice.sex] * 1.012 ** (prosody.pitch - 50)
    settings = {
        "duration_stretch": 165 / prosody.rate_wpm,
        "int_f0_target_mean": pitch_hz,
        "int_f0_target_stddev": 0.25 * prosody.pitch_range * pitch_hz / 100,
    }
    options = [part for name, value in settings.items() for part in ("--setf", f"{name}={value:.3f}")]
    return ["flite", "-voice", voice.name, *options, "-t", text, "-o", str(target)]


def _festival(voice: Voice, prosody: Prosody, target: Path) -> list[str]:
    stretch = f"(Parameter.set 'Duration_Stretch {165 / prosody.rate_wpm:.3f})"
    return ["text2wave", "-eval", f"(voice_{voice.name})", "-eval", stretch, "-o", str(target), "-"]


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
