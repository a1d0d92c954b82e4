"""Waveform envelope and log-mel picture of a clip, as small integers for the page.

`payload` calls these. They are pictures: no model sees them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
ENVELOPE_BINS = 600, 2000  # least and most; between them 60 a second
ENVELOPE_BINS_PER_S = 60
MEL_BANDS = 64
MEL_COLUMNS = 300, 480  # least and most; between them 30 a second
MEL_COLUMNS_PER_S = 30
FLOOR_DB = -70.0  # below the loudest cell; speech harmonics end near here, the rest is noise


def envelope(waveform: NDArray[Any]) -> tuple[NDArray[np.int8], float]:
    """Return the lowest and highest sample of each bin relative to the peak, and the peak.

    Args:
        waveform: mono samples at 16 kHz, about -1..1.

    Returns:
        int8[2 bins], -127..127 where 127 is the peak (row 0 lowest, row 1 highest), and the peak, 0..1.
    """
    n_bins = max(1, min(_count(waveform.size, ENVELOPE_BINS_PER_S, ENVELOPE_BINS), waveform.size))
    if waveform.size == 0:
        return np.zeros((2, n_bins), dtype=np.int8), 0.0
    peak = float(np.abs(waveform).max())
    starts = np.linspace(0, waveform.size, n_bins, endpoint=False).astype(np.int64)
    low = np.minimum.reduceat(waveform, starts)
    high = np.maximum.reduceat(waveform, starts)
    scale = 127.0 / peak if peak > 0 else 0.0
    return np.rint(np.stack([low, high]) * scale).astype(np.int8), peak


def mel_picture(waveform: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a log-mel picture, uint8[bands columns]: 0 is 70 dB below the loudest cell, 255 the loudest.

    Args:
        waveform: mono samples at 16 kHz.
    """
    if waveform.size == 0 or not np.any(waveform):
        return np.zeros((MEL_BANDS, 1), dtype=np.uint8)
    hop = max(80, -(-waveform.size // _count(waveform.size, MEL_COLUMNS_PER_S, MEL_COLUMNS)))
    window = int(2 ** np.ceil(np.log2(max(512, min(hop, 4096)))))
    power = _mel_bands(window) @ _power(np.asarray(waveform, dtype=np.float32), window, hop)
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    relative = np.clip((decibel - decibel.max()) / -FLOOR_DB + 1.0, 0.0, 1.0)
    return np.rint(relative * 255.0).astype(np.uint8)


def _power(waveform: NDArray[np.float32], window: int, hop: int) -> NDArray[np.float32]:
    """Return |STFT|^2, [1 + window / 2, frames], of frames that are centred on every hop-th sample."""
    padded = np.pad(waveform, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    spectrum = np.fft.rfft(frames * hann, axis=1)
    return np.asarray(np.abs(spectrum) ** 2, dtype=np.float32).T


@cache
def _mel_bands(window: int) -> NDArray[np.float32]:
    """Return triangles of equal area on Slaney's mel scale, [bands, 1 + window / 2], as librosa draws them.

    Written here: librosa compiles for seconds at its first use, which the first answer on the page would wait for.
    """
    hertz = np.linspace(0, SAMPLE_RATE_HZ / 2, 1 + window // 2)
    # The scale is linear to 1 kHz, 15 mel there, and logarithmic above: 27 mel for each factor of 6.4.
    top_mel = 15 + 27 * np.log(SAMPLE_RATE_HZ / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, top_mel, MEL_BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


def _count(n_samples: int, per_second: int, limits: tuple[int, int]) -> int:
    """Return how many columns a clip gets: enough to look sharp when a long one is scrolled."""
    least, most = limits
    return max(least, min(most, n_samples * per_second // SAMPLE_RATE_HZ))
