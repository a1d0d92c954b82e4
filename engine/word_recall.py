"""How often a layer of the lens holds the word being spoken, or the one that follows, among its top tokens.

Word times are known, so a hit counts at the word's own place. The control asks for the words of other
transcripts at the same places (a mismatched-transcript control; the paper gives none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.concepts import overlapping
from engine.lens import best_ranks, candidate_ids, unembed
from engine.result import SpokenWord, even_ends
from engine.systems.base import WhiteBoxModel

TOPS = (1, 5, 10)


@dataclass(frozen=True)
class WordRanks:
    """Best rank of a word's candidate tokens at each layer and position; 0 where no word is asked for.

    Attributes:
        current: of the words being spoken.
        following: of the word after the last of them.
        control: of other transcripts' words in the same places, transcript by transcript.
    """

    current: Int[np.ndarray, "layers positions"]
    following: Int[np.ndarray, "layers positions"]
    control: Int[np.ndarray, "transcripts layers positions"]


@torch.inference_mode()
def rank_words(
    system: WhiteBoxModel,
    states: Mapping[int, Float[Tensor, "positions d_model"]],
    words: Sequence[SpokenWord],
    *,
    seconds_per_position: float,
    position_ends_s: Float[np.ndarray, "positions"] | None = None,  # noqa: F821 - jaxtyping axis name
    other_transcripts: Sequence[str],
) -> WordRanks:
    """Return the ranks at every layer, from the lowest.

    Args:
        system: the model the states come from.
        states: layer -> states at the audio positions.
        words: with their exact times.
        seconds_per_position: clock width of one position.
        position_ends_s: when each position ends, where they are not all of one width.
        other_transcripts: for the control; a short one is repeated until it is as long as the clip's words.
    """
    even = even_ends(len(states[min(states)]), seconds_per_position)
    spoken = overlapping(words, even if position_ends_s is None else position_ends_s)
    texts = [word.text for word in words]
    asked = [
        _wanted(system, texts, spoken),
        _wanted(system, [*texts[1:], ""], [here[-1:] for here in spoken]),
        *(_wanted(system, _as_long_as(other.split(), texts), spoken) for other in other_transcripts),
    ]
    by_layer = []
    for layer in sorted(states):
        log_probabilities = unembed(system, states[layer]).log_softmax(-1)
        by_layer.append(np.stack([best_ranks(log_probabilities, wanted) for wanted in asked]))
    ranks = np.stack(by_layer, axis=1)
    return WordRanks(ranks[0], ranks[1], ranks[2:])


def _wanted(system: WhiteBoxModel, texts: Sequence[str], places: Sequence[Sequence[int]]) -> list[list[int]]:
    ids = [candidate_ids(system.tokenizer, text) if text else () for text in texts]
    return [[i for word in here for i in ids[word]] for here in places]


def _as_long_as(other: Sequence[str], texts: Sequence[str]) -> list[str]:
    return [other[place % len(other)] for place in range(len(texts))]


def count_hits(ranks: Int[np.ndarray, "positions"]) -> tuple[int, ...]:  # noqa: F821 - jaxtyping axis name
    """Return the positions at which a word is asked for, then how many hold it among the top 1, 5 and 10."""
    asked = ranks > 0
    return (int(asked.sum()), *(int((asked & (ranks <= top)).sum()) for top in TOPS))
