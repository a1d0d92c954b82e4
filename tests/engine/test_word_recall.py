"""Facts about recall: ranks against a slow reference, the next word one on, and hits counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generate import run_arms
from engine.lens import WordRanks, candidate_ids, count_hits, rank_words, unembed
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from engine.words import SpokenWord

WIDTH_S = 0.16
# 11 positions: "queen" owns 0 to 3, "market" 3 to 6, "bank" 7 to 10; the last has no word after it.
WORDS = (SpokenWord("queen", 0.0, 0.5), SpokenWord("market", 0.5, 1.1), SpokenWord("bank", 1.13, 1.76))
OTHERS = ("the rates", "scored goals match today")


@pytest.fixture(scope="module")
def states(ultravox: Ultravox, prepared: Prepared) -> dict[int, Tensor]:
    start, stop = prepared.span
    passed = run_arms(ultravox, prepared, record_layers=[0, 3], max_new_tokens=1)
    return {layer: recorded[0, start:stop] for layer, recorded in passed.states.items()}


@pytest.fixture(scope="module")
def ranks(ultravox: Ultravox, states: dict[int, Tensor]) -> WordRanks:
    return rank_words(ultravox, states, WORDS, seconds_per_position=WIDTH_S, other_transcripts=OTHERS)


def slow_rank(system: Ultravox, state: Tensor, word: str) -> int:
    """Sort the whole vocabulary and look the word's tokens up."""
    order = unembed(system, state[None])[0].argsort(descending=True).tolist()
    return 1 + min(order.index(i) for i in candidate_ids(system.tokenizer, word))


def test_ranks_are_those_of_the_sorted_vocabulary(
    ultravox: Ultravox, states: dict[int, Tensor], ranks: WordRanks
) -> None:
    for row, layer in enumerate((0, 3)):
        assert ranks.current[row, 1] == slow_rank(ultravox, states[layer][1], "queen")
        assert ranks.current[row, 9] == slow_rank(ultravox, states[layer][9], "bank")
        both = [slow_rank(ultravox, states[layer][3], word) for word in ("queen", "market")]
        assert ranks.current[row, 3] == min(both), "two words are heard there"
        assert ranks.following[row, 1] == slow_rank(ultravox, states[layer][1], "market")
        assert ranks.following[row, 3] == slow_rank(ultravox, states[layer][3], "bank"), (
            "after the last of them"
        )


def test_the_last_word_has_none_after_it(ranks: WordRanks) -> None:
    assert (ranks.current > 0).all()
    assert (ranks.following[:, :7] > 0).all() and (ranks.following[:, 8:] == 0).all()


def test_the_control_asks_for_other_words_in_the_same_places(
    ultravox: Ultravox, states: dict[int, Tensor], ranks: WordRanks
) -> None:
    """ "the rates" has two words for three: it begins again."""
    assert ranks.control.shape == (2, 2, 11)
    for transcript, place, word in ((0, 1, "the"), (0, 5, "rates"), (0, 9, "the"), (1, 9, "match")):
        assert ranks.control[transcript, 1, place] == slow_rank(ultravox, states[3][place], word)


def test_states_that_are_the_words_own_tokens_are_read_at_once(ultravox: Ultravox) -> None:
    """Planted: at each place a state whose logit for the word's token is the highest there is."""
    weight = ultravox.unembedding.weight.detach()
    spoken = [
        "queen",
        "queen",
        "queen",
        "market",
        "market",
        "market",
        "market",
        "bank",
        "bank",
        "bank",
        "bank",
    ]
    rows = []
    for word in spoken:
        directions = [weight[i] for i in candidate_ids(ultravox.tokenizer, word)]
        logits = [
            float(unembed(ultravox, d[None])[0].argmax() == i)
            for d, i in zip(directions, candidate_ids(ultravox.tokenizer, word), strict=True)
        ]
        rows.append(directions[int(np.argmax(logits))])
    found = rank_words(
        ultravox, {0: torch.stack(rows)}, WORDS, seconds_per_position=WIDTH_S, other_transcripts=OTHERS
    )
    asked, top_1, _, top_10 = count_hits(found.current[0])
    assert asked == 11 and top_1 >= 9 and top_10 >= top_1
    assert count_hits(found.control[0, 0])[1] < top_1


def test_hits_are_counted_where_a_word_is_asked_for() -> None:
    assert count_hits(np.array([0, 1, 4, 5, 6, 10, 11, 0])) == (6, 1, 3, 5)
    assert count_hits(np.zeros(3, int)) == (0, 0, 0, 0)
