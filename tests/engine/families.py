"""Every published white-box family at a tiny size: its folders under the catalogue's names, and its token counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from tests.engine.tiny_phi4 import write_phi4
from tests.engine.tiny_qwen2_audio import write_published
from tests.engine.tiny_ultravox import write_llama, write_ultravox, write_whisper
from tests.engine.tiny_voxtral import write_voxtral


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        key: of its system in the catalogue.
        write: puts its folders, under their own names, below a models folder.
        n_positions: the published formula: samples at 16 kHz -> audio positions.
        published: seconds -> positions that the published code gives.
        position_s: clock width of a position.
    """

    key: str
    write: Callable[[Path], object]
    n_positions: Callable[[int], int]
    published: Mapping[float, int]
    position_s: float


def _ultravox(models: Path) -> None:
    encoder = write_whisper(models / "whisper-large-v3-turbo")
    write_llama(models / "llama-3.1-8b-instruct")
    whisper = models / "whisper-large-v3-turbo"
    write_ultravox(models / "ultravox-v0_6-llama-3_1-8b", whisper, encoder, "merged")


def _in_windows(n_samples: int, shortest: int, count: Callable[[int], int]) -> int:
    """Sum over windows of 3,000 mel frames; the shortest clip is filled up to so many samples."""
    frames = ceil(max(shortest, n_samples) / 160)
    return sum(count(min(3000, frames - at)) for at in range(0, frames, 3000))


FAMILIES = {
    "ultravox": Family(
        "ultravox-v0.6-8b",
        _ultravox,
        lambda n: _in_windows(n, 320, lambda mel: ceil(mel / 16)),
        {0.01: 1, 0.5: 4, 1.0: 7, 1.234: 8, 6.0: 38, 31.0: 195, 35.0: 220},
        0.16,
    ),
    "qwen2_audio": Family(
        "qwen2-audio-7b-instruct",
        lambda models: write_published(models / "qwen2-audio-7b-instruct"),
        # The published processor stops after the first window.
        lambda n: _in_windows(n, 480, lambda mel: (((mel - 1) // 2 + 1) - 2) // 2 + 1),
        {0.5: 12, 1.0: 25, 3.0: 75, 30.0: 750, 35.0: 875},
        0.04,
    ),
    "phi4_multimodal": Family(
        "phi-4-multimodal",
        lambda models: write_phi4(models / "phi-4-multimodal"),
        lambda n: ceil(((max(400, n) - 400) // 160 + 1) / 8),
        {0.5: 6, 1.0: 13, 3.0: 38, 30.0: 375},
        0.08,
    ),
    "voxtral": Family(
        "voxtral-mini-3b-2507",
        lambda models: write_voxtral(models / "voxtral-mini-3b-2507"),
        lambda n: 375 * ceil(n / 480_000),
        {0.5: 375, 30.0: 375, 31.0: 750},
        0.08,
    ),
}
