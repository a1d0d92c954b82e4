"""The latent transcript: does a layer hold the word being spoken, or the next one, and is it in text at all.

After "Interleaved Speech Language Models Latently Work In Text" (arXiv 2606.22473), whose full text was not at hand.
From accounts of it: the unembedding at every layer, logits max-pooled over a word's own positions, recall at k of
the current and of the next word. Ours: k = 1, 5, 10; the candidates; which positions are a word's own; the control.

    R(layer, k, d) = mean over words w of 1[some token of word w + d stands among the top k text tokens of
                     max over w's own positions of head(norm(state))] - the same for the words of a paired clip

d = 0 is the word being spoken, d = 1 the next. Only ranks and shares leave this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.lens import best_ranks, candidate_ids, unembed
from engine.result import SpokenWord
from engine.systems.base import WhiteBoxModel

CURRENT, NEXT = 0, 1
PAIRING_SEED = 53


@dataclass(frozen=True)
class TokenKinds:
    """Which ids of a vocabulary are text and which are speech units; others (modality tags) are neither.

    Attributes:
        text: ids of text tokens; the text model's special tokens are among them.
        units: ids of units; None for a model that hears through a continuous encoder: all its head is text.
    """

    text: range
    units: range | None


@dataclass(frozen=True)
class AskedWords:
    """What one clip's words are asked for, one entry a word; words that own no position are left out.

    Attributes:
        d: CURRENT or NEXT.
        spans: first position of the word's own and the one after the last.
        wanted: ids that the word asked for may begin with: with and without a leading space, cases folded.
        control: the same for the word at the same place of the paired clip.
    """

    d: int
    spans: tuple[tuple[int, int], ...]
    wanted: tuple[tuple[int, ...], ...]
    control: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ClipReading:
    """One clip at every layer, from the lowest.

    Attributes:
        ranks: d -> rank of the word asked for and of the control's, 1 for the top of the text tokens.
        text_share: mean over positions of the probability on text, of that on text and units; None without units.
    """

    ranks: Mapping[int, Int[np.ndarray, "layers two words"]]
    text_share: Float[np.ndarray, "layers"] | None  # noqa: F821 - jaxtyping axis name


def ask_words(
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    other: Sequence[str],
    d: int,
) -> AskedWords:
    """Return what is asked of a clip.

    A position belongs to every word that it overlaps in time. Asked for the next word, positions that the next word
    overlaps too are left out: what is heard there already would pass for a prediction.

    Args:
        tokenizer: of the model's text.
        words: of the clip, in order.
        spans: each word's positions, first and one after the last.
        other: words of the paired clip; fewer than the clip has are gone through again.
        d: CURRENT or NEXT.
    """
    asked = []
    for place in range(len(words) - d):
        start, stop = spans[place]
        if d == NEXT:
            stop = min(stop, spans[place + 1][0])
        wanted = candidate_ids(tokenizer, words[place + d].text)
        control = candidate_ids(tokenizer, other[(place + d) % len(other)])
        if start < stop and wanted and control:
            asked.append(((start, stop), wanted, control))
    spans_asked, all_wanted, all_control = zip(*asked, strict=True) if asked else ((), (), ())
    return AskedWords(d, spans_asked, all_wanted, all_control)


def pair_clips(groups: Sequence[str], seed: int = PAIRING_SEED) -> list[int]:
    """Return for each clip the clip whose words are its control: seeded, and never one of the same group.

    Raises:
        ValueError: all clips are of one group, so none has a control.
    """
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    partner = [0] * len(groups)
    for rank, clip in enumerate(order):
        later = (order[(rank + step) % len(order)] for step in range(1, len(order)))
        found = next((other for other in later if groups[other] != groups[clip]), None)
        if found is None:
            raise ValueError("all clips are of one group: none can be another's control")
        partner[clip] = found
    return partner


@torch.inference_mode()
def read_clip(
    system: WhiteBoxModel,
    states: Mapping[int, Float[Tensor, "positions d_model"]],
    kinds: TokenKinds,
    asked: Sequence[AskedWords],
) -> ClipReading:
    """Return ranks and text share at every layer of `states`, which are those at the clip's own positions."""
    ranks: dict[int, list[np.ndarray]] = {one.d: [] for one in asked}
    shares = []
    for layer in sorted(states):
        logits = unembed(system, states[layer])
        for one in asked:
            ranks[one.d].append(word_ranks(logits, kinds.text, one))
        if kinds.units is not None:
            shares.append(float(text_share(logits, kinds).mean()))
    return ClipReading(
        {d: np.stack(by_layer) for d, by_layer in ranks.items()}, np.array(shares) if shares else None
    )


def word_ranks(
    logits: Float[Tensor, "positions vocab"], text: range, asked: AskedWords
) -> Int[np.ndarray, "two words"]:
    """Return the best rank of each word's candidates, and of its control's, in the max over its own positions."""
    of_text = logits[:, text.start : text.stop]
    if not asked.spans:
        return np.zeros((2, 0), np.int32)
    pooled = torch.stack([of_text[start:stop].amax(0) for start, stop in asked.spans])
    return np.stack(
        [
            best_ranks(pooled, [[i - text.start for i in ids] for ids in candidates])
            for candidates in (asked.wanted, asked.control)
        ]
    )


def text_share(logits: Float[Tensor, "positions vocab"], kinds: TokenKinds) -> Float[Tensor, "positions"]:  # noqa: F821
    """Return the probability on text tokens over that on text and unit tokens, 0 to 1.

    Raises:
        ValueError: the vocabulary has no units.
    """
    if kinds.units is None:
        raise ValueError("without units there is no share of text")
    text, units = (logits[:, ids.start : ids.stop].float().logsumexp(-1) for ids in (kinds.text, kinds.units))
    return torch.sigmoid(text - units)


def hits_at(ranks: Int[np.ndarray, "..."], k: int) -> Int[np.ndarray, "..."]:
    """Return 1 where a word stands among the top k, else 0."""
    return (ranks <= k).astype(np.int64)
