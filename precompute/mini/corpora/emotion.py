"""Everyday lines whose words leave the emotion open: the voice has to say it by prosody.

The corpus builder of the mini world calls `sentences`; the lines stand in `lexicon/emotion.toml`.
"""

from __future__ import annotations

import random

from precompute.mini.corpora.linefill import fill_all, load_lexicon, trim
from precompute.mini.sentence import Sentence

LABELS = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")
OPEN = "open"
# Two labels are drawn per text without putting back: this weight makes the leaning label
# about 1.7 times as likely as chance, so words alone stay a weak cue.
LEANING_WEIGHT = 2.2
# More than needed, so that every option of a hole comes often enough before trimming.
LINES_PER_TEMPLATE = 32
TEXTS = 1400


def _two_labels(leaning: str, rng: random.Random) -> list[str]:
    weights = {label: LEANING_WEIGHT if label == leaning else 1.0 for label in LABELS}
    drawn: list[str] = []
    for _ in range(2):
        label = rng.choices(list(weights), list(weights.values()))[0]
        del weights[label]
        drawn.append(label)
    return drawn


def sentences(seed: int) -> list[Sentence]:
    """Every text twice, with two different labels, in one group."""
    rng = random.Random(seed)
    lexicon = load_lexicon("emotion")
    leaning_of = {template: leaning for leaning, lines in lexicon["lines"].items() for template in lines}
    unknown = set(leaning_of.values()) - {OPEN, *LABELS}
    if unknown:
        raise ValueError(f"lexicon/emotion.toml names unknown emotions: {sorted(unknown)}")
    lines = fill_all(leaning_of, lexicon["slots"], LINES_PER_TEMPLATE, rng)
    return [
        Sentence(task="emotion", text=line.text, label=label, group=line.text)
        for line in trim(lines, TEXTS, rng)
        for label in _two_labels(leaning_of[line.template], rng)
    ]
