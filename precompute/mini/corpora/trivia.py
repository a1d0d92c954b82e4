"""Spoken trivia questions with open answers, built from lexicon/trivia.toml.

The corpus registry of the mini world calls `sentences`; every fact is asked in several phrasings
that other facts share, so one misheard name changes the answer.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path

from precompute.mini.sentence import Sentence

LEXICON = Path(__file__).resolve().parents[1] / "lexicon" / "trivia.toml"
# Bounds on the words of a spoken question; shorter or longer pairings of name and phrasing are left out.
FEWEST_WORDS = 4
MOST_WORDS = 12
MOST_LETTERS = 70


def _speakable(text: str) -> bool:
    """Whether a question keeps to the length bounds of the mini world."""
    return FEWEST_WORDS <= len(text.split()) <= MOST_WORDS and len(text) <= MOST_LETTERS


def _family(family: dict) -> Iterator[Sentence]:
    """All questions of one family, facts by phrasings."""
    for fact in family["facts"]:
        name, answers = (part.strip() for part in fact.split("="))
        label, *aliases = (answer.strip() for answer in answers.split("/"))
        for number, phrasing in enumerate(family["phrasings"]):
            text = phrasing.format(x=name)
            if _speakable(text):
                group = f"{family['id']} {name}|{number}"
                yield Sentence("trivia", text, label, group, (), tuple(aliases))


def sentences(seed: int) -> list[Sentence]:
    """All trivia questions, in an order fixed by `seed`."""
    lexicon = tomllib.loads(LEXICON.read_text(encoding="utf-8"))
    found = [sentence for family in lexicon["family"] for sentence in _family(family)]
    random.Random(seed).shuffle(found)
    return found
