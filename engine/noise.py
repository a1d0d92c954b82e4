"""Noise at an asked signal-to-noise ratio: babble of our talkers or MUSAN's, white, or a person's own file; and a room.

The ratio is of energies over the whole clip, pauses included and constant offsets left out, and is measured again on
what comes out; nothing here guesses where speech is. A room has no ratio: it adds nothing but the clip's own echo.

MUSAN's babble is drawn from its speech tracks, as the paper's noise is named; a recipe with it names the seed and the
tracks that it was drawn from. It wants the unpacked archive of OpenSLR's SLR17 (about 11 GB): the folder that holds
`speech/librivox` and `speech/us-gov`, WAV files at 16 kHz. Licence: CC BY 4.0. The paper says "multi-talker babble"
and no more; three to seven tracks is Kaldi's recipe. A track may hold several talkers. Ultravox v0.6 lists MUSAN
noise in its training configuration, so this noise may be no stranger to it.
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from jaxtyping import Float

from engine.audio import NEWS_DB, SAMPLE_RATE_HZ, SILENT_PEAK, AudioClip, load_clip
from engine.errors import ClipError, NoiseError

NOISES = ("babble", "white")
OWN = "own"
MUSAN = "musan"  # babble of the corpus of that name, which does not ship: engine.noise
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
Source = TypeVar("Source")


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
    talkers = [(talker.name, talker.samples) for talker in _talkers()]
    total, parts = _summed(talkers, n_samples, rng, _piece)
    return total, f"babble of {len(parts)} talkers: {', '.join(parts)}"


def _summed(
    sources: Sequence[tuple[str, Source]],
    n_samples: int,
    rng: np.random.Generator,
    piece_of: Callable[[Source, int, np.random.Generator], tuple[Samples, str]],
) -> tuple[Samples, list[str]]:
    """Return pieces of some of these sources, summed at equal energy, and the name and the place of each."""
    low, high = TALKERS_RANGE
    chosen = rng.permutation(len(sources))[: rng.integers(low, high, endpoint=True)]
    total, parts = np.zeros(n_samples), []
    for index in chosen:
        name, source = sources[index]
        piece, where = piece_of(source, n_samples, rng)
        # A very short piece may fall into a pause; silence then stays silence.
        total += piece / max(float(np.std(piece)), SILENT_PEAK)
        parts.append(f"{name} {where}")
    return total, parts


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


SPEECH_FOLDERS = ("speech/librivox", "speech/us-gov")
FOLDER_VARIABLE = "MUSAN_FOLDER"
HEARD_IN_TRAINING = ("ultravox-v0.6-8b",)
ULTRAVOX_NOTE = "Ultravox v0.6 was trained with MUSAN's noise, so this noise is no stranger to it."
WANTS = (
    "MUSAN: unpack musan.tar.gz of OpenSLR's SLR17 and put its folder speech into it. Licence: CC BY 4.0. "
    "Size: about 11 GB packed."
)
_REMEDY = "unpack musan.tar.gz of OpenSLR's SLR17 and give the folder that holds music, noise and speech"
MISSING = (
    "This clip's noise cannot be made here: it is MUSAN's, which does not ship; unpack it and name its folder in "
    f"{FOLDER_VARIABLE}."
)


@dataclass(frozen=True)
class Musan:
    """The speech tracks of MUSAN, by their files.

    Attributes:
        tracks: in a fixed order: sorted by name, LibriVox first.
        digest: over the tracks' names and sizes: a draw from other tracks is another noise.
    """

    folder: Path
    tracks: tuple[Path, ...]
    digest: str


def open_musan(folder: Path) -> Musan:
    """Return the speech part of an unpacked MUSAN.

    Raises:
        NoiseError: one of its two folders has no tracks, or both have fewer than the most talkers of a babble.
    """
    tracks: list[Path] = []
    for part in SPEECH_FOLDERS:
        found = sorted((folder / part).glob("[!.]*.wav"))  # a Mac leaves "._" files beside
        if not found:
            raise NoiseError(f"MUSAN: there are no WAV files in {part}; {_REMEDY}.")
        tracks += found
    if len(tracks) < TALKERS_RANGE[1]:
        raise NoiseError(f"MUSAN: only {len(tracks)} speech tracks are here; {_REMEDY}, all of it.")
    named = "|".join(f"{track.name} {track.stat().st_size}" for track in tracks)
    return Musan(folder, tuple(tracks), hashlib.sha256(named.encode()).hexdigest()[:16])


def musan_folder() -> Path | None:
    """Return the folder that the environment names (`FOLDER_VARIABLE`), None where it names none that is there."""
    named = os.environ.get(FOLDER_VARIABLE, "").strip()
    return Path(named) if named and Path(named).is_dir() else None


def add_drawn_babble(clip: AudioClip, folder: Path | None, digest: str, snr_db: float, seed: int) -> Noisy:
    """Return the clip with the babble that was drawn from the tracks of this digest.

    Args:
        clip: what is spoken.
        folder: of MUSAN; None for the one that the environment names.
        digest: of the tracks, "" for whichever are there.
        snr_db: as `add_babble`.
        seed: as `add_babble`.

    Raises:
        NoiseError: MUSAN is not here, or it is another part of it; else as `add_babble`.
    """
    place = folder or musan_folder()
    if place is None:
        raise NoiseError(MISSING)
    musan = _opened(place)
    if digest not in ("", musan.digest):
        raise NoiseError(f"MUSAN: the tracks here are not those of the run; {_REMEDY}, all of it.")
    return add_babble(clip, musan, snr_db, seed)


_opened = cache(open_musan)


def add_babble(clip: AudioClip, musan: Musan, snr_db: float, seed: int) -> Noisy:
    """Return the clip with MUSAN's babble at a ratio of energies over the whole clip, as `engine.noise` mixes.

    Args:
        clip: what is spoken.
        musan: its tracks.
        snr_db: -10 to 40 dB.
        seed: 0 or more; draws the tracks and where each starts, whatever the ratio.

    Raises:
        NoiseError: a track cannot be read or is not at 16 kHz.
        NoiseError: as `engine.noise.add_noise`.
    """
    noisy = add_noise(clip, OWN, snr_db, seed, own=draw_babble(musan, len(clip.samples), seed))
    return replace(noisy, kind=MUSAN)


def draw_babble(musan: Musan, n_samples: int, seed: int) -> AudioClip:
    """Return babble of three to seven tracks of equal energy; its name lists them and where each starts."""
    tracks = [(track.stem, track) for track in musan.tracks]
    total, parts = _summed(tracks, n_samples, np.random.default_rng(seed), _track_piece)
    total /= max(float(np.max(np.abs(total))), 1.0)
    return AudioClip(total.astype(np.float32), f"MUSAN babble of {len(parts)}: {', '.join(parts)}")


def _track_piece(track: Path, n_samples: int, rng: np.random.Generator) -> tuple[Samples, str]:
    """Return a piece of a track from a random start, repeated when the track is shorter, and where it starts.

    Only the piece is read: tracks last many minutes.
    """
    try:
        with soundfile.SoundFile(track) as file:
            if file.samplerate != SAMPLE_RATE_HZ or file.channels != 1 or not file.frames:
                raise NoiseError(f"MUSAN: {track.stem} is not 16 kHz mono as published; {_REMEDY} anew.")
            start = int(rng.integers(0, max(file.frames - n_samples, 0), endpoint=True))
            file.seek(start)
            found = file.read(n_samples, dtype="float64")
    except (soundfile.LibsndfileError, OSError) as error:
        raise NoiseError(f"MUSAN: {track.stem} cannot be read; {_REMEDY} anew.") from error
    return np.resize(found, n_samples), f"from {start / SAMPLE_RATE_HZ:.2f} s"
