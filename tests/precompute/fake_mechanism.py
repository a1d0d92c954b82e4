"""Measurements of mechanism that are made up at once from their keys: for tests of the machinery around them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.columns import PROBE_TARGETS
from engine.request import CONDITIONS
from precompute.benchmark import Report, run_plan
from precompute.jobs import Batch, Job, Outcome
from precompute.mechanism.plan import MechanismPlan, make_mechanism_plan
from precompute.settings import Settings
from precompute.workers import make_workers
from tests.precompute.fake_family import perform as perform_answers
from tests.precompute.fake_family import write_models

PERFORM = "tests.precompute.fake_mechanism:perform"
N_LAYERS = 2
N_ITEMS = 4


def write_mechanism_models(folder: Path) -> Path:
    """Write files where weights and erasers would lie: they are hashed, never loaded."""
    write_models(folder)
    config = {"text_model_id": "mini-llama", "num_hidden_layers": N_LAYERS}
    (folder / "mini-llama" / "config.json").write_text(json.dumps(config))
    (folder / "mini-ultravox" / "erasers").mkdir()
    for condition in CONDITIONS:
        (folder / "mini-ultravox" / "erasers" / f"{condition}.safetensors").write_bytes(condition.encode())
    return folder


def fake_mechanism_plan(models: Path, **settings: Any) -> MechanismPlan:
    return make_mechanism_plan(
        Settings(models=models, **{"limit": N_ITEMS, "tasks": ("topic", "trivia"), **settings})
    )


def perform(batch: Batch) -> Outcome:
    """Measure by the job's key."""
    if batch.kind not in ("pitch", "lens", "erase", "probe", "damage"):
        return perform_answers(batch)
    rows = [job.row(text=json.dumps(measured_by_key(job, batch.shared)), seconds=0.5) for job in batch.jobs]
    return Outcome(tuple(rows))


def measured_by_key(job: Job, shared: Any) -> Any:
    share = int(job.key[:4], 16) / 65536
    if job.kind == "pitch":
        return [0.0, 100.0 + share]
    if job.kind in ("probe", "damage"):
        return _layer(job.kind, len(shared.clips), share)
    if job.kind == "erase":
        # Settings of one method and scope differ by where they erase.
        setting = job.payload.setting
        return [_arm("none", "none", "plain", 0), _arm("text", setting, "erased", 0)] + [
            _arm("text", setting, "rank_matched", seed) for seed in range(2)
        ]
    layers = [str(layer) for layer in range(N_LAYERS + 1)]
    hits = {layer: [4, 1, 2, 3] for layer in layers}
    return {
        "texts": {layer: f"{layer} of {job.payload.recipe.text}" for layer in layers},
        "precision": dict.fromkeys(layers, share),
        "control": dict.fromkeys(layers, share / 2),
        "set_precision": dict.fromkeys(layers, share),
        "set_control": dict.fromkeys(layers, share / 2),
        **{"current": hits, "following": hits, "mismatched": hits},
    }


def _arm(condition: str, layers: str, kind: str, seed: int) -> dict[str, Any]:
    return {
        "condition": condition, "layers": layers, "arm": kind, "seed": seed,
        "kept_rank": 0 if kind == "plain" else 3,
        "proof": None, "fitted_on": "none" if kind == "plain" else "plain states",
        "label": None, "label_status": "unparsed", "text": "?" * 99, "correct": False, "forced_correct": None,
        "log_likelihood_change": 0.0, "right_log_likelihood_change": 0.0, "relative_change": 0.25,
    }  # fmt: skip


def _layer(kind: str, n_clips: int, share: float) -> Any:
    about = {"n_clips": n_clips, "n_frames": 10, "note": ""}
    if kind == "damage":
        numbers = dict.fromkeys(
            ("plain", "plain_low", "plain_high", "erased", "low", "high", "random", "random_spread"), share
        )
        return [{"condition": "acoustic", "target": "text", "kept_rank": 2, "n_seeds": 2, **numbers, **about}]
    reading = dict.fromkeys(("score", "low", "high"), share) | {"shuffled": share / 4, "n_groups": 1} | about
    reading["by_clip"] = [share] * n_clips
    return {model: dict.fromkeys(PROBE_TARGETS, reading) for model in ("trained", "untrained")}


def run_fake_mechanism(plan: MechanismPlan, out: Path) -> Report:
    return run_plan(plan, out, make_workers("inline", 1, PERFORM), sys.stderr)
