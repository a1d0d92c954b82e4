"""Everyday sentences of any kind, without a label, to broaden the acoustic and language model.

The corpus builder of the mini world calls `sentences`; the lines stand in `lexicon/everyday.toml`.
"""

from __future__ import annotations

import random

from precompute.mini.corpora.linefill import fill_all, load_lexicon, trim
from precompute.mini.sentence import Sentence

# More than needed, so that every option of a hole comes often enough before trimming.
LINES_PER_TEMPLATE = 36
TEXTS = 3000


def sentences(seed: int) -> list[Sentence]:
    """Unlabelled sentences; a group is one template with one filling."""
    rng = random.Random(seed)
    lexicon = load_lexicon("everyday")
    lines = fill_all(lexicon["lines"], lexicon["slots"], LINES_PER_TEMPLATE, rng)
    return [
        Sentence(
            task="everyday",
            text=line.text,
            label="",
            group="|".join((line.template, *line.fills)),
        )
        for line in trim(lines, TEXTS, rng)
    ]
