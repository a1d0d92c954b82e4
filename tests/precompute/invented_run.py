"""A run without models: invented answers of four systems, for tests of everything that is counted from them.

The speech LLM "talker" makes the same mistakes as "twin" (its matched cascade) more often than as "other"
(a mismatched one with the same transcripts); "oracle" reads the true words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.tables import write_table
from engine.tasks import TASKS
from engine.words import normalise

KINDS = {"talker": "speech_llm", "twin": "cascade", "other": "cascade", "oracle": "text_llm"}
SHARED = {"talker": 0.6, "twin": 0.9, "other": 0.2, "oracle": 0.9}  # how often the backbone's mistake is made
CONDITIONS = (("clean", float("nan"), 0.0), ("babble", 5.0, 0.25))  # noise, ratio, added chance of an error
TALK = ("rain", "shop", "match", "train", "bank", "lamb", "film", "game", "phone", "storm", "road", "fish")
Row = dict[str, Any]


def kind_of(system: str) -> str:
    return KINDS[system]


def match(system_a: str, system_b: str) -> str:
    return "exact" if {system_a, system_b} == {"talker", "twin"} else "none"


def invent_run(
    folder: Path,
    *,
    tasks: Sequence[str] = ("topic", "sentiment", "commonsense", "trivia", "emotion"),
    n_items: int = 24,
    n_voices: int = 3,
    systems: Sequence[str] = tuple(KINDS),
    seed: int = 0,
) -> Path:
    """Write answers.parquet and clips.parquet into the folder, and return it."""
    rng = np.random.default_rng(seed)
    answers: list[Row] = []
    clips: list[Row] = []
    for task in tasks:
        for item in range(n_items):
            _invent_item(rng, task, item, n_voices, systems, answers, clips)
    write_table(answers, folder / "answers.parquet", "answers")
    write_table(clips, folder / "clips.parquet", "clips")
    return folder


def _invent_item(
    rng: np.random.Generator,
    task: str,
    item: int,
    n_voices: int,
    systems: Sequence[str],
    answers: list[Row],
    clips: list[Row],
) -> None:
    prompt = ", ".join(rng.permutation(TALK)[:5]) if task == "commonsense" else ""
    labels = prompt.split(", ") if prompt else list(TASKS[task].labels or TALK)
    gold = labels[item % len(labels)]
    hard = rng.random() < 0.4
    trap = str(rng.choice([label for label in labels if label != gold]))
    for voice in range(n_voices):
        for noise, snr_db, extra in CONDITIONS:
            clip = {
                "item_id": f"{task}-{item:03d}",
                "group": "",
                "clip_id": f"{task}-{item:03d}-{voice}-{noise}-{snr_db:g}",
                "task": task,
                "voice": f"voice {voice}",
                "noise": noise,
                "snr_db": snr_db,
                "gold": gold,
                "audio_s": 1.5,
            }
            reference = f"a line about {gold.lower()} number {item}"
            clips.append(
                clip
                | {"snr_db_achieved": snr_db, "prompt": prompt, "reference": reference}
                | {"seed": 0, "recipe": "{}", "flags": ""}
            )
            heard = reference.replace("line", "lime") if rng.random() < 0.3 else reference
            for system in systems:
                wrong = rng.random() < extra or (hard and rng.random() < SHARED[system])
                label = trap if wrong else gold
                answers.append(clip | answer(task, system, label, gold, labels, rng))
                answers[-1]["heard"] = {"speech_llm": "", "cascade": heard}.get(KINDS[system], reference)


def answer(task: str, system: str, label: str, gold: str, labels: list[str], rng: np.random.Generator) -> Row:
    """Return the columns of answers.parquet that a system fills; one in twenty has no label."""
    status = str(rng.choice(["parsed"] * 57 + ["unparsed", "refused", "empty"]))
    read = None if status != "parsed" else normalise(label) if task in ("trivia", "commonsense") else label
    forced = {} if task == "trivia" else {name: 1.0 / len(labels) for name in sorted(labels)}
    return {
        "system": system,
        "aliases": "",
        "label": read,
        "label_status": status,
        "reason": "",
        "text": label,
        "heard": "",
        "correct": read is not None and normalise(read) == normalise(gold),
        "forced_choice": json.dumps(forced, sort_keys=True),
        "forced_label": label if forced else None,
        "seconds": float(rng.random()),
    }
