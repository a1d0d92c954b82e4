"""The pitch of a clip, for erasers and for probes, as librosa's pyin tracks it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from engine.audio import SAMPLE_RATE_HZ
from engine.compiled import import_librosa

RANGE_HZ = (65.0, 400.0)
RESOLUTION = 0.2  # of a semitone
REFERENCE_HZ = 100.0  # of octaves
VOICED_SHARE = 0.25  # of a position's frames, at least


def track_pitch_hz(samples: Float[np.ndarray, "samples"], hop_s: float) -> Float[np.ndarray, "frames"]:  # noqa: F821
    """Return the fundamental frequency in Hz every `hop_s` seconds, 0 where nothing is voiced."""
    hertz, voiced, _ = import_librosa().pyin(
        samples,
        fmin=RANGE_HZ[0],
        fmax=RANGE_HZ[1],
        sr=SAMPLE_RATE_HZ,
        hop_length=round(hop_s * SAMPLE_RATE_HZ),
        resolution=RESOLUTION,
    )
    return np.where(voiced, hertz, 0.0)


def pitch_octaves(
    pitch_hz: Float[np.ndarray, "frames"],  # noqa: F821 - jaxtyping axis name
    ends_s: Float[np.ndarray, "positions"],  # noqa: F821
    frame_s: float,
) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return each position's mean pitch in octaves over 100 Hz; NaN where too little of it is voiced.

    Args:
        pitch_hz: frame by frame, 0 where there is none.
        ends_s: when each position ends.
        frame_s: clock width of a frame.
    """
    out = np.full(len(ends_s), np.nan)
    edges = np.round(np.array([0.0, *ends_s]) / frame_s).astype(int)
    for position, (start, stop) in enumerate(pairwise(edges)):
        here = pitch_hz[start:stop]
        voiced = here[here > 0]
        if len(voiced) >= max(1.0, VOICED_SHARE * (stop - start)):
            out[position] = np.log2(voiced.mean() / REFERENCE_HZ)
    return out
