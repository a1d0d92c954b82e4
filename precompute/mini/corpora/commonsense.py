"""Spoken commonsense questions with five written choices, built from lexicon/commonsense.toml.

The corpus registry of the mini world calls `sentences`; the negated half of every class question
needs the word `not` or `never` to be heard.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from precompute.mini.sentence import Sentence

LEXICON = Path(__file__).resolve().parents[1] / "lexicon" / "commonsense.toml"
WRONG = 4
# How many choice sets each (concept, phrasing) gets; the negated share is set near a quarter.
PAIR_SETS = 2
CLASS_SETS = 3
SCALE_SETS = 3

# One draw gives the right choice and all five choices, unshuffled.
Draw = Callable[[random.Random], tuple[str, list[str]]]


def _words(text: str) -> list[str]:
    """Split a comma-separated lexicon field."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _items(
    text: str, group: str, hard: str, count: int, draw: Draw, rng: random.Random
) -> Iterator[Sentence]:
    """Yield up to `count` sentences of one question, no two with the same set of choices."""
    seen: set[frozenset[str]] = set()
    for _ in range(20 * count):
        label, choices = draw(rng)
        if frozenset(choices) in seen:
            continue
        seen.add(frozenset(choices))
        rng.shuffle(choices)
        yield Sentence("commonsense", text, label, group, tuple(choices), (), hard)
        if len(seen) == count:
            return


def _one_against(right: Sequence[str], wrong: Sequence[str]) -> Draw:
    """A draw of one choice from `right` beside four from `wrong`."""

    def draw(rng: random.Random) -> tuple[str, list[str]]:
        label = rng.choice(right)
        return label, [label, *rng.sample(wrong, WRONG)]

    return draw


def _from_tiers(tiers: Sequence[Sequence[str]], most: bool) -> Draw:
    """A draw of one choice from each of five tiers; the right one is from the outermost tier."""

    def draw(rng: random.Random) -> tuple[str, list[str]]:
        picked = sorted(rng.sample(range(len(tiers)), WRONG + 1), reverse=most)
        choices = [rng.choice(tiers[tier]) for tier in picked]
        return choices[0], choices

    return draw


def _pairs(relation: dict, rng: random.Random) -> Iterator[Sentence]:
    """Questions with one fixed answer; distractors are answers of the same relation."""
    rows = [tuple(part.strip() for part in row.split("=")) for row in relation["concepts"]]
    answers = sorted({row[1].split("!")[0].strip() for row in rows})
    for concept, rest in rows:
        label, _, barred = rest.partition("!")
        label = label.strip()
        wrong = [answer for answer in answers if answer != label and answer not in _words(barred)]
        for number, phrasing in enumerate(relation["phrasings"]):
            group = f"{relation['id']}|{concept}|{number}"
            yield from _items(
                phrasing.format(x=concept), group, "", PAIR_SETS, _one_against([label], wrong), rng
            )


def _classes(relation: dict, rng: random.Random) -> Iterator[Sentence]:
    """Questions about a property, asked plainly and negated over the same words."""
    for row in relation["concepts"]:
        concept, members = (part.strip() for part in row.split("="))
        inside, outside = (_words(side) for side in members.split("/"))
        plain, negated = _one_against(inside, outside), _one_against(outside, inside)
        for kind, draw, hard in (("positive", plain, ""), ("negative", negated, "negation")):
            for number, phrasing in enumerate(relation[kind]):
                # Both polarities share a group: a held-out negation must not be known from its plain twin.
                group = f"{relation['id']}|{concept}|{number}"
                yield from _items(phrasing.format(x=concept), group, hard, CLASS_SETS, draw, rng)


def _scales(scale: dict, phrasings: Sequence[str], rng: random.Random) -> Iterator[Sentence]:
    """Questions about the outermost of five things on one scale."""
    tiers = [_words(tier) for tier in scale["tiers"]]
    for kind in ("most", "least"):
        for number, phrasing in enumerate(phrasings):
            text = phrasing.format(x=scale[kind], n=scale["noun"])
            group = f"{scale['id']}|{scale[kind]}|{number}"
            yield from _items(text, group, "contrast", SCALE_SETS, _from_tiers(tiers, kind == "most"), rng)


def sentences(seed: int) -> list[Sentence]:
    """All commonsense items, in an order and with choices fixed by `seed`."""
    rng = random.Random(seed)
    lexicon = tomllib.loads(LEXICON.read_text(encoding="utf-8"))
    found: list[Sentence] = []
    for relation in lexicon["pair"]:
        found.extend(_pairs(relation, rng))
    for relation in lexicon["class"]:
        found.extend(_classes(relation, rng))
    for scale in lexicon["scale"]:
        found.extend(_scales(scale, lexicon["scale_phrasings"]["all"], rng))
    rng.shuffle(found)
    return found
