"""A made-up run of mechanism whose effects are known: for tests and drawings only, never shipped.

Erasing text ruins every answer, and so do random directions that move the state as far, but not as many random
ones; erasing the bag of characters ruins more than either control; CTC and acoustic erasure change nothing.
Layer by layer, text is used at layers 3 and 4 only, and decodable from layer 2 on. A layer's text is worth
nothing at layer 0 and everything at layer 4.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.columns import NOT_PROVEN
from engine.tables import file_of, write_table
from precompute.mechanism.effect_tables import effect_rows
from precompute.mechanism.erasure_tables import erasure_rows
from precompute.mechanism.sufficiency_tables import sufficiency_rows

LAYERS = (0, 1, 2, 3, 4)
LABELS = {"topic": ("World", "Sports", "Business", "Sci/Tech"), "emotion": ("joy", "anger"), "trivia": ()}
CONDITIONS = {"text": 31, "ctc": 28, "boc": 26, "acoustic": 2}
# condition -> arm -> share of clips whose answer is lost, nine layers at once
LOST = {
    "text": {"erased": 1.0, "rank_matched": 0.1, "change_matched": 1.0},
    "ctc": {"erased": 0.1, "rank_matched": 0.1, "change_matched": 0.1},
    "boc": {"erased": 0.9, "rank_matched": 0.1, "change_matched": 0.1},
    "acoustic": {"erased": 0.0, "rank_matched": 0.0, "change_matched": 0.0},
}
N_SEEDS = {"erased": 1, "rank_matched": 2, "change_matched": 2}

_PROOF = {
    **{"probe_plain": 0.6, "probe_erased": 0.4, "probe_low": 0.35, "probe_high": 0.45},
    **{"probe_random": 0.55, "probe_chance": 0.2, "probe_verdict": "still read"},
}

Row = dict[str, Any]


def make_mechanism(
    out: Path, *, n_items: int = 24, systems: Sequence[str] = ("mini-qwen2-audio",), sweeps: bool = True
) -> Path:
    """Write tables and clip tables of mechanism below a folder that becomes a source, and return it."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "mechanism").mkdir(exist_ok=True)
    (out / "manifest.json").write_text(json.dumps({"systems": {}}), encoding="utf-8")
    clips = {
        "implicit_clips": [row for one in systems for row in _implicit(one, n_items)],
        "erasure_clips": [row for one in systems for row in _erasure(one, n_items, sweeps)],
        "clips": list(_clips(n_items)),
        "probe_scores": [row for one in systems for row in _probe_scores(one)],
    }
    for name, rows in clips.items():
        write_table(rows, file_of(out, name), name)
    import pandas as pd

    tables: dict[str, Iterable[Row]] = {
        "sufficiency": sufficiency_rows(pd.DataFrame(clips["implicit_clips"]), seed=0),
        "erasure": erasure_rows(pd.DataFrame(clips["erasure_clips"]), seed=0),
        "effects": effect_rows(pd.DataFrame(clips["erasure_clips"]), seed=0),
        "probes": [row for one in systems for row in _probes(one)],
        "damage": [row for one in systems for row in _damage(one)],
    }
    for name, made in tables.items():
        write_table(list(made), file_of(out, name), name)
    return out


def _items(n_items: int) -> Iterator[tuple[Row, random.Random, str]]:
    for task, labels in LABELS.items():
        for number in range(n_items):
            item = f"{task}-{number:03d}"
            draw = random.Random(item)
            gold = draw.choice(labels) if labels else "paris"
            yield {"task": task, "item_id": item, "clip_id": f"{item}-a", "group": item}, draw, gold


def _clips(n_items: int) -> Iterator[Row]:
    probed = (
        {"task": "topic", "item_id": f"p{n}", "clip_id": f"probed-{n}", "group": f"p{n}"} for n in range(4)
    )
    for about, gold in (
        *((one, gold) for one, _, gold in _items(n_items)),
        *((one, "World") for one in probed),
    ):
        yield about | {
            "voice": "made", "noise": "clean", "snr_db": None, "snr_db_achieved": None, "prompt": "",
            "reference": f"words of {about['clip_id']}", "gold": gold, "seed": 0, "recipe": "{}", "audio_s": 1.0,
        }  # fmt: skip


def _implicit(system: str, n_items: int) -> Iterator[Row]:
    for about, draw, gold in _items(n_items):
        others = [one for one in LABELS[about["task"]] if one != gold] or ["london"]
        speech = gold if draw.random() < 0.8 else draw.choice(others)
        for layer in LAYERS:
            same = random.Random(f"{about['item_id']}|{layer}").random() < layer / LAYERS[-1]
            label = speech if same else draw.choice([*others, gold])
            yield about | {
                "system": system,
                "layer": layer,
                "gold": gold,
                "choices": "|".join(LABELS[about["task"]]),
                "heard": f"text of {about['item_id']} at {layer}",
                "label": label,
                "label_status": "parsed",
                "correct": label == gold,
                "speech_label": speech,
                "speech_correct": speech == gold,
                "cascade_label": speech if draw.random() < 0.9 else gold,
                "cascade_correct": speech == gold,
            }


