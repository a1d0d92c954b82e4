"""Scores of one system beside accuracy: macro-F1, the baseline that needs no ears, word errors; folds to score on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int

# British to American words, one JSON object: openai/whisper's `whisper/normalizers/english.json` (MIT, Copyright (c)
# 2022 OpenAI; as packed in whisper-normalizer 0.1.15). transformers has the normaliser and leaves this table out.
SPELLINGS = Path(__file__).resolve().parents[2] / "assets" / "text" / "english_spellings.json"
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")


def assign_folds(keys: Sequence[Hashable], n_folds: int, *, seed: int) -> Int[np.ndarray, "clips"]:  # noqa: F821 - jaxtyping axis name
    """Return a fold for each clip; equal keys share one, and folds hold nearly equally many keys."""
    known = list(dict.fromkeys(keys))
    order = np.random.default_rng(seed).permutation(len(known))
    fold_of = {known[place]: rank % n_folds for rank, place in enumerate(order)}
    return np.array([fold_of[key] for key in keys], dtype=np.int64)


def macro_f1(golds: Sequence[str], answers: Sequence[str | None]) -> float:
    """Return the unweighted mean of F1 over the right answers that occur, in [0, 1]; NaN without clips.

    None is an answer without a label: it is a miss of the right answer and a false alarm of none. A label
    that is never the right answer has no F1 of its own; it lowers that of the answers it was given for.
    """
    hits = Counter(gold for gold, answer in zip(golds, answers, strict=True) if gold == answer)
    asked, given = Counter(golds), Counter(answers)
    scores = [2 * hits[label] / (asked[label] + given[label]) for label in asked]
    return math.fsum(scores) / len(scores) if scores else math.nan


def majority_baseline(golds: Sequence[str]) -> float:
    """Return the accuracy of always giving the commonest right answer; NaN without clips."""
    return max(Counter(golds).values()) / len(golds) if golds else math.nan


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Return word errors over words said, 0 or more and above 1 where much is made up; NaN where no word is said.

    Over several clips, errors and words are summed first (`pooled_word_error_rate`); a mean of rates is another figure.
    """
    return pooled_word_error_rate([reference], [hypothesis])


def pooled_word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return all word errors over all words said; NaN where no word is said. Texts and rules as of `word_errors`."""
    counted = [word_errors(*pair) for pair in zip(references, hypotheses, strict=True)]
    n_words = sum(words for _, words in counted)
    return sum(errors for errors, _ in counted) / n_words if n_words else math.nan


@lru_cache(maxsize=100_000)
def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Return (substitutions, deletions and insertions; words said) of an English transcript.

    Both texts go through Whisper's English normaliser first, as is the custom (Radford et al. 2022, appendix C):
    "fifty" is "50", "don't" is "do not", "colour" is "color"; case, punctuation, accents, "um" and what stands in
    brackets count for nothing. A reference without a word gives (0, 0), whatever was heard: there is nothing to
    score it by. The alignment is jiwer's, of least edit distance over words.

    Args:
        reference: what was said, as it is written; "" where it is not known.
        hypothesis: what was heard.
    """
    normalise = _whisper_normaliser()
    said, heard = normalise(reference), normalise(hypothesis)
    n_words = len(said.split())
    if not n_words or said == heard:
        return 0, n_words
    if not heard:
        return n_words, n_words
    import jiwer

    counted = jiwer.process_words(said, heard)
    return counted.substitutions + counted.deletions + counted.insertions, n_words


@cache
def _whisper_normaliser() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normaliser = EnglishTextNormalizer(json.loads(SPELLINGS.read_text(encoding="utf-8")))
    # The library leaves typographic apostrophes alone, and its contractions would not be found.
    return lambda text: " ".join(normaliser(text.translate(_APOSTROPHES)).split())
