"""The lens against the model's own logits, slow references for ranks, and precision by hand.

The tuned lens on a tiny random model: nothing fitted is the logit lens, and a planted turn is undone.

Facts about recall: ranks against a slow reference, the next word one on, and hits counted by hand.

Tolerances follow the number of bits, and rounding that is there stays inside them.

Scores of spoken ends: against the model's own probabilities, and by hand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.audio import AudioClip
from engine.errors import LensError
from engine.generate import at_span, read_states, run_arms
from engine.hooks import recording
from engine.lens import (
    BLOCK_ROUNDINGS,
    HEAD_ROUNDINGS,
    LOGIT_TOLERANCE,
    TOP_K,
    EndScore,
    Translator,
    TunedLens,
    WordRanks,
    as_varied_as,
    candidate_ids,
    count_hits,
    difference_reading,
    lens_text,
    load_tuned_lens,
    log_probabilities,
    logit_reading,
    logit_tolerance,
    pass_roundings,
    rank_words,
    read_lens,
    relative_gap,
    save_tuned_lens,
    score_end,
    set_precision,
    split_tokens,
    token_precision,
    top_tokens,
    track,
    unembed,
    unit_roundoff,
)
from engine.request import RunRequest, check_request, tuned_lens_file
from engine.results import LensReadout
from engine.run import run
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from engine.words import SpokenWord
from tests.engine.planted_phases import N_LAYERS, PlantedPhases, draw_planted_clips

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


RANK = 2
KEY = "mini-ultravox"


@pytest.fixture(scope="module")
def states_of_tuned_lens(ultravox: Ultravox, prepared: Prepared) -> dict[int, Tensor]:
    """Recorded states at the audio positions."""
    return at_span(
        run_arms(ultravox, prepared, record_layers=[0, 1, 2, 3], max_new_tokens=1).states, prepared
    )


def nothing(width: int, rank: int = RANK) -> Translator:
    """A map that changes nothing, as every one is before it is fitted."""
    return Translator(torch.randn(rank, width), torch.zeros(width, rank), torch.zeros(width))


def read_of_tuned_lens(
    system: Ultravox, states_of_tuned_lens: dict[int, Tensor], reading: object
) -> LensReadout:
    return read_lens(
        system,
        states_of_tuned_lens,
        seconds_per_position=WIDTH_S,
        words=WORDS,
        words_from="reference",
        other_transcripts=OTHERS,
        reading=reading,  # type: ignore[arg-type]
    )


def assert_same(one: LensReadout, other: LensReadout, tolerance: float) -> None:
    np.testing.assert_array_equal(one.top_ids, other.top_ids)
    np.testing.assert_allclose(one.top_probabilities, other.top_probabilities, atol=tolerance)
    np.testing.assert_allclose(one.entropy_nats, other.entropy_nats, atol=tolerance * 10)


def test_maps_that_change_nothing_are_the_logit_lens(
    ultravox: Ultravox, states_of_tuned_lens: dict[int, Tensor]
) -> None:
    width = states_of_tuned_lens[0].shape[1]
    tuned = TunedLens({layer: nothing(width) for layer in range(3)})
    assert_same(
        read_of_tuned_lens(ultravox, states_of_tuned_lens, logit_reading(ultravox, tuned)),
        read_of_tuned_lens(ultravox, states_of_tuned_lens, logit_reading(ultravox)),
        0.0,
    )


def test_a_planted_turn_is_undone_by_the_right_map_alone(
    ultravox: Ultravox, states_of_tuned_lens: dict[int, Tensor]
) -> None:
    """Layer 1 holds the last layer's states, turned in one plane by a right angle and moved."""
    plain, width = states_of_tuned_lens[3], states_of_tuned_lens[3].shape[1]
    plane = torch.linalg.qr(torch.randn(width, RANK, generator=torch.Generator().manual_seed(1))).Q
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    moved = torch.randn(width, generator=torch.Generator().manual_seed(2))
    turned = plain + plain @ plane @ (quarter - torch.eye(2)).T @ plane.T + moved
    # The turn back: h = R^T (h' - b), so h = h' + plane (quarter^T - 1) plane^T h' - R^T b.
    back = plane @ (quarter.T - torch.eye(2))
    right = Translator(plane.T, back, -(moved + moved @ plane @ back.T))
    planted = {0: states_of_tuned_lens[0], 1: turned, 2: states_of_tuned_lens[2], 3: plain}
    maps = {0: nothing(width), 1: right, 2: nothing(width)}
    tuned = read_of_tuned_lens(ultravox, planted, logit_reading(ultravox, TunedLens(maps)))
    logit = read_of_tuned_lens(ultravox, planted, logit_reading(ultravox))
    np.testing.assert_array_equal(tuned.top_ids[1, :, 0], logit.top_ids[3, :, 0])
    np.testing.assert_allclose(tuned.top_probabilities[1], logit.top_probabilities[3], atol=1e-4)
    assert (logit.top_ids[1, :, 0] != logit.top_ids[3, :, 0]).mean() > 0.5
    wrong = TunedLens(maps | {1: replace(right, up=right.up.flip(1))})
    assert (
        np.abs(
            read_of_tuned_lens(ultravox, planted, logit_reading(ultravox, wrong)).top_probabilities[1]
            - logit.top_probabilities[3]
        ).max()
        > 1e-2
    )


