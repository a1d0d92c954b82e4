"""All sentences of the mini world and their split into train, validation and test.

The split is by sentence group and seeded; voices are split in `voices.py`. `write_split` puts the
decision on disk, so that any later run can be checked against it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from precompute.mini.corpora import commonsense, emotion, everyday, sarcasm, sentiment, topic, trivia
from precompute.mini.sentence import Sentence

WORLD_SEED = 20261120
TEST_SHARE = 0.12
VALIDATION_SHARE = 0.03

_CORPORA: dict[str, Callable[[int], list[Sentence]]] = {
    "topic": topic.sentences,
    "sentiment": sentiment.sentences,
    "commonsense": commonsense.sentences,
    "trivia": trivia.sentences,
    "emotion": emotion.sentences,
    "sarcasm": sarcasm.sentences,
    "everyday": everyday.sentences,
}


@dataclass(frozen=True)
class World:
    """The sentences of each split; no text and no group occurs in two of them."""

    train: tuple[Sentence, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]


@cache
def build_world(seed: int = WORLD_SEED) -> World:
    """Return the split world; the same seed gives the same world on every machine."""
    parts: dict[str, list[Sentence]] = {"train": [], "validation": [], "test": []}
    for task, sentences in _CORPORA.items():
        for sentence in sentences(seed):
            parts[_side(task, sentence.group, seed)].append(sentence)
    # Two groups may yield one text (a short line): it belongs to the strictest side that has it.
    test_texts = {sentence.text for sentence in parts["test"]}
    validation = [s for s in parts["validation"] if s.text not in test_texts]
    held_out = test_texts | {s.text for s in validation}
    train = [s for s in parts["train"] if s.text not in held_out]
    return World(tuple(train), tuple(validation), tuple(parts["test"]))


def _side(task: str, group: str, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}|{task}|{group}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def write_split(path: Path, seed: int = WORLD_SEED) -> None:
    """Write the held-out texts and the size of each split as JSON."""
    world = build_world(seed)
    digest = hashlib.sha256("\n".join(s.text for s in world.train).encode()).hexdigest()
    record = {
        "seed": seed,
        "counts": {side: _count_by_task(getattr(world, side)) for side in ("train", "validation", "test")},
        "train_sha256": digest,
        "test_texts": sorted({s.text for s in world.test}),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _count_by_task(sentences: tuple[Sentence, ...]) -> dict[str, int]:
    return {task: sum(s.task == task for s in sentences) for task in _CORPORA}
