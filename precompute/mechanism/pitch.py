"""The pitch of a clip, as librosa's pyin tracks it: the probes' only slow feature, so it is measured once."""

from __future__ import annotations

import json
import time

import librosa
import numpy as np

from engine.audio import SAMPLE_RATE_HZ
from engine.recipe import say_recipe
from precompute.ledger import LedgerRow
from precompute.mechanism.units import ClipJob, MechanismUnit
from precompute.units import Outcome

HOP_S = 0.02
RANGE_HZ = (65.0, 400.0)
RESOLUTION = 0.2  # of a semitone, as for the erasers
REFERENCE_HZ = 100.0  # of octaves
VOICED_SHARE = 0.25  # of a position's frames, at least, as for the erasers


def track_pitch(unit: MechanismUnit) -> Outcome:
    """Return a row for each clip: fundamental frequency in Hz every 20 ms, 0 where nothing is voiced."""
    rows = []
    for job in unit.jobs:
        assert isinstance(job, ClipJob)
        began = time.perf_counter()
        samples = say_recipe(job.recipe).clip.samples
        hertz, voiced, _ = librosa.pyin(
            samples,
            fmin=RANGE_HZ[0],
            fmax=RANGE_HZ[1],
            sr=SAMPLE_RATE_HZ,
            hop_length=round(HOP_S * SAMPLE_RATE_HZ),
            resolution=RESOLUTION,
        )
        track = np.where(voiced, hertz, 0.0).round(2).tolist()
        rows.append(
            LedgerRow(job.key, "pitch", "", text=json.dumps(track), seconds=time.perf_counter() - began)
        )
    return Outcome(tuple(rows))


def pitch_octaves(pitch_hz: np.ndarray, n_positions: int, width_s: float) -> np.ndarray:
    """Return each position's mean pitch in octaves over 100 Hz; NaN where too little of it is voiced."""
    per_position = max(1, round(width_s / HOP_S))
    out = np.full(n_positions, np.nan)
    for position in range(n_positions):
        here = pitch_hz[position * per_position : (position + 1) * per_position]
        voiced = here[here > 0]
        if len(voiced) >= max(1.0, VOICED_SHARE * per_position):
            out[position] = np.log2(voiced.mean() / REFERENCE_HZ)
    return out