def _erasure(system: str, n_items: int, sweeps: bool) -> Iterator[Row]:
    for about, draw, gold in _items(n_items):
        place = about | {"system": system}
        right = draw.random() < 0.9
        yield place | _answer("plain", gold if right else "other", gold, 0.0) | {
            "method": "none", "scope": "none", "layers": "none", "condition": "none",
            "arm": "plain", "seed": 0, "kept_rank": 0,
        }  # fmt: skip
        for condition, rank in CONDITIONS.items():
            for arm, n_seeds in N_SEEDS.items():
                for seed in range(n_seeds):
                    lost = random.Random(f"{place['item_id']}|{condition}|{arm}|{seed}").random()
                    gone = lost < LOST[condition][arm]
                    label = None if gone else gold if right else "other"
                    yield place | _answer(arm, label, gold, -5.0 - lost if gone else -0.1 * lost) | {
                        "method": "linear", "scope": "all", "layers": "nine layers",
                        "condition": condition, "arm": arm, "seed": seed, "kept_rank": rank,
                    }  # fmt: skip
        if sweeps:
            yield from _sweeps(place, gold if right else "other", gold)


def _sweeps(place: Row, label: str, gold: str) -> Iterator[Row]:
    for reach in ("layer", "up to layer"):
        for layer in LAYERS:
            for condition in ("text", "acoustic"):
                for arm, n_seeds in (("erased", 1), ("rank_matched", 2)):
                    for seed in range(n_seeds):
                        noise = random.Random(f"{place['item_id']}|{layer}|{arm}|{seed}").random() - 0.5
                        used = condition == "text" and arm == "erased" and layer >= 3
                        yield place | _answer(arm, None if used else label, gold, (-6.0 if used else 0.0) + noise) | {
                            "method": "linear", "scope": "all", "layers": f"{reach} {layer}",
                            "condition": condition, "arm": arm, "seed": seed, "kept_rank": CONDITIONS[condition],
                        }  # fmt: skip


def _answer(arm: str, label: str | None, gold: str, change: float) -> Row:
    is_open = gold == "paris"
    return {
        "label": label,
        "label_status": "unparsed" if label is None else "parsed",
        "text": label or "hm hm",
        "correct": label == gold,
        "forced_correct": None if is_open else float(label == gold),
        "log_likelihood_change": change,
        "right_log_likelihood_change": change / 2,
        "relative_change": {"plain": 0.0, "rank_matched": 0.2}.get(arm, 0.4),
        "fitted_on": "none" if arm == "plain" else "states edited below",
        **NOT_PROVEN,
        **(_PROOF if arm == "erased" else {}),
    }


def _probes(system: str) -> Iterator[Row]:
    for layer in LAYERS:
        for target, unit, score in (
            ("text", "1 - CER", 0.7 if layer >= 2 else 0.1),
            ("letters", "R2", 0.5 if layer >= 2 else -0.1),
            ("pitch", "R2", 0.6),
            ("energy", "R2", 0.8),
        ):
            yield {
                "system": system, "layer": layer, "target": target, "unit": unit, "score": score,
                "low": score - 0.05, "high": score + 0.05, "shuffled": 0.0, "random_model": 0.1,
                "input_features": 0.2, "selectivity": score, "n_groups": 32, "n_clips": 64, "n_frames": 900, "note": "",
            }  # fmt: skip


def _probe_scores(system: str) -> Iterator[Row]:
    for layer in LAYERS:
        for target in ("text", "pitch"):
            for number in range(4):
                yield {
                    "system": system, "layer": layer, "target": target, "clip_id": f"probed-{number}",
                    "score": 0.9 - 0.2 * number,
                }  # fmt: skip


def _damage(system: str) -> Iterator[Row]:
    for layer in LAYERS:
        for condition, rank in CONDITIONS.items():
            for target in ("energy", "pitch", "letters", "text"):
                if target == "text" and condition not in ("text", "acoustic"):
                    continue
                own = (condition == "acoustic") == (target in ("energy", "pitch"))
                yield {
                    "system": system, "layer": layer, "condition": condition, "target": target,
                    "unit": "1 - CER" if target == "text" else "R2",
                    "plain": 0.6, "plain_low": 0.55, "plain_high": 0.65,
                    "erased": 0.0 if own else 0.58, "low": -0.05 if own else 0.53, "high": 0.05 if own else 0.63,
                    "random": 0.59, "random_spread": 0.01, "n_seeds": 5, "kept_rank": rank,
                    "n_clips": 64, "n_frames": 900, "note": "",
                }  # fmt: skip
