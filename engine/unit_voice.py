"""Units made audible: recorded pieces of one synthetic voice, joined where their units agree.

A model that goes on in speech writes units alone. This voice looks for the longest runs of them among sentences that
espeak-ng said, has those sentences said again, and joins the pieces with short cross-fades. No new model: what is
heard is never clearer than the units are, and the pieces keep the lengths that they were recorded with.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from engine.audio import SAMPLE_RATE_HZ, AudioClip, clip_from_samples
from engine.errors import ModelFilesError, VoiceError
from engine.systems.unit_lm import FRAME_S, Units, merge_repeats
from engine.voice import speak

VOICE_FILE = "voice.json"
CROSS_FADE_S = 0.01
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Recording:
    """One sentence that the voice says, and its units."""

    text: str
    units: Units


@dataclass(frozen=True)
class Piece:
    """A run of units of a recording: which, its first unit and the one after its last."""

    recording: int
    first: int
    stop: int


@dataclass(frozen=True)
class UnitVoice:
    """One voice's recordings.

    Attributes:
        voice: espeak-ng's name of it.
        rate_wpm: at which it speaks.
    """

    voice: str
    rate_wpm: int
    recordings: tuple[Recording, ...]

    @cached_property
    def _places(self) -> dict[int, list[tuple[int, int]]]:
        """Unit -> where it occurs: recording and index."""
        places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, recording in enumerate(self.recordings):
            for index, unit in enumerate(recording.units.ids.tolist()):
                places[unit].append((number, index))
        return dict(places)

    def pieces(self, ids: Sequence[int]) -> tuple[Piece, ...]:
        """Return recorded runs that say these units in order: always the longest that goes on from here.

        Of equally long ones the first is taken whose unit before it is the one said last. Units that were never
        recorded are left out.
        """
        found: list[Piece] = []
        at = 0
        while at < len(ids):
            best = max(
                (self._run(ids, at, place) for place in self._places.get(int(ids[at]), [])),
                key=lambda run: run[0],
                default=None,
            )
            if best is None:
                at += 1
                continue
            (length, _), (number, index) = best
            found.append(Piece(number, index, index + length))
            at += length
        return tuple(found)

    def _run(
        self, ids: Sequence[int], at: int, place: tuple[int, int]
    ) -> tuple[tuple[int, bool], tuple[int, int]]:
        """Return how long a recording agrees from here on, and whether it does just before."""
        number, index = place
        recorded = self.recordings[number].units.ids
        length = 1
        while (
            at + length < len(ids)
            and index + length < len(recorded)
            and ids[at + length] == recorded[index + length]
        ):
            length += 1
        agrees = at > 0 and index > 0 and int(ids[at - 1]) == int(recorded[index - 1])
        return (length, agrees), place

    def say(self, ids: Sequence[int]) -> AudioClip:
        """Return these units as sound.

        Args:
            ids: units, 0 to k - 1, repeats merged.

        Raises:
            VoiceError: no synthesiser is installed, or none of the units was ever recorded.
        """
        pieces = self.pieces(ids)
        if not pieces:
            raise VoiceError("None of these units was recorded: there is nothing to hear.")
        said = {number: self._said(number) for number in {piece.recording for piece in pieces}}
        fade = round(CROSS_FADE_S * SAMPLE_RATE_HZ)
        joined = np.zeros(fade, np.float32)
        for piece in pieces:
            joined = cross_fade(joined, self._cut(said[piece.recording], piece, fade), fade)
        return clip_from_samples(joined, SAMPLE_RATE_HZ, "Spoken units")

    def _said(self, number: int) -> Float[np.ndarray, "samples"]:  # noqa: F821 - jaxtyping axis name
        samples, rate_hz, _ = speak(self.recordings[number].text, voice=self.voice, rate_wpm=self.rate_wpm)
        return clip_from_samples(samples, rate_hz, "recording").samples

    def _cut(
        self,
        samples: Float[np.ndarray, "samples"],  # noqa: F821
        piece: Piece,
        fade: int,
    ) -> Float[np.ndarray, "cut"]:  # noqa: F821
        """Return a piece's sound with a fade's length before it, silence where there is none."""
        ends = np.cumsum(self.recordings[piece.recording].units.durations) * _FRAME_SAMPLES
        start = int(ends[piece.first - 1]) if piece.first else 0
        padded = np.pad(samples, (fade, max(0, int(ends[-1]) - len(samples))))
        return padded[start : fade + int(ends[piece.stop - 1])]


def cross_fade(
    before: Float[np.ndarray, "a"],  # noqa: F821
    after: Float[np.ndarray, "b"],  # noqa: F821
    n_samples: int,
) -> Float[np.ndarray, "c"]:  # noqa: F821
    """Join two sounds over `n_samples`, in which one falls as the other rises, linearly."""
    rise = (np.arange(n_samples, dtype=np.float32) + 0.5) / n_samples
    overlap = before[len(before) - n_samples :] * (1 - rise) + after[:n_samples] * rise
    return np.concatenate([before[: len(before) - n_samples], overlap, after[n_samples:]]).astype(np.float32)


def read_unit_voice(file: Path) -> UnitVoice:
    """Return the voice that a file describes; its sound is made when it is asked for.

    Raises:
        ModelFilesError: the file is missing or damaged.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        recordings = tuple(
            Recording(text, merge_repeats(np.array(frames, np.int64)))
            for text, frames in stored["recordings"]
        )
        return UnitVoice(str(stored["voice"]), int(stored["rate_wpm"]), recordings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(f"{file.name} is missing or damaged; restore it.") from error


def write_unit_voice(
    file: Path,
    voice: str,
    rate_wpm: int,
    recordings: Sequence[tuple[str, Int[np.ndarray, "_"]]],  # noqa: F821
) -> None:
    """Write a voice: each text with the unit of each 40 ms."""
    listed = [[text, frames.tolist()] for text, frames in recordings]
    text = json.dumps({"voice": voice, "rate_wpm": rate_wpm, "recordings": listed}, separators=(",", ":"))
    file.write_text(text + "\n", encoding="utf-8")
