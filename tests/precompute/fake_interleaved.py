"""Measurements of interleaved models, made up at once from their keys: for tests of the machinery around them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.interventions import CHANGE_MATCHED, ERASED, PLAIN, RANK_MATCHED
from precompute.benchmark import Report, run_plan
from precompute.interleaved.plan import (
    CheckpointPlace,
    InterleavedPlan,
    PatchedWord,
    ReadClip,
    ScoredFact,
    make_interleaved_plan,
)
from precompute.jobs import Batch, Job, Outcome
from precompute.settings import Settings
from precompute.workers import make_workers
from tests.precompute.fake_family import perform as perform_answers
from tests.precompute.fake_family import write_models

PERFORM = "tests.precompute.fake_interleaved:perform"
N_LAYERS = 4
PEAKS = {"0": 2, "1": 3}  # d -> the layer at which every word is read


def write_unit_models(folder: Path) -> tuple[Path, Path]:
    """Write files where weights would lie; return the models' folder and that of the snapshots."""
    models, snapshots = write_models(folder / "models"), folder / "snapshots"
    names = [models / "mini-interleaved"]
    for arm in ("text-interleaved", "random-interleaved", "text-speech", "random-speech"):
        names += [snapshots / arm / f"step-{step:05d}" for step in (0, 600, 1200, 2400)]
    for name in names:
        (name / "units").mkdir(parents=True)
        (name / "config.json").write_text("{}")
        (name / "model.safetensors").write_bytes(str(name.relative_to(folder)).encode())
        (name / "units" / "centres.safetensors").write_bytes(b"centres")
    return models, snapshots


def fake_interleaved_plan(models: Path, snapshots: Path, **settings: Any) -> InterleavedPlan:
    return make_interleaved_plan(Settings(models=models, quick=True, snapshots=snapshots, **settings))


def perform(batch: Batch) -> Outcome:
    """Measure by the job's key."""
    if batch.kind not in ("phases", "knowledge", "erase_word", "patch_word"):
        return perform_answers(batch)
    return Outcome(tuple(job.row(text=json.dumps(measured_by_key(job, batch.shared))) for job in batch.jobs))


def measured_by_key(job: Job, place: CheckpointPlace) -> Any:
    about = job.payload
    if isinstance(about, PatchedWord):
        return [{"arm": arm, "total": 1.0 if arm == "patched" else 0.25} for arm, _ in about.donors]
    if job.kind == "erase_word":
        arms = ((PLAIN, 0), (ERASED, 0), (RANK_MATCHED, 0), (RANK_MATCHED, 1), (CHANGE_MATCHED, 0))
        return [
            {
                "arm": arm,
                "seed": seed,
                "kept_rank": 3,
                "relative_change": 0.2,
                "outcomes": _outcomes(arm, about),
            }
            for arm, seed in arms
        ]
    if isinstance(about, ScoredFact):
        share = int(job.key[:4], 16) / 65536
        return {"right": -1.0, "wrong": -1.0 - share, "right_sum": -3.0, "wrong_sum": -2.0}
    words = {
        d: {
            "n": 4,
            "hits": [[4, 4, 4] if layer == peak else [0, 1, 1] for layer in range(N_LAYERS + 1)],
            "control": [[0, 0, 1]] * (N_LAYERS + 1),
        }
        for d, peak in PEAKS.items()
    }
    text_share = None if place.checkpoint.folder is None else [0.1, 0.5, 0.9, 0.9, 0.2]
    return {"d": words, "share": text_share, "n_positions": 12}


def _outcomes(arm: str, about: ReadClip | ScoredFact) -> dict[str, list[float]]:
    lost = 2.0 if arm == ERASED else 0.0
    if isinstance(about, ScoredFact):
        return {"spoken knowledge": [0.0 if arm == ERASED else 1.0, 1]}
    return {"current word": [3.0 - lost, 4], "next word": [2.0 - lost, 3], "next unit": [-20.0 - lost, 11]}


def run_fake_interleaved(plan: InterleavedPlan, out: Path) -> Report:
    return run_plan(plan, out, make_workers("inline", 1, PERFORM), sys.stderr)
