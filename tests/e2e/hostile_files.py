"""Files that people upload by mistake or on purpose, made on the spot. Used by the bad-input tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine.audio import load_clip
from engine.examples import EXAMPLES

RATE_HZ = 16_000
HTML_NAME = "<img src=x onerror=alert(1)>.wav"


@dataclass(frozen=True)
class BadFile:
    """A file and whether it must be refused; one that is not refused gives a result."""

    name: str
    make: Callable[[Path], None]
    refused: bool


def speech() -> np.ndarray:
    """Return the first example's samples, 16 kHz mono."""
    return load_clip(EXAMPLES[0].file).samples


def _sound(samples: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16") -> Callable[[Path], None]:
    return lambda path: soundfile.write(str(path), samples, rate_hz, subtype=subtype, format="WAV")


def _bytes(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _cut_off(path: Path) -> None:
    _sound(speech())(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _with_gaps(path: Path) -> None:
    samples = speech().copy()
    samples[1000:1100] = np.nan
    _sound(samples, subtype="FLOAT")(path)


def _two_hours(path: Path) -> None:
    """Small as a file, two hours as sound."""
    with soundfile.SoundFile(str(path), "w", 8_000, 1, subtype="PCM_16", format="FLAC") as file:
        minute = np.zeros(60 * 8_000, dtype=np.int16)
        for _ in range(120):
            file.write(minute)


def _high_stereo(path: Path) -> None:
    six_times = np.repeat(speech(), 6)
    _sound(np.stack([six_times, six_times], axis=1), 96_000)(path)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def bad_files() -> list[BadFile]:
    """Return every kind of file of the issue's list."""
    noise = np.random.default_rng(0)
    return [
        BadFile("empty.wav", _bytes(b""), True),
        BadFile("random.wav", _bytes(noise.bytes(5000)), True),
        BadFile("text.wav", _bytes(b"this is a shopping list\n" * 50), True),
        BadFile("picture.wav", _bytes(b"\x89PNG\r\n\x1a\n" + noise.bytes(900)), True),
        BadFile("playlist.wav", _bytes(PLAYLIST), True),
        BadFile("silent.wav", _sound(np.zeros(RATE_HZ)), True),
        BadFile("short.wav", _sound(speech()[:800]), True),
        BadFile("two-hours.flac", _two_hours, True),
        BadFile("cut-off.wav", _cut_off, False),
        BadFile("gaps.wav", _with_gaps, False),
        BadFile("clipped.wav", _sound(np.clip(speech() * 40, -1, 1)), False),
        BadFile("telephone.wav", _sound(speech()[::2], 8_000), False),
        BadFile("stereo-96k.wav", _high_stereo, False),
        BadFile(HTML_NAME, _sound(speech()), False),
    ]
