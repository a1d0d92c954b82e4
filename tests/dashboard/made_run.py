"""A made-up results folder of several systems, tasks and noise levels: for tests and drawings only, never shipped.

Sentences, voices and recipes are those of a real run; the answers are drawn, seeded, so that systems on one
backbone share errors, a weak ear hears less, and babble costs the speech LLMs more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.tables import write_table
from engine.words import normalise
from precompute.clips import FULL_NOISE, Clip, spoken_clips
from precompute.corpora.mini_world import WORDS_TASKS, mini_items
from precompute.mini.voices import test_voices
from precompute.stages.assemble import clip_row
from precompute.stages.summary import summarize


@dataclass(frozen=True)
class MadeSystem:
    """A system that does not exist: `ear` is the share of clips heard right when clean."""

    key: str
    name: str
    kind: str
    backbone: str
    ear: float
    skill: float
    frailty: float  # accuracy lost at 0 dB of babble


SYSTEMS = (
    MadeSystem("mini-ultravox", "mini-Ultravox", "speech_llm", "mini-llama", 0.9, 0.9, 0.45),
    MadeSystem("made-audio", "Made-up Audio LLM", "speech_llm", "made-qwen", 0.86, 0.86, 0.5),
    MadeSystem("mini-cascade", "mini-Whisper -> mini-Llama", "cascade", "mini-llama", 0.93, 0.9, 0.25),
    MadeSystem("made-weak", "Weak ears -> mini-Llama", "cascade", "mini-llama", 0.75, 0.9, 0.4),
    MadeSystem("made-cascade", "mini-Whisper -> made-up Qwen", "cascade", "made-qwen", 0.93, 0.86, 0.25),
    MadeSystem("mini-llama", "mini-Llama, true transcript", "text_llm", "mini-llama", 1.0, 0.9, 0.0),
)
BY_KEY = {system.key: system for system in SYSTEMS}


def match(system_a: str, system_b: str) -> str:
    """Return "exact" for a speech LLM and a cascade on one made-up backbone."""
    one, other = BY_KEY[system_a], BY_KEY[system_b]
    alike = {one.kind, other.kind} == {"speech_llm", "cascade"} and one.backbone == other.backbone
    return "exact" if alike else "none"


def make_run(out: Path, *, n_items: int = 12, tasks: Sequence[str] = ("topic", "trivia", "emotion")) -> Path:
    """Write a whole results folder and return it; the same arguments give the same tables."""
    clips = list(_clips(tasks, n_items))
    out.mkdir(parents=True, exist_ok=True)
    write_table(
        [clip_row(clip, clip.condition.snr_db, 2.5) | {"flags": ""} for clip in clips],
        out / "clips.parquet",
        "clips",
    )
    write_table(
        [_answer_row(clip, one) for clip in clips for one in SYSTEMS], out / "answers.parquet", "answers"
    )
    record = {
        "hardware": "a made-up machine",
        "systems": {
            one.key: {"name": one.name, "kind": one.kind, "backbone": one.backbone, "peak_memory_mb": 180.0}
            for one in SYSTEMS
        },
    }
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    summarize(out, match=match, kind_of=lambda key: BY_KEY[key].kind)
    return out


def _clips(tasks: Sequence[str], n_items: int) -> Iterator[Clip]:
    voices = [voice for voice in test_voices() if voice.engine == "espeak"][:3]
    for task in tasks:
        noisy = 2 if task in WORDS_TASKS else 0
        yield from spoken_clips(mini_items(task, n_items), voices, noisy, FULL_NOISE)


def _answer_row(clip: Clip, system: MadeSystem) -> dict[str, Any]:
    heard_well = _heard_well(clip, system)
    label = _label(clip, system, heard_well)
    status = "parsed" if label is not None else "unparsed"
    right = label is not None and normalise(label) in {
        normalise(one) for one in (clip.gold, *clip.item.aliases)
    }
    labels = clip.item.question.labels
    forced = {
        one: round((0.7 if one == label else 0.3 / max(1, len(labels) - 1)), 4) for one in sorted(labels)
    }
    heard = "" if system.kind == "speech_llm" else clip.item.text if heard_well else _misheard(clip)
    return {
        "item_id": clip.item.item_id,
        "group": clip.item.group,
        "clip_id": clip.clip_id,
        "task": clip.item.task,
        "voice": clip.voice,
        "noise": clip.condition.noise,
        "snr_db": clip.condition.snr_db,
        "system": system.key,
        "gold": clip.gold,
        "aliases": "|".join(clip.item.aliases),
        "label": label,
        "label_status": status,
        "reason": "",
        "text": label or "hm",
        "heard": heard,
        "correct": right,
        "forced_choice": json.dumps(forced, sort_keys=True),
        "forced_label": max(forced, key=forced.__getitem__) if forced else None,
        "seconds": {"speech_llm": 0.11, "cascade": 0.16, "text_llm": 0.05}[system.kind],
        "audio_s": 2.5,
    }


def _heard_well(clip: Clip, system: MadeSystem) -> bool:
    if system.kind == "text_llm":
        return True
    loss = {"clean": 0.0, "white": 0.3, "room": 0.5}.get(clip.condition.noise)
    if loss is None:
        loss = 1.0 - (clip.condition.snr_db or 0.0) / 20
    ear = system.ear - system.frailty * loss - (0.3 if clip.item.question.task.needs_voice else 0.0)
    return random.Random(f"ear|{clip.item.item_id}|{clip.voice}|{clip.condition.noise}").random() < ear


def _label(clip: Clip, system: MadeSystem, heard_well: bool) -> str | None:
    """Return the backbone's own answer to what was heard: systems on one backbone err alike."""
    draw = random.Random(f"{system.backbone}|{clip.item.item_id}|{heard_well}")
    others = [
        one for one in clip.item.question.labels or ("red", "seven", "paris", "1066") if one != clip.gold
    ]
    if draw.random() < (system.skill if heard_well else 0.25):
        return clip.gold
    own = random.Random(f"{system.key}|{clip.clip_id}").random()
    if own < 0.06:
        return None
    return draw.choice(others) if own < 0.85 else others[-1]


def _misheard(clip: Clip) -> str:
    words = clip.item.text.split()
    return " ".join([*words[:-1], "something"])
