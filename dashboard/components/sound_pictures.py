"""Waveform envelope and log-mel picture of a clip, as small integers for the page.

`payload` calls these. They are pictures: no model sees them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.compiled import import_librosa

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
    librosa = import_librosa()  # on the first run: it would add to the start-up time of the page

    hop = max(80, -(-waveform.size // _count(waveform.size, MEL_COLUMNS_PER_S, MEL_COLUMNS)))
    window = int(2 ** np.ceil(np.log2(max(512, min(hop, 4096)))))
    power = librosa.feature.melspectrogram(
        y=np.asarray(waveform, dtype=np.float32),
        sr=SAMPLE_RATE_HZ,
        n_fft=window,
        hop_length=hop,
        n_mels=MEL_BANDS,
        fmax=SAMPLE_RATE_HZ / 2,
    )
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    relative = np.clip((decibel - decibel.max()) / -FLOOR_DB + 1.0, 0.0, 1.0)
    return np.rint(relative * 255.0).astype(np.uint8)


def _count(n_samples: int, per_second: int, limits: tuple[int, int]) -> int:
    """Return how many columns a clip gets: enough to look sharp when a long one is scrolled."""
    least, most = limits
    return max(least, min(most, n_samples * per_second // SAMPLE_RATE_HZ))
