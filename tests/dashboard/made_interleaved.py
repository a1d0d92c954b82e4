"""Made-up tables of interleaved models: for tests and drawings only, never shipped.

The full model reads the current word best at layer 3 and the next at layer 5, and goes back to units at layer 7; its
controls read less, and the model that was never taught reads nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from engine.columns import INTERLEAVED_TABLES
from engine.tables import file_of, read_table, write_table

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
KNOWLEDGE_STEPS = (0, 600, LAST_STEP)
CONTROL = 0.05
_EMPTY: dict[str, Any] = {"str": "", "int": 0, "float": math.nan, "bool": False}
Row = dict[str, Any]


def add_interleaved(out: Path) -> Path:
    """Write the tables into a results folder, those of clips over three clean ones of its own; return the folder."""
    rows = [row for model in MODELS for row in _recall(model)]
    for name, made in (
        ("interleaved", rows),
        ("phases", [row for k in TOPS for row in _phases(k)]),
        ("spoken_knowledge", _knowledge()),
        ("phase_causal", _causal()),
        ("interleaved_clips", _recall_clips(clips_in(out))),
        ("knowledge_facts", _facts()),
        ("causal_clips", _causal_clips(clips_in(out))),
    ):
        write_table([_declared(row, name) for row in made], file_of(out, name), name)
    return out


def clips_in(out: Path) -> list[Row]:
    """Return the clips that the tables of clips name."""
    clips = read_table(file_of(out, "clips"), "clips")
    found: list[Row] = (
        clips[clips["noise"] == "clean"].head(3)[["item_id", "group", "clip_id"]].to_dict("records")
    )
    return found


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
    sizes = {"undefined": 0.0, "n_groups": 110, "n_clips": 120}
    rows = [
        _who(FULL, step)
        | {"k": k, "boundary": name, "layer": float(layer), "low": layer - 1.0, "high": layer + 1.0}
        | {"score": 0.5, "score_low": 0.45, "score_high": 0.55}
        | sizes
        for step in KNOWLEDGE_STEPS
        for name, layer in layers.items()
    ]
    # R of the one that was never taught holds 0, and it never comes back to units.
    never = {"layer": 2.0, "low": 0.0, "high": 4.0, "score": 0.01, "score_low": -0.01, "score_high": 0.03}
    no_layer = {"boundary": "speech", "undefined": 1.0, "note": "No such layer. It says so."}
    for name in ("current word", "next word"):
        rows.append(_who("untrained") | {"k": k, "boundary": name} | sizes | never)
    empty = dict.fromkeys(("layer", "low", "high", "score", "score_low", "score_high"), math.nan)
    return [*rows, _who("untrained") | {"k": k} | sizes | empty | no_layer]


SCORES = {"preferred": 0.48, "preferred by sum": 0.5, "preferred, heard": 0.62, "preferred, only read": 0.37}
RHO = 0.22


def _knowledge() -> list[Row]:
    def row(model: str, step: int, measure: str, value: float) -> Row:
        ends = {"value": value, "low": value - 0.05, "high": value + 0.05, "chance": 0.5}
        return _who(model) | {"step": step, "measure": measure, "n": 328, "n_groups": 328} | ends

    steps = [row(FULL, step, "preferred", SCORES["preferred"]) for step in KNOWLEDGE_STEPS[:-1]]
    last = [row(model, LAST_STEP, *one) for model in (FULL, "untrained") for one in SCORES.items()]
    rho = {"value": RHO, "low": -0.58, "high": 0.81, "chance": 0.0, "n": 3, "n_groups": 3}
    return [*steps, *last, row(FULL, LAST_STEP, "relation", RHO) | rho]


ERASED_CHANGE, BEYOND_RANK, BEYOND_CHANGE, PATCHED_CHANGE = -0.2, -0.1, -0.02, 1.2
ARMS = {"erased": ERASED_CHANGE, "rank_matched": -0.1, "change_matched": -0.18}
PATCHES = {"patched": 2.2, "same_word": 0.5, "unrelated": 1.0}


def _around(name: str, value: float, width: float = 0.04) -> Row:
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}


def _causal() -> list[Row]:
    def row(outcome: str, arm: str, value: float, **more: Any) -> Row:
        sizes = {"n": 700, "n_groups": 110, "n_clips": 120, "n_seeds": 3, "layers": "layers 1-3"}
        ends = {"arm": arm, "outcome": outcome, "value": value, "low": value - 0.02, "high": value + 0.02}
        return _who(FULL) | ends | sizes | {"note": f"What {outcome} is."} | more

    rows = []
    for outcome in ("current word", "next word"):
        rows.append(row(outcome, "plain", 0.5))
        for arm, change in ARMS.items():
            beyond = _around("vs_rank_matched", BEYOND_RANK) | _around("vs_change_matched", BEYOND_CHANGE)
            extra = beyond if arm == "erased" else {}
            rows.append(row(outcome, arm, 0.5 + change, **_around("change", change), **extra))
    for arm, value in PATCHES.items():
        extra = _around("change", PATCHED_CHANGE) if arm == "patched" else {}
        rows.append(row("next word follows", arm, value, **extra))
    return rows


def _recall_clips(clips: list[Row]) -> list[Row]:
    """Of each clip one word more is found than of the one before."""
    rows = []
    for layer in LAYERS:
        for d in (0, 1):
            for at, clip in enumerate(clips):
                hits = {f"hits_{k}": at + place for place, k in enumerate(TOPS)}
                seen = {"n_words": 8, "n_positions": 30, "text_share": 0.1 * at}
                rows.append({"model": FULL, "step": LAST_STEP, "layer": layer, "d": d} | clip | hits | seen)
    return rows


def _facts() -> list[Row]:
    """The right end of the second fact is the likelier by most."""
    gaps = {"a fact": 0.5, "the surest fact": 2.0, "<b>wrong</b>": -1.0}
    return [
        {"model": FULL, "step": LAST_STEP, "item_id": fact, "group": fact}
        | {"right": gap - 3.0, "wrong": -3.0, "right_sum": -9.0, "wrong_sum": -9.0}
        for fact, gap in gaps.items()
    ]


def _causal_clips(clips: list[Row]) -> list[Row]:
    """The last clip changes most; random directions are drawn twice. Of knowledge there are facts, and no clips."""
    fact = {"item_id": "a fact", "group": "a fact", "clip_id": "a fact", "total": 1.0, "n": 1}
    about = {"arm": "plain", "outcome": "spoken knowledge", "layers": "layers 1-3", "seed": 0}
    rows = [{"model": FULL, "step": LAST_STEP} | about | fact]
    for at, clip in enumerate(clips):
        for arm, seeds, total in (("plain", 1, 4.0), ("erased", 1, 4.0 - at), ("rank_matched", 2, 3.0)):
            for seed in range(seeds):
                about = {"arm": arm, "outcome": "next word", "seed": seed, "total": total, "n": 8}
                rows.append({"model": FULL, "step": LAST_STEP, "layers": "layers 1-3"} | about | clip)
    return rows
