"""What the interleaved minis read: documents of text, of units, or of spans of both that switch between words.

After slamkit's interleaving (commit 388b402): a tag says which modality follows, at the start and at each switch;
spans have Poisson lengths in words. Its mean of ten is for audio books; ours are single sentences.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.systems.unit_lm import extend_vocabulary, merge_repeats
from precompute.mini.corpora.facts import Fact
from precompute.mini.unit_speech import UnitClip

MEAN_SPAN_WORDS = 3.0
FACT_SHARE = 0.2
ROWS, ROW_TOKENS = 8, 256


@dataclass(frozen=True)
class Mixture:
    """Shares of the documents by kind; they add up to 1."""

    interleaved: float
    speech: float
    text: float


INTERLEAVED = Mixture(interleaved=0.5, speech=0.25, text=0.25)
SPEECH_ONLY = Mixture(interleaved=0.0, speech=1.0, text=0.0)


class Vocabulary:
    """Text tokens and units under the ids that the adapter gives them too.

    Attributes:
        tokenizer: of the text model, extended here.
        base: id of the first unit.
        size: ids in all.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, n_units: int) -> None:
        self.tokenizer = tokenizer
        self.base = extend_vocabulary(tokenizer, n_units)
        self.size = self.base + n_units + 2
        self._speech, self._text = self.size - 2, self.size - 1
        self._end = int(tokenizer.eos_token_id)

    def text_span(self, words: Sequence[str]) -> list[int]:
        """Return the text tag and the words."""
        return [self._text, *self.tokenizer.encode(" ".join(words), add_special_tokens=False)]

    def speech_span(self, clip: UnitClip, first: int, stop: int) -> list[int]:
        """Return the speech tag and the units of the words from `first` to before `stop`, repeats merged."""
        bounds = (*clip.word_starts, len(clip.frames))
        units = merge_repeats(clip.frames[bounds[first] : bounds[stop]]).ids
        return [self._speech, *(self.base + units).tolist()]

    def text(self, text: str) -> list[int]:
        """Return a document of text alone."""
        return [*self.text_span(text.split()), self._end]

    def speech(self, clip: UnitClip) -> list[int]:
        """Return a document of units alone."""
        return [*self.speech_span(clip, 0, len(clip.word_starts)), self._end]

    def interleaved(self, clip: UnitClip, rng: random.Random) -> list[int]:
        """Return a document whose spans switch between text and units; which comes first is drawn."""
        words = clip.text.split()
        document: list[int] = []
        spoken = rng.random() < 0.5
        for first, stop in pairwise(draw_borders(len(words), rng)):
            document += self.speech_span(clip, first, stop) if spoken else self.text_span(words[first:stop])
            spoken = not spoken
        return [*document, self._end]


def draw_borders(n_words: int, rng: random.Random) -> list[int]:
    """Return where spans begin, and the end: Poisson lengths with a mean of three words, none empty."""
    borders = [0]
    generator = np.random.default_rng(rng.getrandbits(32))
    while borders[-1] < n_words:
        borders.append(min(n_words, borders[-1] + max(1, int(generator.poisson(MEAN_SPAN_WORDS)))))
    return borders


class DocumentSource:
    """Draws documents and packs them into rows of one length; holds no state between batches.

    Facts that are only read occur as text documents; those that are heard in every kind.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        clips: Sequence[UnitClip],
        facts: Sequence[Fact],
        mixture: Mixture,
    ) -> None:
        statements = {statement for fact in facts for statement in fact.statements}
        self._vocabulary = vocabulary
        self._mixture = mixture
        self._said = [clip for clip in clips if clip.text not in statements]
        self._said_facts = [clip for clip in clips if clip.text in statements]
        self._texts = list(dict.fromkeys(clip.text for clip in self._said))
        self._fact_texts = sorted(statements)

    def document(self, rng: random.Random) -> list[int]:
        """Return one document as ids."""
        kind = rng.random()
        is_fact = rng.random() < FACT_SHARE
        if kind < self._mixture.text:
            return self._vocabulary.text(rng.choice(self._fact_texts if is_fact else self._texts))
        clip = rng.choice(self._said_facts if is_fact and self._said_facts else self._said)
        if kind < self._mixture.text + self._mixture.speech:
            return self._vocabulary.speech(clip)
        return self._vocabulary.interleaved(clip, rng)

    def batch(
        self, rng: random.Random, rows: int = ROWS, width: int = ROW_TOKENS
    ) -> Int[Tensor, "rows width"]:
        """Return rows that begin with a document and are filled with others; the last is cut off."""
        return torch.tensor([self._row(width, rng) for _ in range(rows)])

    def _row(self, width: int, rng: random.Random) -> list[int]:
        row: list[int] = []
        while len(row) < width:
            row += self.document(rng)
        return row[:width]
