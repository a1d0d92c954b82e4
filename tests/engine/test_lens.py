"""The lens against the model's own logits, slow references for ranks, and precision by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generate import run_arms
from engine.hooks import recording
from engine.lens import (
    TOP_K,
    as_varied_as,
    candidate_ids,
    lens_text,
    read_lens,
    set_precision,
    split_tokens,
    token_precision,
    top_tokens,
    track,
    unembed,
)
from engine.results import LensReadout
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from engine.words import SpokenWord

WIDTH_S = 0.16
WORDS = (SpokenWord("queen", 0.0, 0.5), SpokenWord("Market", 0.5, 1.2))
OTHERS = ("the bank raised its rates", "which word is the last one")


@pytest.fixture(scope="module")
def states(ultravox: Ultravox, prepared: Prepared) -> dict[int, Tensor]:
    """Recorded states at the 11 audio positions."""
    start, stop = prepared.span
    passed = run_arms(ultravox, prepared, record_layers=[0, 1, 2, 3], max_new_tokens=1)
    return {layer: recorded[0, start:stop] for layer, recorded in passed.states.items()}


def read(
    system: Ultravox,
    states: dict[int, Tensor],
    words: tuple[SpokenWord, ...] = WORDS,
    others: tuple[str, ...] = OTHERS,
) -> LensReadout:
    return read_lens(
        system,
        states,
        seconds_per_position=WIDTH_S,
        words=words,
        words_from="reference",
        other_transcripts=others,
    )


@pytest.fixture(scope="module")
def readout(ultravox: Ultravox, states: dict[int, Tensor]) -> LensReadout:
    return read(ultravox, states)


def states_that_read(system: Ultravox, tokens: list[str]) -> Tensor:
    """States whose top token is the one given, found by undoing the norm's weights (a positive control)."""
    ids = [candidate_ids(system.tokenizer, token)[0] for token in tokens]
    head, norm = system.unembedding.get_parameter("weight"), system.final_norm.get_parameter("weight")
    gram = head.T @ head + 1e-3 * torch.eye(head.shape[1])
    return torch.linalg.solve(gram, head[ids].T).T / norm


@torch.inference_mode()
def test_unembedding_the_last_layer_gives_the_models_logits(ultravox: Ultravox, prepared: Prepared) -> None:
    with recording(ultravox.decoder_layers, [2, 3]) as recorded:
        logits = ultravox.language_model(inputs_embeds=prepared.embeddings).logits[0]
    torch.testing.assert_close(unembed(ultravox, recorded[3][0]), logits, atol=1e-4, rtol=1e-4)
    assert (unembed(ultravox, recorded[2][0]) - logits).abs().max() > 0.1


def test_top_tokens_probabilities_and_entropy_are_those_of_a_plain_softmax(
    ultravox: Ultravox, states: dict[int, Tensor], readout: LensReadout
) -> None:
    assert readout.layers == (0, 1, 2, 3) and readout.top_ids.shape == (4, 11, TOP_K)
    for index, layer in enumerate(readout.layers):
        shares = unembed(ultravox, states[layer]).double().softmax(-1).numpy()
        for position in range(11):
            order = np.argsort(-shares[position], kind="stable")[:TOP_K]
            np.testing.assert_allclose(
                readout.top_probabilities[index, position], shares[position][order], rtol=1e-4
            )
            assert readout.top_ids[index, position, 0] == order[0]
            entropy = -(shares[position] * np.log(shares[position])).sum()
            assert readout.entropy_nats[index, position] == pytest.approx(entropy, rel=1e-4)


def test_every_token_shown_has_its_text(ultravox: Ultravox, readout: LensReadout) -> None:
    assert set(readout.token_text) == {int(i) for i in np.unique(readout.top_ids)}
    assert all(ultravox.tokenizer.decode([i]) == text for i, text in readout.token_text.items())


def test_word_ranks_equal_a_slow_count(
    ultravox: Ultravox, states: dict[int, Tensor], readout: LensReadout
) -> None:
    """0 where nothing is spoken, else 1 + the number of tokens above the best candidate."""
    for index, layer in enumerate(readout.layers):
        logits = unembed(ultravox, states[layer]).numpy()
        for position, here in enumerate(readout.spoken):
            wanted = {i for w in here for i in candidate_ids(ultravox.tokenizer, WORDS[w].text)}
            best = max((logits[position, i] for i in wanted), default=None)
            slow = 0 if best is None else 1 + sum(value > best for value in logits[position].tolist())
            assert readout.word_rank[index, position] == slow
    assert readout.spoken[3] == (0, 1) and readout.spoken[10] == ()
    assert readout.word_rank[:, 10].tolist() == [0] * 4 and (readout.word_rank[:, :8] > 0).all()


