"""Made-up lens and probes for a results folder that has clips: for tests and drawings only, never shipped.

The lens reads more of a clip at each layer and its control stays; a probe is right on every second clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from engine.columns import PROBE_TARGETS, TABLES
from engine.tables import write_table
from precompute.mechanism.lens_tables import lens_rows, noise_lens_rows

LAYERS = (0, 1, 2)
SYSTEM, ENCODER = "mini-ultravox", "mini-whisper"
PROBE_MARK = "probe-"
N_PROBE_CLIPS = 60
_EMPTY: dict[str, Any] = {"str": "", "int": 0, "float": float("nan"), "bool": False}

Row = dict[str, Any]


def add_layers(out: Path) -> Path:
    """Write lens and probes beside the clips of a results folder, and return the folder."""
    clips = pd.read_parquet(out / "clips.parquet").sort_values("clip_id").to_dict("records")
    rows = [_declared(_lens_row(clip, layer), "lens_clips") for clip in clips for layer in LAYERS]
    write_table(rows, out / "mechanism" / "lens_clips.parquet", "lens_clips")
    frame = pd.DataFrame(rows)
    write_table(list(lens_rows(frame, seed=0)), out / "tables" / "lens.csv", "lens")
    write_table(list(noise_lens_rows(frame, seed=0)), out / "tables" / "noise_lens.csv", "noise_lens")
    probes = [
        _declared(_probe_row(system, layer, target), "probes")
        for system in (SYSTEM, ENCODER)
        for layer in LAYERS
        for target in PROBE_TARGETS
    ]
    write_table(probes, out / "tables" / "probes.csv", "probes")
    return out


def add_probe_clips(out: Path) -> Path:
    """Write the clips that the probes read, under ids of their own, and their scores; return the folder."""
    clips = pd.read_parquet(out / "clips.parquet")
    read = clips[clips["noise"] == "clean"].head(N_PROBE_CLIPS)
    read = read.assign(clip_id=PROBE_MARK + read["clip_id"])
    read.to_parquet(out / "mechanism" / "probe_clips.parquet", index=False)
    scores = [
        {"system": system, "target": target, "layer": layer, "clip_id": clip_id, "score": float(number % 2)}
        for system in (SYSTEM, ENCODER)
        for target in PROBE_TARGETS
        for layer in LAYERS
        for number, clip_id in enumerate(read["clip_id"])
    ]
    pd.DataFrame(scores).to_parquet(out / "mechanism" / "probe_scores.parquet", index=False)
    return out


def _declared(row: Row, name: str) -> Row:
    return {column.name: _EMPTY[column.dtype] for column in TABLES[name]} | row


def _lens_row(clip: Row, layer: int) -> Row:
    about = {name: clip[name] for name in ("task", "item_id", "clip_id", "noise", "snr_db")}
    asked = {f"n_{name}": 8 for name in ("current", "next", "mismatched")}
    hits = {
        f"{name}_{top}": min(8, layer * rank)
        for name in ("current", "next")
        for rank, top in enumerate((1, 5, 10), 1)
    }
    precision = 0.3 * layer if clip["noise"] == "clean" else 0.1 * layer
    mine = {"system": SYSTEM, "layer": layer, "text": f"layer {layer} <b>{clip['reference']}</b>"}
    return (
        about
        | asked
        | hits
        | mine
        | {
            "precision": precision,
            "control": 0.05,
            "set_precision": precision,
            "set_control": 0.05,
        }
    )


def _probe_row(system: str, layer: int, target: str) -> Row:
    score = 0.2 + 0.1 * layer
    controls = {"shuffled": 0.0, "random_model": 0.1, "input_features": 0.15, "selectivity": score}
    unit = {"text": "1 - CER", "speaker": "accuracy", "emotion": "accuracy"}.get(target, "R2")
    about = {"system": system, "layer": layer, "target": target, "unit": unit, "n_clips": 60}
    return about | controls | {"score": score, "low": score - 0.05, "high": score + 0.05}
