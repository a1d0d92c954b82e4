"""Made-up tables of interleaved models: for tests and drawings only, never shipped.

The full model reads the current word best at layer 3 and the next at layer 5, and goes back to units at layer 7; its
controls read less, and the model that was never taught reads nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engine.interleaved_records import INTERLEAVED_TABLES
from engine.records import write_table

LAYERS = range(9)
TOPS = (1, 5, 10)
LAST_STEP = 2400
FULL = "text-interleaved"
# Model -> start, data, how high its R goes, whether it has units.
MODELS: dict[str, tuple[str, str, float, bool]] = {
    FULL: ("text", "interleaved", 0.6, True),
    "random-interleaved": ("random", "interleaved", 0.3, True),
    "text-speech": ("text", "speech only", 0.2, True),
    "random-speech": ("random", "speech only", 0.05, True),
    "untrained": ("untrained", "none", 0.0, True),
    "mini-ultravox": ("text", "audio", 0.8, False),
    "mini-qwen2-audio": ("text", "audio", 0.7, False),
}
CURRENT_PEAK, NEXT_PEAK, SPEECH = 3, 5, 7
CONTROL = 0.05
_EMPTY: dict[str, Any] = {"str": "", "int": 0, "float": math.nan, "bool": False}
Row = dict[str, Any]


def add_interleaved(out: Path) -> Path:
    """Write the four tables into a results folder, and return the folder."""
    rows = [row for model in MODELS for row in _recall(model)]
    for name, made in (
        ("interleaved", rows),
        ("phases", [row for k in TOPS for row in _phases(k)]),
        ("spoken_knowledge", _knowledge()),
        ("phase_causal", _causal()),
    ):
        write_table([_declared(row, name) for row in made], out / "tables" / f"{name}.csv", name)
    return out


def _declared(row: Row, table: str) -> Row:
    return {column.name: row.get(column.name, _EMPTY[column.dtype]) for column in INTERLEAVED_TABLES[table]}


def _who(model: str, step: int = LAST_STEP) -> Row:
    start, data, _, has_units = MODELS[model]
    return {"model": model, "initialisation": start, "data": data, "step": step if has_units else 0}


def excess_of(model: str, layer: int, k: int, d: int) -> float:
    """R as it was made up."""
    peak = (CURRENT_PEAK, NEXT_PEAK)[d]
    return round(MODELS[model][2] * (0.6 + 0.04 * k) * max(0.0, 1 - abs(layer - peak) / 3), 4)


def _recall(model: str) -> list[Row]:
    # Of an earlier checkpoint too: the page must show the last one only.
    steps = (LAST_STEP, 600) if model == FULL else (LAST_STEP,)
    sizes = {"n_words": 900, "n_groups": 110, "n_clips": 120}
    rows: list[Row] = []
    for step in steps:
        for layer in LAYERS:
            for k in TOPS:
                for d in (0, 1):
                    r = excess_of(model, layer, k, d) if step == LAST_STEP else 0.0
                    ends = {"excess_low": r - 0.03, "excess_high": r + 0.03}
                    score = {"score": r + CONTROL, "control": CONTROL, "excess": r}
                    band = {"low": r + CONTROL - 0.03, "high": r + CONTROL + 0.03}
                    keys = {"layer": layer, "measure": "recall", "k": k, "d": d}
                    rows.append(_who(model, step) | keys | score | ends | band | sizes)
            if MODELS[model][3]:
                share = 0.2 if layer >= SPEECH else 0.3 + 0.1 * min(layer, 5)
                keys = {"layer": layer, "measure": "text_share", "k": 0, "d": 0, "score": share}
                rows.append(_who(model, step) | keys | {"low": share - 0.02, "high": share + 0.02} | sizes)
    return rows


def _phases(k: int) -> list[Row]:
    layers = {"current word": CURRENT_PEAK, "next word": NEXT_PEAK, "speech": SPEECH, "current to next": 2}
    return [
        _who(FULL)
        | {"k": k, "boundary": name, "layer": float(layer), "low": layer - 1.0, "high": layer + 1.0}
        | {"score": 0.5, "score_low": 0.45, "score_high": 0.55, "undefined": 0.0, "n_groups": 110}
        for name, layer in layers.items()
    ]


def _knowledge() -> list[Row]:
    row = {"measure": "preferred", "value": 0.71, "low": 0.66, "high": 0.76, "chance": 0.5, "n": 328}
    return [_who(FULL) | row | {"n_groups": 328}]


def _causal() -> list[Row]:
    def row(arm: str, value: float, **more: Any) -> Row:
        sizes = {"n": 700, "n_groups": 110, "n_clips": 120, "n_seeds": 3, "layers": "1-3"}
        outcome = {"arm": arm, "outcome": "next word", "value": value, "low": value - 0.02}
        return _who(FULL) | outcome | {"high": value + 0.02} | sizes | more

    drop = {"change": -0.2, "change_low": -0.25, "change_high": -0.15}
    against = {"vs_rank_matched": -0.1, "vs_rank_matched_low": -0.14, "vs_rank_matched_high": -0.06}
    return [row("plain", 0.5), row("erased", 0.3, **drop, **against), row("rank_matched", 0.4)]