def test_states_made_to_read_the_words_reach_rank_1_and_full_precision(ultravox: Ultravox) -> None:
    planted = states_that_read(ultravox, ["queen"] * 3 + ["market"] * 4)
    readout = read(ultravox, {1: planted}, (SpokenWord("queen", 0.0, 0.48), SpokenWord("market", 0.48, 1.12)))
    assert readout.word_rank[0].tolist() == [1] * 7
    assert readout.precision == (1.0,) and readout.control == (0.0,)
    assert lens_text(readout, 1).split() == ["queen", "market"]


def test_the_control_is_the_mean_over_the_other_transcripts_and_not_the_own(ultravox: Ultravox) -> None:
    """Two distinct tokens are said, so each control has two: the bank; last bank; bank the."""
    planted = {1: states_that_read(ultravox, ["queen", "bank", "bank", "last"])}
    words = (SpokenWord("queen", 0.0, 0.6), SpokenWord("market", 0.6, 1.2))
    readout = read(ultravox, planted, words, ("the bank the last", "last bank which", "bank"))
    assert readout.set_precision == pytest.approx((1 / 4,))
    assert (
        readout.set_control == pytest.approx(((2 / 4 + 3 / 4 + 2 / 4) / 3,)) and readout.n_control_clips == 3
    )
    assert readout.precision == pytest.approx((1 / 3,))
    assert readout.control == pytest.approx(((1 / 3 + 2 / 3 + 1 / 3) / 3,))
    own = read(ultravox, planted, words, ("queen market",))
    assert own.control == own.precision and own.set_control == own.set_precision


def test_a_control_has_as_many_distinct_tokens_as_the_clip() -> None:
    others = [["a", "b", "a"], ["c", "d"], ["e"]]
    assert as_varied_as(["x", "y"], others, 0) == ["a", "b", "a"]
    assert as_varied_as(["x", "y", "x", "z"], others, 1) == ["c", "d", "e"]
    assert as_varied_as(["v", "w", "x", "y", "z"], others, 2) == ["e", "a", "b", "a", "c", "d"]
    assert as_varied_as(list("uvwxyz"), others, 0) is None, "there are five distinct ones"
    assert as_varied_as([], others, 0) == []


@pytest.mark.parametrize("said", [0.0, 0.3])
def test_a_long_clips_excess_is_what_was_planted_and_no_gift_of_its_length(said: float) -> None:
    """A reader names a word of the clip with probability `said`, else any of 300 words at random.

    Of a 60-word clip a fifth of the random words are true by chance, of one sentence of 8 words a fortieth: against
    single sentences the excess was .17 where nothing is read.
    """
    rng = np.random.default_rng(5)
    vocabulary = [f"w{n}" for n in range(300)]
    clip = rng.choice(vocabulary, 60, replace=False).tolist()
    others = [rng.choice(vocabulary, 8).tolist() for _ in range(40)]
    tokens = [str(rng.choice(clip if rng.random() < said else vocabulary)) for _ in range(4000)]
    bags = [as_varied_as(clip, others, first) for first in range(len(others))]
    control = float(np.mean([set_precision(tokens, bag) for bag in bags if bag]))
    share = 60 / 300
    assert set_precision(tokens, clip) - control == pytest.approx(said * (1 - share), abs=0.03)
    short = float(np.mean([set_precision(tokens, other) for other in others]))
    assert set_precision(tokens, clip) - short > said * (1 - share) + 0.1, (
        "single sentences flatter a long clip"
    )


def test_a_layer_where_one_token_holds_most_positions_is_called_degenerate(ultravox: Ultravox) -> None:
    mostly = states_that_read(ultravox, ["queen", "queen", "queen", "bank"])
    half = states_that_read(ultravox, ["queen", "queen", "bank", "rates"])
    assert read(ultravox, {0: mostly, 1: half}).degenerate_layers == (0,)


def test_lens_text_merges_runs_and_leaves_out_tokens_without_letters(ultravox: Ultravox) -> None:
    tokens = ["queen", "queen", ",", "bank", "bank", "queen"]
    assert lens_text(read(ultravox, {2: states_that_read(ultravox, tokens)}), 2).split() == [
        "queen",
        "bank",
        "queen",
    ]


