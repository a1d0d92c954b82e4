"""Held-out clips of the mini world: unseen sentences in unseen voices, rendered the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from engine.audio import AudioClip, clip_from_samples
from engine.words import SpokenWord
from precompute.mini.sentence import Sentence
from precompute.mini.synth import render
from precompute.mini.voices import Voice, draw_prosody
from precompute.mini.world import build_world

HELD_OUT_SEED = 31
TASKS = ("topic", "sentiment", "commonsense", "trivia", "emotion", "sarcasm", "speaker")


@dataclass(frozen=True)
class HeldOutItem:
    """One question about one unseen sentence; the voice is drawn when it is said."""

    item_id: str
    task: str
    sentence: Sentence
    prompt: str


def held_out_items(task: str, limit: int) -> list[HeldOutItem]:
    """Return up to `limit` items of a task from the test split, seeded; each text once (with its choices)."""
    world = build_world()
    sentences = [s for s in world.test if task in ("speaker", s.task) and s.task != "everyday"]
    random.Random(f"{HELD_OUT_SEED}|{task}").shuffle(sentences)
    items: dict[str, HeldOutItem] = {}
    for sentence in sentences:
        # Asked who speaks, a commonsense question is a text like any other: its choices are not shown.
        prompt = ", ".join(sentence.choices) if sentence.task == task else ""
        key = f"{task}|{sentence.text}|{prompt}"
        items.setdefault(key, HeldOutItem(key, task, sentence, prompt))
    return list(items.values())[:limit]


def say_item(item: HeldOutItem, voices: Sequence[Voice]) -> tuple[AudioClip, tuple[SpokenWord, ...], Voice]:
    """Say an item in one of these voices, drawn by the item's own seed."""
    rng = random.Random(f"{HELD_OUT_SEED}|{item.item_id}")
    voice = rng.choice(list(voices))
    feeling = item.sentence.label if item.sentence.task in ("emotion", "sarcasm") else ""
    rendering = render(item.sentence.text, voice, draw_prosody(rng, feeling))
    return clip_from_samples(rendering.samples, rendering.rate_hz, "held-out clip"), rendering.words, voice


def gold_of(item: HeldOutItem, voice: Voice) -> str:
    """Return the right answer: the voice's sex for the speaker task, else the sentence's label."""
    return voice.sex if item.task == "speaker" else item.sentence.label
