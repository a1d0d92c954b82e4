"""What erasing one thing does to the probes of another, layer by layer, beside random erasures of equal rank."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.erasure import load_eraser
from engine.hooks import Projection
from engine.systems.loading import load_speech_llm
from precompute.ledger import LedgerRow
from precompute.mechanism.probing import FRAMES, Bench, Reading, make_bench, read_targets
from precompute.mechanism.units import LayerJob, MechanismUnit
from precompute.units import Outcome

SEEDS = (0, 1, 2, 3, 4)
TEXT_SEEDS = (0, 1)  # a CTC probe takes a hundred times as long to fit as a ridge
# What is fitted anew after each erasure; its own concept is among them, as proof that it is gone.
DAMAGED = {
    "text": (*FRAMES, "text"),
    "ctc": FRAMES,
    "boc": FRAMES,
    "acoustic": (*FRAMES, "text"),
}


def measure_damage(unit: MechanismUnit) -> Outcome:
    """Return a row for each layer: what is read before, after each erasure, and after random ones."""
    rows = []
    for job in unit.jobs:
        assert isinstance(job, LayerJob)
        began = time.perf_counter()
        found = _damage(unit.who, unit.models, make_bench(unit.who, unit.models, unit.clips), job.layer)
        seconds = time.perf_counter() - began
        rows.append(LedgerRow(job.key, "damage", unit.who, text=json.dumps(found), seconds=seconds))
    return Outcome(tuple(rows))


def _damage(who: str, models: Path, bench: Bench, layer: int) -> list[dict[str, Any]]:
    states, fingerprint = bench.at(layer), load_speech_llm(who, models).fingerprint
    plain = read_targets(bench, states, shuffle=False, targets=(*FRAMES, "text"))
    out = []
    for condition, targets in DAMAGED.items():
        eraser = load_eraser(who, condition, fingerprint, models)
        erased = read_targets(
            bench,
            erase_states(states, eraser.projections([layer], "affine")[layer]),
            shuffle=False,
            targets=targets,
        )
        controls = {
            seed: read_targets(
                bench,
                erase_states(states, eraser.random_control([layer], "affine", seed)[layer]),
                shuffle=False,
                targets=[t for t in targets if t != "text" or seed in TEXT_SEEDS],
            )
            for seed in SEEDS
        }
        for target in targets:
            random = [read[target].score for read in controls.values() if target in read]
            out.append(
                {"condition": condition, "target": target, "kept_rank": eraser.kept_rank[layer]}
                | _numbers(plain[target], erased[target], random)
            )
    return out


def _numbers(plain: Reading, erased: Reading, random: Sequence[float]) -> dict[str, Any]:
    numbers = {
        "plain": plain.score,
        "plain_low": plain.low,
        "plain_high": plain.high,
        "erased": erased.score,
        "low": erased.low,
        "high": erased.high,
        "random": float(np.mean(random)),
        "random_spread": float(np.std(random, ddof=1)),
    }
    counts = {"n_seeds": len(random), "n_clips": erased.n_clips, "n_frames": erased.n_frames}
    note = " ".join(dict.fromkeys(filter(None, [plain.note, erased.note])))
    return (
        {name: None if value != value else value for name, value in numbers.items()} | counts | {"note": note}
    )


def erase_states(states: Sequence[np.ndarray], projection: Projection) -> list[np.ndarray]:
    """Return every clip's states after the projection."""
    return [projection(torch.from_numpy(one)).numpy() for one in states]
