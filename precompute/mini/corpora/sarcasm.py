"""Lines that can be meant or be sarcastic: only the voice tells which.

The corpus builder of the mini world calls `sentences`; the lines stand in `lexicon/sarcasm.toml`.
"""

from __future__ import annotations

import random

from precompute.mini.corpora.linefill import fill_all, load_lexicon, trim
from precompute.mini.sentence import Sentence

LABELS = ("sarcastic", "sincere")
# More than needed, so that every option of a hole comes often enough before trimming.
LINES_PER_TEMPLATE = 32
TEXTS = 1200


def sentences(seed: int) -> list[Sentence]:
    """Every text once with each label, in one group, so words alone tell nothing."""
    rng = random.Random(seed)
    lexicon = load_lexicon("sarcasm")
    lines = fill_all(lexicon["lines"], lexicon["slots"], LINES_PER_TEMPLATE, rng)
    return [
        Sentence(task="sarcasm", text=line.text, label=label, group=line.text)
        for line in trim(lines, TEXTS, rng)
        for label in LABELS
    ]