def test_the_file_gives_the_maps_back_and_refuses_other_weights(tmp_path: Path) -> None:
    width, n_layers = 8, 3
    maps = [
        Translator(torch.randn(RANK, width), torch.randn(width, RANK), torch.randn(width))
        for _ in range(n_layers)
    ]
    file = tuned_lens_file(KEY, tmp_path)
    file.parent.mkdir()
    save_tuned_lens(file, maps, "right weights")
    loaded = load_tuned_lens(KEY, "right weights", n_layers, tmp_path)
    some = torch.randn(4, width)
    for layer, translator in enumerate(maps):
        torch.testing.assert_close(loaded.apply(layer, some), translator.apply(some), atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(loaded.apply(n_layers, some), some)  # the last block's output is read as it is
    with pytest.raises(LensError, match="other weights"):
        load_tuned_lens(KEY, "left weights", n_layers, tmp_path)
    with pytest.raises(LensError, match="another layout"):
        load_tuned_lens(KEY, "right weights", n_layers + 1, tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LensError, match="damaged"):
        load_tuned_lens(KEY, "right weights", n_layers, tmp_path)


def test_thirty_layers_of_the_laptop_pair_stay_below_six_megabytes(tmp_path: Path) -> None:
    maps = [nothing(576, rank=32) for _ in range(30)]
    save_tuned_lens(tmp_path / "t.safetensors", maps, "x")
    assert (tmp_path / "t.safetensors").stat().st_size < 6e6


def test_what_a_system_or_a_run_does_not_have_is_refused_in_a_sentence() -> None:
    clip = AudioClip(np.zeros(16_000, np.float32), "zero")
    with pytest.raises(LensError, match="No tuned lens was fitted for mini-Ultravox"):
        check_request(RunRequest(clip, "topic", readout="tuned"))
    for without in ({}, {"erasures": ("text",), "strength": 0.0}, {"noise": "babble", "snr_db": None}):
        with pytest.raises(LensError, match="needs a second one"):
            check_request(RunRequest(clip, "topic", readout="difference", **without))
    check_request(RunRequest(clip, "topic", readout="difference", erasures=("text",)))


def test_a_difference_of_equal_states_is_nothing_and_of_others_their_divergence(
    ultravox: Ultravox,
    states_of_tuned_lens: dict[int, Tensor],
) -> None:
    same = read_of_tuned_lens(
        ultravox, states_of_tuned_lens, difference_reading(ultravox, states_of_tuned_lens)
    )
    assert same.entropy_nats.max() < 1e-5
    others = {layer: one.roll(1, 0) for layer, one in states_of_tuned_lens.items()}
    found = read_of_tuned_lens(ultravox, states_of_tuned_lens, difference_reading(ultravox, others))
    head = ultravox.unembedding.get_parameter("weight")
    p, q = (
        torch.nn.functional.linear(ultravox.final_norm(one[2]), head).double().log_softmax(-1)
        for one in (states_of_tuned_lens, others)
    )
    kl = (p.exp() * (p - q)).sum(-1)
    np.testing.assert_allclose(found.entropy_nats[2], kl.detach().numpy(), rtol=1e-3, atol=1e-5)
    position = int(kl.argmax())
    assert found.top_ids[2, position, 0] == int((p.exp() * (p - q))[position].argmax())


@pytest.mark.parametrize("second", [{"erasures": ("text",)}, {"noise": "white", "snr_db": 0.0}])
def test_a_run_has_the_difference_beside_the_logit_lens(second: dict[str, object]) -> None:
    from engine.audio import load_clip
    from engine.examples import EXAMPLES

    result = run(RunRequest(load_clip(EXAMPLES[0].file), "topic", readout="difference", **second))  # type: ignore[arg-type]
    assert result.lens is not None and result.readout is not None
    assert result.lens.name == "logit lens" and "minus" in result.readout.name
    assert result.readout.top_ids.shape == result.lens.top_ids.shape
    assert result.readout.entropy_nats[-1].max() > 0.1
    # The erasure takes out what the lens reads, the control beside it much less.
    assert bool(result.readout.beside) == ("erasures" in second)


# 11 positions: "queen" owns 0 to 3, "market" 3 to 6, "bank" 7 to 10; the last has no word after it.
WORDS_WORD_RECALL = (
    SpokenWord("queen", 0.0, 0.5),
    SpokenWord("market", 0.5, 1.1),
    SpokenWord("bank", 1.13, 1.76),
)
OTHERS_WORD_RECALL = ("the rates", "scored goals match today")


@pytest.fixture(scope="module")
def states_of_word_recall(ultravox: Ultravox, prepared: Prepared) -> dict[int, Tensor]:
    start, stop = prepared.span
    passed = run_arms(ultravox, prepared, record_layers=[0, 3], max_new_tokens=1)
    return {layer: recorded[0, start:stop] for layer, recorded in passed.states.items()}


@pytest.fixture(scope="module")
def ranks(ultravox: Ultravox, states_of_word_recall: dict[int, Tensor]) -> WordRanks:
    return rank_words(
        ultravox,
        states_of_word_recall,
        WORDS_WORD_RECALL,
        seconds_per_position=WIDTH_S,
        other_transcripts=OTHERS_WORD_RECALL,
    )


def slow_rank(system: Ultravox, state: Tensor, word: str) -> int:
    """Sort the whole vocabulary and look the word's tokens up."""
    order = unembed(system, state[None])[0].argsort(descending=True).tolist()
    return 1 + min(order.index(i) for i in candidate_ids(system.tokenizer, word))


def test_ranks_are_those_of_the_sorted_vocabulary(
    ultravox: Ultravox, states_of_word_recall: dict[int, Tensor], ranks: WordRanks
) -> None:
    for row, layer in enumerate((0, 3)):
        assert ranks.current[row, 1] == slow_rank(ultravox, states_of_word_recall[layer][1], "queen")
        assert ranks.current[row, 9] == slow_rank(ultravox, states_of_word_recall[layer][9], "bank")
        both = [slow_rank(ultravox, states_of_word_recall[layer][3], word) for word in ("queen", "market")]
        assert ranks.current[row, 3] == min(both), "two words are heard there"
        assert ranks.following[row, 1] == slow_rank(ultravox, states_of_word_recall[layer][1], "market")
        assert ranks.following[row, 3] == slow_rank(ultravox, states_of_word_recall[layer][3], "bank"), (
            "after the last of them"
        )


def test_the_last_word_has_none_after_it(ranks: WordRanks) -> None:
    assert (ranks.current > 0).all()
    assert (ranks.following[:, :7] > 0).all() and (ranks.following[:, 8:] == 0).all()


def test_the_control_asks_for_other_words_in_the_same_places(
    ultravox: Ultravox, states_of_word_recall: dict[int, Tensor], ranks: WordRanks
) -> None:
    """ "the rates" has two words for three: it begins again."""
    assert ranks.control.shape == (2, 2, 11)
    for transcript, place, word in ((0, 1, "the"), (0, 5, "rates"), (0, 9, "the"), (1, 9, "match")):
        assert ranks.control[transcript, 1, place] == slow_rank(
            ultravox, states_of_word_recall[3][place], word
        )


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
        ultravox,
        {0: torch.stack(rows)},
        WORDS_WORD_RECALL,
        seconds_per_position=WIDTH_S,
        other_transcripts=OTHERS_WORD_RECALL,
    )
    asked, top_1, _, top_10 = count_hits(found.current[0])
    assert asked == 11 and top_1 >= 9 and top_10 >= top_1
    assert count_hits(found.control[0, 0])[1] < top_1