@pytest.mark.parametrize(
    ("read_tokens", "transcript", "precision"),
    [
        ([" the", " Queen"], ["the", "queen"], 1.0),
        ([" the", " bank"], ["the", "queen"], 0.5),
        ([" bank"], ["the", "queen"], 0.0),
        ([" the", " the", " the"], ["the"], 1.0),
        ([" the", " bank", " the"], ["the"], (2 / 3, 1 / 3)),
        ([" the", " bank", " the"], ["the", "the"], 2 / 3),
        ([" the", " the", " bank"], ["the"], (2 / 3, 1 / 2)),
        ([" the", ".", " queen"], ["the", "queen"], 1.0),
        ([" the", "<|end|>", ",", " queen!"], ["queen"], 0.5),
        ([" the"], [], 0.0),
    ],
)
def test_precision_by_hand(
    read_tokens: list[str], transcript: list[str], precision: float | tuple[float, float]
) -> None:
    """The paper's, then that of multisets, where they differ."""
    papers, multiset = precision if isinstance(precision, tuple) else (precision, precision)
    assert set_precision(read_tokens, transcript) == pytest.approx(papers)
    assert token_precision(read_tokens, transcript) == pytest.approx(multiset)


@pytest.mark.parametrize("nothing", [[], [".", " ", "<|end|>"]])
def test_precision_of_nothing_is_not_a_number(nothing: list[str]) -> None:
    assert math.isnan(token_precision(nothing, ["the"])) and math.isnan(set_precision(nothing, ["the"]))


def test_candidates_are_single_tokens_that_begin_the_word(ultravox: Ultravox) -> None:
    for word in ("queen", "Market", "zebra"):
        ids = candidate_ids(ultravox.tokenizer, word)
        texts = [str(ultravox.tokenizer.decode([i])).strip().lower() for i in ids]
        assert ids and len(set(ids)) == len(ids)
        assert all(text and word.lower().startswith(text) for text in texts)
    whole = ultravox.tokenizer.encode(" queen", add_special_tokens=False)
    assert len(whole) == 1 and whole[0] in candidate_ids(ultravox.tokenizer, "Queen")
    assert candidate_ids(ultravox.tokenizer, " ") == ()


def test_a_transcripts_tokens_are_lower_case_and_hold_no_punctuation(ultravox: Ultravox) -> None:
    assert split_tokens(ultravox.tokenizer, "The Queen, today!") == ["the", "queen", "today"]
    assert split_tokens(ultravox.tokenizer, "") == []


def test_a_tracked_token_has_its_rank_and_probability_everywhere(
    ultravox: Ultravox, states: dict[int, Tensor]
) -> None:
    token_id = candidate_ids(ultravox.tokenizer, "bank")[0]
    found = track(ultravox, states, token_id)
    assert found.token_text.strip() == "bank" and found.ranks.shape == found.probabilities.shape == (4, 11)
    for index, layer in enumerate(found.layers):
        shares = unembed(ultravox, states[layer]).softmax(-1).numpy()
        slow = [1 + sum(row > row[token_id]) for row in shares]
        assert found.ranks[index].tolist() == slow
        np.testing.assert_allclose(found.probabilities[index], shares[:, token_id], rtol=1e-4)


def test_a_tracked_top_token_has_rank_1(
    ultravox: Ultravox, states: dict[int, Tensor], readout: LensReadout
) -> None:
    top = int(readout.top_ids[2, 4, 0])
    assert track(ultravox, states, top).ranks[2, 4] == 1


@pytest.mark.parametrize("vocabulary", [50, 640, 49_152, 49_155])
def test_the_top_tokens_are_those_of_a_whole_sort(vocabulary: int) -> None:
    """Be the vocabulary smaller than the blocks, a multiple of one, or with some left over, where the top may lie."""
    scores = torch.randn(6, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    scores[0, -3:] = torch.tensor([9.0, 11.0, 10.0])
    scores[1, :TOP_K] = 20.0 + torch.arange(TOP_K)  # all in one block
    found = top_tokens(scores)
    assert found[0, :3].tolist() == [vocabulary - 2, vocabulary - 1, vocabulary - 3]
    assert torch.equal(found, scores.sort(descending=True).indices[:, :TOP_K])
