"""News-like sentences, each about World, Sports, Business or Sci/Tech.

The words and templates are in `precompute/mini/lexicon/topic.toml`; the corpus builder of the mini world calls this.
"""

from __future__ import annotations

from pathlib import Path

from precompute.mini.corpora.grammar import draw_corpus
from precompute.mini.sentence import Sentence

LEXICON = Path(__file__).parent.parent / "lexicon" / "topic.toml"


def sentences(seed: int) -> list[Sentence]:
    """All topic sentences of the mini world, the same for the same seed."""
    return draw_corpus("topic", LEXICON, seed)
