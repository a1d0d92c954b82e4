"""Fills line templates evenly, for the corpora that are lists of short spoken lines.

Called by `emotion`, `sarcasm` and `everyday`; the templates stand in `precompute/mini/lexicon`.
A hole is `{name}` for a list of the lexicon, or `{this|that}` for options written in place.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEXICON = Path(__file__).resolve().parent.parent / "lexicon"
MIN_WORD_COUNT = 5
MAX_CHARS = 72
MIN_WORDS, MAX_WORDS = 3, 13

_HOLE = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Line:
    """One filled template: its text, the template and what went into each hole, in order."""

    text: str
    template: str
    fills: tuple[str, ...]


def load_lexicon(name: str) -> dict[str, Any]:
    """Reads one lexicon file by its stem."""
    with (LEXICON / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)


def _options(hole: str, slots: Mapping[str, Sequence[str]]) -> Sequence[str]:
    return hole.split("|") if "|" in hole else slots[hole]


def _cycle(options: Sequence[str], length: int, rng: random.Random) -> list[str]:
    """A shuffled run in which every option comes equally often, so that no word stays rare."""
    run: list[str] = []
    while len(run) < length:
        run.extend(rng.sample(options, len(options)))
    return run[:length]


def _filled(template: str, fills: Sequence[str]) -> str:
    values = iter(fills)
    # An empty option leaves two spaces; joining the words again closes the gap.
    return " ".join(_HOLE.sub(lambda _: next(values), template).split())


def fill(template: str, slots: Mapping[str, Sequence[str]], count: int, rng: random.Random) -> list[Line]:
    """Up to `count` different lines of one template; fewer where it has fewer."""
    holes = _HOLE.findall(template)
    # Some tries repeat a line, more so where holes have few options; eight-fold is plenty.
    tries = 8 * count
    columns = [_cycle(_options(hole, slots), tries, rng) for hole in holes]
    lines: dict[str, Line] = {}
    for row in range(tries if holes else 1):
        fills = tuple(column[row] for column in columns)
        text = _filled(template, fills)
        if len(text) <= MAX_CHARS and MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            lines.setdefault(text, Line(text, template, fills))
        if len(lines) == count:
            break
    return list(lines.values())


def fill_all(
    templates: Iterable[str],
    slots: Mapping[str, Sequence[str]],
    count: int,
    rng: random.Random,
) -> list[Line]:
    """The lines of all templates, each text once, without those that hold a rare word."""
    lines: dict[str, Line] = {}
    for template in templates:
        for line in fill(template, slots, count, rng):
            lines.setdefault(line.text, line)
    return drop_rare(list(lines.values()))


def drop_rare(lines: list[Line]) -> list[Line]:
    """Drops lines with a word that fewer than MIN_WORD_COUNT lines hold, until none is left."""
    while True:
        counts = Counter(word for line in lines for word in set(line.text.split()))
        kept = [line for line in lines if all(counts[word] >= MIN_WORD_COUNT for word in line.text.split())]
        if len(kept) == len(lines):
            return kept
        lines = kept


def trim(lines: list[Line], target: int, rng: random.Random) -> list[Line]:
    """Takes lines out at random down to `target`, but none that a word needs to stay common."""
    counts = Counter(word for line in lines for word in set(line.text.split()))
    dropped: set[str] = set()
    for line in rng.sample(lines, len(lines)):
        if len(lines) - len(dropped) <= target:
            break
        words = set(line.text.split())
        if all(counts[word] > MIN_WORD_COUNT for word in words):
            counts.subtract(words)
            dropped.add(line.text)
    return [line for line in lines if line.text not in dropped]
