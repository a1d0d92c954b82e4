"""Fills `{slot}` patterns and draws labelled sentences from banks of them.

The corpora of the mini world call this with what they read from `precompute/mini/lexicon`.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from precompute.mini.sentence import Sentence

MAX_CHARS = 72
MIN_WORDS, MAX_WORDS = 4, 13
# A template that gives nothing new in this many draws is taken to be used up.
MAX_MISSES = 40

_SLOT = re.compile(r"\{([a-z_]+)(?:\.\d)?\}")
_ARTICLE = re.compile(r"\ba (?=[aeiou])(?!use|uni|one|euro)")


def expand(
    template: str, slots: Mapping[str, Sequence[str]], rng: random.Random
) -> tuple[str, dict[str, str]]:
    """Fill every `{slot}` of a template; `{slot.2}` is a further, different filler of the same list.

    A filler may hold slots itself. "a" becomes "an" before a vowel.

    Returns:
        The filled text, and the filler of each slot of the template under its name as written.
    """
    chosen: dict[str, str] = {}
    used: dict[str, set[str]] = {}

    def fill(match: re.Match[str]) -> str:
        written, name = match.group(0)[1:-1], match.group(1)
        taken = used.setdefault(name, set())
        pick = rng.choice([filler for filler in slots[name] if filler not in taken])
        taken.add(pick)
        chosen[written] = expand(pick, slots, rng)[0] if "{" in pick else pick
        return chosen[written]

    return _ARTICLE.sub("an ", _SLOT.sub(fill, template)), chosen


def _fits(text: str) -> bool:
    return len(text) <= MAX_CHARS and MIN_WORDS <= len(text.split()) <= MAX_WORDS


def _draw_bank(
    task: str,
    bank: Mapping[str, object],
    templates: Sequence[str],
    slots: Mapping[str, Sequence[str]],
    seen: set[str],
    rng: random.Random,
) -> list[Sentence]:
    """Draw the bank's count of new sentences, the templates taking turns."""
    label, hard, count = str(bank["label"]), str(bank["hard"]), int(str(bank["count"]))
    misses = dict.fromkeys(range(len(templates)), 0)
    drawn: list[Sentence] = []
    while len(drawn) < count:
        open_templates = [number for number, missed in misses.items() if missed < MAX_MISSES]
        if not open_templates:
            raise ValueError(
                f"{task} {label} {hard or 'plain'}: only {len(drawn)} of {count} sentences exist"
            )
        for number in open_templates:
            text, chosen = expand(templates[number], slots, rng)
            if text in seen or not _fits(text) or len(drawn) == count:
                misses[number] += 1
                continue
            misses[number] = 0
            seen.add(text)
            # Two slots name the group: what is held out is a new pair in a template that was seen.
            group = ":".join([task, label, hard or "plain", str(number), *list(chosen.values())[:2]])
            drawn.append(Sentence(task=task, text=text, label=label, group=group, hard=hard))
    return drawn


def draw_corpus(task: str, lexicon: Path, seed: int) -> list[Sentence]:
    """Draw all banks of a lexicon file (tables `slots`, `shared` and `bank`) and shuffle them.

    A bank has its own `templates`, or names a shared list with `use`; its own `slots` go before the common ones.
    """
    data = tomllib.loads(lexicon.read_text(encoding="utf-8"))
    rng = random.Random(seed)
    seen: set[str] = set()
    corpus: list[Sentence] = []
    for bank in data["bank"]:
        templates = bank["templates"] if "templates" in bank else data["shared"][bank["use"]]
        corpus += _draw_bank(task, bank, templates, {**data["slots"], **bank.get("slots", {})}, seen, rng)
    rng.shuffle(corpus)
    return corpus
