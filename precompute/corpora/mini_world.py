"""The test items of the mini world: sentences and facts that no training saw, in a seeded order."""

from __future__ import annotations

import random

from precompute.corpora.item import Item, item_key, question_of
from precompute.mini.sentence import Sentence
from precompute.mini.world import build_world

ITEM_SEED = 31
WORDS_TASKS = ("topic", "sentiment", "commonsense", "trivia")
VOICE_TASKS = ("emotion", "sarcasm", "speaker")
TASKS = (*WORDS_TASKS, *VOICE_TASKS)


def count_items(task: str) -> int:
    """Return how many test items the world has for a task."""
    return len(_all_items(task))


def mini_items(task: str, limit: int) -> list[Item]:
    """Return up to `limit` items; a smaller limit gives the first ones of a greater.

    An emotional or sarcastic line stands in the world with two labels: that is two items of one group, for
    the voice differs. Asked who speaks, every text is one item, and each voice has its own right answer.
    """
    return _all_items(task)[:limit]


def _all_items(task: str) -> list[Item]:
    sentences = [s for s in build_world().test if task in ("speaker", s.task) and s.task != "everyday"]
    random.Random(f"benchmark|{ITEM_SEED}|{task}").shuffle(sentences)
    items: dict[str, Item] = {}
    for sentence in sentences:
        item = _item(task, sentence)
        items.setdefault(item.item_id, item)
    return list(items.values())


def _item(task: str, sentence: Sentence) -> Item:
    # Asked who speaks, a commonsense question is a text like any other: its choices are not shown.
    prompt = ", ".join(sentence.choices) if task == "commonsense" else ""
    feeling = sentence.label if task in ("emotion", "sarcasm") else ""
    return Item(
        item_id=item_key(task, sentence.text, prompt, feeling),
        task=task,
        text=sentence.text,
        prompt=prompt,
        gold="" if task == "speaker" else sentence.label,
        aliases=() if task == "speaker" else sentence.aliases,
        group=f"{sentence.task}|{sentence.group}",
        question=question_of(task, prompt),
        feeling=feeling,
    )
