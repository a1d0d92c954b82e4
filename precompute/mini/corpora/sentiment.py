"""Review sentences about films, food, hotels, books and phones, positive or negative.

The words and templates are in `precompute/mini/lexicon/sentiment.toml`; `world` calls this.
"""

from __future__ import annotations

from pathlib import Path

from precompute.mini.corpora.grammar import draw_corpus
from precompute.mini.sentence import Sentence

LEXICON = Path(__file__).parent.parent / "lexicon" / "sentiment.toml"


def sentences(seed: int) -> list[Sentence]:
    """All sentiment sentences of the mini world, the same for the same seed."""
    return draw_corpus("sentiment", LEXICON, seed)
