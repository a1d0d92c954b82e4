"""Noise at an asked signal-to-noise ratio: babble of our own talkers, white, or a person's own file; and a room.

`engine.run` and the benchmark call `add_noise`. The ratio is of energies over the whole clip, pauses
included and constant offsets left out, and is measured again on what comes out; nothing here guesses where
speech is. A room has no ratio: it adds nothing but the clip's own echo.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engine.audio import NEWS_DB, SAMPLE_RATE_HZ, SILENT_PEAK, AudioClip, load_clip
from engine.errors import ClipError, NoiseError

NOISES = ("babble", "white")
OWN = "own"
MUSAN = "musan"  # babble of the corpus of that name, which does not ship: engine.musan
ROOM = "room"
BABBLES = ("babble", MUSAN)  # many talkers at once, ours or that corpus'
SNR_RANGE_DB = (-10.0, 40.0)
TALKERS_RANGE = (3, 7)

# One reverberant room: echo as loud as the direct sound, gone by 60 dB after half a second (a tiled hall).
ROOM_DECAY_S = 0.5
ROOM_DIRECT_TO_ECHO_DB = 0.0
ROOM_FIRST_ECHO_S = 0.0025
_BABBLE_FOLDER = Path(__file__).parent.parent / "assets" / "babble"

Samples = Float[np.ndarray, " samples"]


@dataclass(frozen=True)
class Noisy:
    """A clip with noise in it.

    Attributes:
        clip: the mixture, with what was lowered among its changes.
        kind: "babble", "white", "own", "musan" or "room".
        snr_db: the ratio asked for; NaN for a room.
        snr_db_achieved: the ratio measured on the finished float32 samples; NaN for a room.
        seed: what the noise was drawn with; the same seed and clip give the same bytes.
        detail: what was drawn, in words: talkers and where each starts, or the piece of the file.
    """

    clip: AudioClip
    kind: str
    snr_db: float
    snr_db_achieved: float
    seed: int
    detail: str


def add_noise(clip: AudioClip, kind: str, snr_db: float, seed: int, own: AudioClip | None = None) -> Noisy:
    """The clip with noise whose energy lies `snr_db` below the clip's, over the whole clip.

    Where the sum would pass full scale, clip and noise are lowered together, which keeps the ratio.

    Args:
        clip: what is spoken.
        kind: "babble" (3 to 7 of eight talkers, equally loud, each from a place of its own), "white"
            (Gaussian), "own", or "room" (the clip's own echo, see `ROOM_DECAY_S`).
        snr_db: -10 to 40 dB; 10 log10(energy of the clip / energy of the noise). Not read for a room.
        seed: 0 or more; draws the talkers, their starts, the samples or the piece of the file.
        own: the noise when `kind` is "own", not read otherwise; repeated when shorter than the clip.

    Raises:
        NoiseError: unknown kind, ratio out of range, bad seed, silent clip or noise, no noise file.
    """
    seed = _checked_seed(seed)
    rng = np.random.default_rng(seed)
    if kind == ROOM:
        return _in_a_room(clip, rng, seed)
    snr_db = _checked_ratio(snr_db)
    if kind == OWN:
        if own is None:
            raise NoiseError("There is no noise file; upload one, or choose babble or white noise.")
        noise, detail = _piece(own.samples, len(clip.samples), rng)
        detail = f"{own.name}, {detail}"
        changes, warnings = ([f"Noise file: {one}" for one in told] for told in (own.changes, own.warnings))
        clip = replace(clip, changes=(*clip.changes, *changes), warnings=(*clip.warnings, *warnings))
    elif kind in _MAKERS:
        noise, detail = _MAKERS[kind](len(clip.samples), rng)
    else:
        raise NoiseError(f"There is no such noise; choose one of {', '.join(NOISES)} or your own file.")
    return _mix(clip, noise, Noisy(clip, kind, snr_db, math.nan, seed, f"{detail}, seed {seed}"))


def _checked_ratio(snr_db: float) -> float:
    low, high = SNR_RANGE_DB
    try:
        ratio = float(snr_db)
    except (TypeError, ValueError):
        ratio = math.nan
    if not low <= ratio <= high:
        raise NoiseError(f"The signal-to-noise ratio must be a number from {low:g} to {high:g} dB.")
    return ratio


def _checked_seed(seed: int) -> int:
    try:
        checked = operator.index(seed)
    except TypeError:
        checked = -1
    if not 0 <= checked < 2**63:
        raise NoiseError("The seed must be a whole number, 0 or more.")
    return checked


def _mix(clip: AudioClip, noise: Samples, asked: Noisy) -> Noisy:
    """`asked` with the mixture and the ratio measured on it."""
    speech = clip.samples.astype(np.float64)
    # A constant offset is heard by nobody: the clip keeps its own, and it counts in no energy.
    noise = noise - noise.mean()
    speech_energy, noise_energy = _energy(speech), _energy(noise)
    if np.ptp(speech) == 0:
        raise NoiseError("The clip is silent, so it has no signal-to-noise ratio; choose another clip.")
    if np.max(np.abs(noise)) < SILENT_PEAK:
        raise NoiseError("The noise is silent where it was taken; change the seed or choose another file.")
    mixture = speech + noise * np.sqrt(speech_energy / noise_energy / 10 ** (asked.snr_db / 10))
    gain = 1.0 / max(float(np.max(np.abs(mixture))), 1.0)
    samples = (mixture * gain).astype(np.float32)
    achieved_db = 10 * np.log10(gain**2 * speech_energy / _energy(samples - gain * speech))
    changes = (
        *clip.changes,
        *_lowered("Clip and noise were lowered by {} together to fit full scale.", gain),
    )
    return replace(
        asked, clip=replace(clip, samples=samples, changes=changes), snr_db_achieved=float(achieved_db)
    )


def _energy(samples: Samples) -> float:
    """Sum of squares about the mean."""
    return float(np.var(samples)) * len(samples)


def _lowered(sentence: str, gain: float) -> tuple[str, ...]:
    """The sentence with the decibels of a gain below 1, where they are any."""
    lowered_db = -20 * math.log10(gain)
    return (sentence.format(f"{lowered_db:.1f} dB"),) if lowered_db >= NEWS_DB else ()


def _in_a_room(clip: AudioClip, rng: np.random.Generator, seed: int) -> Noisy:
    """The clip with exponentially decaying Gaussian echo (Polack's model of a diffuse room), as long as it was."""
    time_s = np.arange(round(ROOM_DECAY_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echo = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / ROOM_DECAY_S)
    echo[time_s < ROOM_FIRST_ECHO_S] = 0.0
    echo *= np.sqrt(10 ** (-ROOM_DIRECT_TO_ECHO_DB / 10) / np.sum(echo**2))
    echo[0] = 1.0
    speech = clip.samples.astype(np.float64)
    n_total = len(speech) + len(echo) - 1
    spectrum = np.fft.rfft(speech, n_total) * np.fft.rfft(echo, n_total)
    wet = np.fft.irfft(spectrum, n_total)[: len(speech)]
    gain = 1.0 / max(float(np.max(np.abs(wet))), 1.0)
    changes = (*clip.changes, *_lowered("The clip was lowered by {} to fit full scale.", gain))
    samples = (wet * gain).astype(np.float32)
    detail = f"a room with {ROOM_DECAY_S:g} s of reverberation, seed {seed}"
    return Noisy(replace(clip, samples=samples, changes=changes), ROOM, math.nan, math.nan, seed, detail)


def _white(n_samples: int, rng: np.random.Generator) -> tuple[Samples, str]:
    return rng.standard_normal(n_samples), "white noise"


def _babble(n_samples: int, rng: np.random.Generator) -> tuple[Samples, str]:
    """Three to seven talkers of equal energy within the clip."""
    talkers = _talkers()
    low, high = TALKERS_RANGE
    chosen = rng.permutation(len(talkers))[: rng.integers(low, high, endpoint=True)]
    total = np.zeros(n_samples)
    parts = []
    for index in chosen:
        talker = talkers[index]
        piece, where = _piece(talker.samples, n_samples, rng)
        # A very short piece may fall into a pause; silence then stays silence.
        total += piece / max(float(np.std(piece)), SILENT_PEAK)
        parts.append(f"{talker.name} {where}")
    return total, f"babble of {len(parts)} talkers: {', '.join(parts)}"


_MAKERS: dict[str, Callable[[int, np.random.Generator], tuple[Samples, str]]] = {
    "babble": _babble,
    "white": _white,
}


def _piece(
    source: Float[np.ndarray, " source"], n_samples: int, rng: np.random.Generator
) -> tuple[Samples, str]:
    """`n_samples` of the source from a random start, repeated from its beginning when it is too short."""
    spare = len(source) - n_samples
    start = int(rng.integers(0, spare if spare >= 0 else len(source) - 1, endpoint=True))
    piece = np.take(source.astype(np.float64), np.arange(start, start + n_samples), mode="wrap")
    repeated = ", repeated" if spare < 0 else ""
    return piece, f"from {start / SAMPLE_RATE_HZ:.2f} s{repeated}"


@cache
def _talkers() -> tuple[AudioClip, ...]:
    """The talkers that ship with the product, in the order of their file names."""
    files = sorted(_BABBLE_FOLDER.glob("*.flac"))
    try:
        talkers = tuple(load_clip(file, file.stem) for file in files)
    except ClipError as error:
        raise NoiseError("The babble recordings are damaged; install again or choose white noise.") from error
    if len(talkers) < TALKERS_RANGE[1]:
        raise NoiseError("The babble recordings are missing; install again or choose white noise.")
    return talkers
