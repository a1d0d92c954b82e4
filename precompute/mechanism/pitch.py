"""The pitch of the probe clips: the probes' only slow feature, so it is measured once."""

from __future__ import annotations

import json
import time

from engine.voice import say_recipe
from precompute.ledger import LedgerRow
from precompute.mechanism.units import ClipJob, MechanismUnit
from precompute.pitch import track_pitch_hz
from precompute.units import Outcome

HOP_S = 0.02


def track_pitch(unit: MechanismUnit) -> Outcome:
    """Return a row for each clip: fundamental frequency in Hz every 20 ms, 0 where nothing is voiced."""
    rows = []
    for job in unit.jobs:
        assert isinstance(job, ClipJob)
        began = time.perf_counter()
        samples = say_recipe(job.recipe).clip.samples
        track = track_pitch_hz(samples, HOP_S).round(2).tolist()
        rows.append(
            LedgerRow(job.key, "pitch", "", text=json.dumps(track), seconds=time.perf_counter() - began)
        )
    return Outcome(tuple(rows))
