"""The voices of the mini world and how feeling shapes them.

A voice is an engine, a name and a sex; a rendering adds rate, pitch, range and volume. Voices of the test
split never occur in training: held-out espeak-ng variants, and Festival as a whole engine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Engine = Literal["espeak", "flite", "festival"]
Sex = Literal["man", "woman"]

ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)

# Formant variants that espeak-ng ships; only those whose sex a listener hears at once are used.
_TRAIN_WOMEN = ("f1", "f2", "f4", "f5", "Annie", "linda", "aunty", "anika", "Alicia")
_TRAIN_MEN = ("m1", "m2", "m3", "m5", "m6", "m8", "Andy", "Gene", "Lee", "Marco", "Michael", "Tweaky")
_TRAIN_VARIANTS: tuple[tuple[Sex, tuple[str, ...]], ...] = (("woman", _TRAIN_WOMEN), ("man", _TRAIN_MEN))
_TEST_WOMEN = ("f3", "belinda", "Andrea")
_TEST_MEN = ("m4", "m7", "Mike", "Denis")

FLITE_VOICES: tuple[tuple[str, Sex], ...] = (
    ("kal", "man"),
    ("kal16", "man"),
    ("awb", "man"),
    ("rms", "man"),
    ("slt", "woman"),
)
FESTIVAL_VOICES: tuple[tuple[str, Sex], ...] = (("kal_diphone", "man"), ("cmu_us_slt_arctic_hts", "woman"))

RATE_RANGE_WPM = (135, 195)
PITCH_RANGE = (38, 62)
RANGE_RANGE = (35, 65)


@dataclass(frozen=True)
class Voice:
    """One talker: engine, the engine's own name for it, and the sex that a listener hears."""

    engine: Engine
    name: str
    sex: Sex


@dataclass(frozen=True)
class Prosody:
    """How a sentence is said: espeak-ng's units (words a minute; 0 to 99; 0 to 99; 0 to 200)."""

    rate_wpm: int
    pitch: int
    pitch_range: int
    volume: int


# feeling: (rate factor, pitch shift, range, volume factor); sizes after common findings on emotional speech
# (anger and joy louder and wider, sadness slow, low and flat, fear fast and high).
_FEELINGS: dict[str, tuple[float, int, int | None, float]] = {
    "neutral": (1.0, 0, None, 1.0),
    "joy": (1.12, 14, 80, 1.15),
    "sadness": (0.78, -12, 15, 0.7),
    "anger": (1.18, -4, 70, 1.7),
    "fear": (1.3, 24, 22, 0.85),
    "disgust": (0.86, -18, 60, 1.1),
    "surprise": (0.98, 20, 99, 1.3),
    "sarcastic": (0.76, -6, 95, 1.0),
    "sincere": (1.0, 2, 45, 1.0),
}


def train_voices() -> tuple[Voice, ...]:
    """Return the training talkers: every training variant in every accent, and flite's five."""
    espeak = [
        Voice("espeak", f"{accent}+{variant}", sex)
        for sex, variants in _TRAIN_VARIANTS
        for variant in variants
        for accent in ACCENTS
    ]
    return (*espeak, *(Voice("flite", name, sex) for name, sex in FLITE_VOICES))


def test_voices() -> tuple[Voice, ...]:
    """Return the held-out espeak-ng talkers, one accent for each held-out variant."""
    pairs: list[tuple[Sex, str]] = [("woman", v) for v in _TEST_WOMEN]
    pairs += [("man", v) for v in _TEST_MEN]
    accents = ("en-us", "en-gb", "en-us", "en-us", "en-gb-x-rp", "en-gb", "en-us-nyc")
    return tuple(Voice("espeak", f"{a}+{v}", sex) for (sex, v), a in zip(pairs, accents, strict=True))


def unseen_engine_voices() -> tuple[Voice, ...]:
    """Return Festival's two talkers: an engine that is never trained on."""
    return tuple(Voice("festival", name, sex) for name, sex in FESTIVAL_VOICES)


def draw_prosody(rng: random.Random, feeling: str = "") -> Prosody:
    """Draw a way of speaking; a feeling (emotion or sarcasm label) shifts it, "" leaves it plain."""
    rate = rng.uniform(*RATE_RANGE_WPM)
    pitch = rng.uniform(*PITCH_RANGE)
    wide = rng.uniform(*RANGE_RANGE)
    factor, shift, feeling_range, loudness = _FEELINGS.get(feeling, _FEELINGS["neutral"])
    if feeling_range is not None:
        wide = min(99.0, max(5.0, feeling_range + rng.uniform(-6, 6)))
    return Prosody(
        rate_wpm=round(rate * factor),
        pitch=round(min(99.0, max(0.0, pitch + shift))),
        pitch_range=round(wide),
        volume=round(min(200.0, 100 * loudness * rng.uniform(0.9, 1.1))),
    )
