"""MUSAN's babble: three to seven of its speech tracks summed, as the paper's noise is named.

A recipe with this noise names the seed and the tracks that it was drawn from; `engine.recipe.spoil` adds it.

Wants the unpacked archive of OpenSLR's SLR17 (about 11 GB): the folder that holds `speech/librivox` and
`speech/us-gov`, WAV files at 16 kHz. Licence: CC BY 4.0. The paper says "multi-talker babble" and no more;
three to seven tracks is Kaldi's recipe. A track may hold several talkers.

Ultravox v0.6 lists MUSAN noise in its training configuration, so this noise may be no stranger to it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from engine.audio import SAMPLE_RATE_HZ, SILENT_PEAK, AudioClip
from engine.errors import NoiseError
from engine.noise import MUSAN, OWN, TALKERS_RANGE, Noisy, add_noise

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
    rng = np.random.default_rng(seed)
    low, high = TALKERS_RANGE
    chosen = rng.permutation(len(musan.tracks))[: rng.integers(low, high, endpoint=True)]
    total = np.zeros(n_samples)
    parts = []
    for index in chosen:
        track = musan.tracks[index]
        piece, start = _piece(track, n_samples, rng)
        # A short piece may fall into a pause; silence then stays silence.
        total += piece / max(float(np.std(piece)), SILENT_PEAK)
        parts.append(f"{track.stem} from {start / SAMPLE_RATE_HZ:.2f} s")
    total /= max(float(np.max(np.abs(total))), 1.0)
    return AudioClip(total.astype(np.float32), f"MUSAN babble of {len(parts)}: {', '.join(parts)}")


def _piece(
    track: Path, n_samples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " samples"], int]:
    """Return a piece of a track from a random start, repeated when the track is shorter, and its start.

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
    return np.resize(found, n_samples), start