def test_hits_are_counted_where_a_word_is_asked_for() -> None:
    assert count_hits(np.array([0, 1, 4, 5, 6, 10, 11, 0])) == (6, 1, 3, 5)
    assert count_hits(np.zeros(3, int)) == (0, 0, 0, 0)


def test_log_probabilities_are_those_of_the_models_own_logits() -> None:
    system, clip = PlantedPhases(), draw_planted_clips(1, 31, chain=True)[0]
    prompt = system.prompt(clip)
    logits = system.language_model(inputs_embeds=prompt.embeddings)[0, 1:]
    ids = torch.randint(logits.shape[-1], (len(logits),), generator=torch.Generator().manual_seed(0))
    (states,) = read_states(system, prompt)
    found = log_probabilities(system, states[N_LAYERS][1:], ids)
    slow = [float(logits[n].log_softmax(-1)[ids[n + 1]]) for n in range(len(ids) - 1)]
    assert found.tolist() == pytest.approx(slow, abs=1e-4)


def test_the_end_is_what_stands_behind_the_beginning() -> None:
    """Of five units two are the beginning: of the four scores the last three are the end's."""
    it = score_end(torch.tensor([-9.0, -1.0, -2.0, -3.0]), 2)
    assert it == EndScore(-6.0, 3) and it.per_unit == pytest.approx(-2.0)


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 8), (torch.float16, 11), (torch.float32, 24)])
def test_one_rounding_moves_a_number_by_at_most_half_a_unit(dtype: torch.dtype, bits: int) -> None:
    assert unit_roundoff(dtype) == 2.0**-bits
    exact = torch.rand(10_000, dtype=torch.float64) + 1e-3
    moved = ((exact.to(dtype).double() - exact).abs() / exact).max()
    assert unit_roundoff(dtype) / 2 < moved <= unit_roundoff(dtype)


