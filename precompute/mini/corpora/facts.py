"""Statements of the mini world's facts, for the spoken-knowledge score: a prompt, its right end, a wrong end.

The facts are those that the trivia and commonsense lexicons ask about. Half of them are said aloud in training,
the other half can only be read; of each fact's three forms one is kept for the test, in every modality.
"""

from __future__ import annotations

import hashlib
import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "lexicon"
# Both lexicons list families, under different names.
_LISTS = {"trivia": ("family", "facts", "/"), "commonsense": ("pair", "concepts", "!")}


@dataclass(frozen=True)
class Fact:
    """One fact.

    Attributes:
        key: source, family and concept.
        category: source and family; a wrong end is another right end of the same category.
        forms: three beginnings of a statement; the answer follows.
        answer: the right end.
        wrong: the wrong end: drawn once, seeded, from the category's other answers.
        test_form: which form is kept for the test; the others are trained on.
        is_heard: whether training says its statements aloud; otherwise they occur as text alone.
    """

    key: str
    category: str
    forms: tuple[str, ...]
    answer: str
    wrong: str
    test_form: int
    is_heard: bool

    @property
    def prompt(self) -> str:
        """The beginning that no training text has."""
        return self.forms[self.test_form]

    @property
    def statements(self) -> tuple[str, ...]:
        """The statements for training."""
        return tuple(
            f"{form} {self.answer}" for number, form in enumerate(self.forms) if number != self.test_form
        )


def all_facts(seed: int) -> tuple[Fact, ...]:
    """Return every fact in the lexicon's order; the same seed draws the same forms, halves and wrong ends."""
    lexicons = {source: _read(source) for source in _LISTS}
    found: list[Fact] = []
    for row in _read("facts")["statement"]:
        listed, key, _ = _LISTS[row["source"]]
        family = next(one for one in lexicons[row["source"]][listed] if one["id"] == row["family"])
        found += _family(row, family[key], seed)
    return tuple(found)


def _family(row: dict[str, Any], entries: list[str], seed: int) -> Iterator[Fact]:
    read = [_entry(entry, _LISTS[row["source"]][2]) for entry in entries]
    answers = list(dict.fromkeys(answer for _, answer, _ in read))
    category = f"{row['source']} {row['family']}"
    for concept, answer, not_wrong in read:
        key = f"{category} {concept}"
        rng = random.Random(f"{seed}|{key}")
        forms = tuple(form.format(x=concept) for form in row["forms"])
        wrong = rng.choice([other for other in answers if other != answer and other not in not_wrong])
        yield Fact(key, category, forms, answer, wrong, rng.randrange(len(forms)), _half(key, seed))


def _entry(entry: str, mark: str) -> tuple[str, str, frozenset[str]]:
    """Return concept, answer and the answers that are not wrong either: aliases, or those kept from its side."""
    concept, answers = (part.strip() for part in entry.split("="))
    answer, _, others = answers.partition(mark)
    return concept, answer.strip(), frozenset(o.strip() for o in others.replace("/", ",").split(","))


def _half(key: str, seed: int) -> bool:
    return hashlib.sha256(f"{seed}|heard|{key}".encode()).digest()[0] % 2 == 0


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