def test_in_float32_the_tolerance_is_what_it_always_was() -> None:
    logits = torch.tensor([20.0, -30.0])
    assert logit_tolerance(logits, torch.float32, pass_roundings(32)) == LOGIT_TOLERANCE


def test_in_bfloat16_it_grows_with_the_roundings_and_the_logits() -> None:
    logits = torch.tensor([4.0, -8.0])
    assert logit_tolerance(logits, torch.bfloat16, 3) == 3 * 8 / 256
    assert pass_roundings(2) == pytest.approx((2 * BLOCK_ROUNDINGS * 2) ** 0.5 + HEAD_ROUNDINGS)
    assert pass_roundings(32) < 10 * pass_roundings(1), "errors add like a random walk"


def test_a_head_in_bfloat16_stays_inside_its_tolerance() -> None:
    """Norm and head in bfloat16 against the same in float32, as the lens check compares them."""
    generator = torch.Generator().manual_seed(1)
    states, gain = torch.randn(50, 512, generator=generator), torch.rand(512, generator=generator) + 0.5
    head = torch.randn(2_000, 512, generator=generator) * 0.05
    states, gain, head = (one.bfloat16() for one in (states, gain, head))
    normed = states.float() * states.float().pow(2).mean(-1, keepdim=True).rsqrt()
    exact = (gain.float() * normed) @ head.float().T
    rounded = ((gain * normed.bfloat16()) @ head.T).float()
    gap, tolerance = float((exact - rounded).abs().max()), logit_tolerance(exact, torch.bfloat16, 3)
    assert tolerance / 10 < gap < tolerance


def test_a_few_huge_numbers_do_not_hide_a_difference() -> None:
    state = torch.ones(1_000)
    state[3] = 5_000.0
    other = state.clone()
    other[5:] *= 1.5
    assert relative_gap(other, state) > 0.2 and relative_gap(state, state) == 0.0
