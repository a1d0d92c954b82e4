"""R against a slow reference, on networks whose phases were planted, and on one that knows nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generate import read_states
from engine.interleaved import (
    CURRENT,
    NEXT,
    AskedWords,
    ClipReading,
    TokenKinds,
    ask_words,
    pair_clips,
    read_clip,
    text_share,
    word_ranks,
)
from engine.lens import candidate_ids, unembed
from engine.stats.boundaries import excess_of, first_phase, phase_boundaries
from engine.stats.intervals import bootstrap
from engine.words import SpokenWord
from tests.engine.planted_phases import (
    D_MODEL,
    FILLER_GAIN,
    KINDS,
    LOGIT,
    N_LAYERS,
    N_WORDS,
    TEXT_TOKENS,
    UNIT_LOGIT,
    UNITS,
    PlantedClip,
    PlantedPhases,
    draw_planted_clips,
)

N_CLIPS = 40


@pytest.fixture(scope="module")
def planted() -> PlantedPhases:
    return PlantedPhases()


@pytest.fixture(scope="module")
def clips() -> list[PlantedClip]:
    return draw_planted_clips(N_CLIPS, 1, chain=True)


def asked_of(system: PlantedPhases, clips: list[PlantedClip]) -> list[tuple[AskedWords, AskedWords]]:
    partners = pair_clips([str(number) for number in range(len(clips))])

    def asked(n: int, clip: PlantedClip, d: int) -> AskedWords:
        return ask_words(system.tokenizer, clip.spoken, clip.spans, clips[partners[n]].texts, d)

    return [(asked(n, clip, CURRENT), asked(n, clip, NEXT)) for n, clip in enumerate(clips)]


def states_of(system: PlantedPhases, clip: PlantedClip) -> dict[int, Tensor]:
    (recorded,) = read_states(system, system.prompt(clip))
    return {layer: states[1:] for layer, states in recorded.items()}


def readings(system: PlantedPhases, clips: list[PlantedClip]) -> list[ClipReading]:
    return [
        read_clip(system, states_of(system, clip), KINDS, asked)
        for clip, asked in zip(clips, asked_of(system, clips), strict=True)
    ]


def sums_of(found: list[ClipReading], d: int, k: int) -> np.ndarray:
    """Return hits, control's hits and words, [clips, layers, 3]."""
    hits = np.stack([(one.ranks[d] <= k).sum(-1) for one in found])
    words = np.stack([np.full(len(one.ranks[d]), one.ranks[d].shape[-1]) for one in found])
    return np.stack([hits[..., 0], hits[..., 1], words], axis=-1).astype(float)


def slow_r(
    system: PlantedPhases, clips: list[PlantedClip], layer: int, k: int, d: int
) -> tuple[float, float]:
    """The definition read out word by word: pool, sort the text tokens, look."""
    partners = pair_clips([str(number) for number in range(len(clips))])
    hits = control = n_words = 0
    for number, clip in enumerate(clips):
        logits = unembed(system, states_of(system, clip)[layer])
        for place in range(len(clip.words) - d):
            start, stop = clip.spans[place]
            best = {i: max(float(logits[p, i]) for p in range(start, stop)) for i in KINDS.text}
            top = sorted(best, key=lambda i: -best[i])[:k]
            other = clips[partners[number]].texts
            mine = candidate_ids(system.tokenizer, clip.texts[place + d])
            theirs = candidate_ids(system.tokenizer, other[(place + d) % len(other)])
            hits += any(i in top for i in mine)
            control += any(i in top for i in theirs)
            n_words += 1
    return hits / n_words, control / n_words


@pytest.mark.parametrize(
    ("layer", "k", "d"), [(0, 10, 0), (2, 5, 1), (3, 1, 0), (4, 5, 1), (5, 1, 1), (7, 10, 0)]
)
def test_recall_is_the_definition_read_out_word_by_word(
    planted: PlantedPhases, clips: list[PlantedClip], layer: int, k: int, d: int
) -> None:
    few = clips[:8]
    score, control, n_words = sums_of(readings(planted, few), d, k)[:, layer].sum(0)
    assert (score / n_words, control / n_words) == pytest.approx(slow_r(planted, few, layer, k, d))


def test_the_planted_phases_are_found_at_their_very_layers(
    planted: PlantedPhases, clips: list[PlantedClip]
) -> None:
    found = readings(planted, clips)
    share: np.ndarray = np.stack(
        [[one.text_share * 12, np.full(N_LAYERS + 1, 12.0)] for one in found]
    ).swapaxes(1, 2)
    for k in (1, 5, 10):
        current, following = (sums_of(found, d, k) for d in (CURRENT, NEXT))
        it = phase_boundaries(current, following, share, seed=0)
        assert (it.current.value, it.following.value, it.speech.value) == (3, 5, 6)
        for estimate in (it.current, it.following, it.speech):
            assert estimate.low == estimate.high == estimate.value and estimate.n == N_CLIPS
        assert it.apart.value == 2 and it.in_order == 1.0 and it.without_speech == 0.0
        raw = current.sum(0)
        assert (raw[3:5, 0] == raw[3:5, 2]).all(), "every word is read where it was written"
        assert excess_of(raw)[3] > 0.7 and first_phase(excess_of(raw)) == (3,)


def test_the_text_share_is_what_was_planted(planted: PlantedPhases, clips: list[PlantedClip]) -> None:
    """Without the filler, each logit is known: text 14 for one word, units 6 for all, 20 for one at the end."""
    silent = replace(clips[0], states=clips[0].states * (torch.arange(D_MODEL) < D_MODEL - 12))
    found = read_clip(planted, states_of(planted, silent), KINDS, ())
    n_text, n_units = len(TEXT_TOKENS), len(UNITS)
    units = n_units * math.exp(UNIT_LOGIT)
    before = n_text / (n_text + units)
    written = n_text - 1 + math.exp(LOGIT)
    within = written / (written + units)
    after = n_text / (n_text + units - math.exp(UNIT_LOGIT) + math.exp(UNIT_LOGIT + LOGIT))
    assert found.text_share is not None and FILLER_GAIN > 0
    assert found.text_share[:3] == pytest.approx(before, abs=0.01)
    assert found.text_share[3:6] == pytest.approx(within, abs=0.01)
    assert found.text_share[6:] == pytest.approx(after, abs=0.01)


def test_a_model_that_knows_nothing_gives_the_control_line(planted: PlantedPhases) -> None:
    """States that are drawn without looking at the words: R is 0 within its interval, at every layer and k."""
    clips = draw_planted_clips(120, 3, chain=False)
    noise = torch.Generator().manual_seed(2)
    found = [
        read_clip(
            planted,
            {layer: torch.randn(len(clip.states), D_MODEL, generator=noise) for layer in range(3)},
            KINDS,
            asked,
        )
        for clip, asked in zip(clips, asked_of(planted, clips), strict=True)
    ]
    places = [(d, k, layer) for d in (CURRENT, NEXT) for k in (1, 5, 10) for layer in range(3)]
    missed = []
    for d, k, layer in places:
        sums = sums_of(found, d, k)[:, layer]
        it = bootstrap(sums, excess_of, seed=0)
        missed += [] if it.low <= 0 <= it.high else [(d, k, layer)]
        assert abs(it.value) < 0.06 and sums.sum(0)[0] > 0, "some words are hit by chance"
    # Of 18 intervals at 95 % one misses by chance.
    assert len(places) == 18 and len(missed) <= 2


def test_asked_for_the_next_word_a_position_that_hears_it_is_left_out(planted: PlantedPhases) -> None:
    words = [SpokenWord(text, n * 0.5, n * 0.5 + 0.5) for n, text in enumerate(("word1", "word2", "word3"))]
    spans = [(0, 3), (2, 3), (3, 5)]
    now = ask_words(planted.tokenizer, words, spans, ["word9"], CURRENT)
    assert now.spans == ((0, 3), (2, 3), (3, 5))
    then = ask_words(planted.tokenizer, words, spans, ["word9"], NEXT)
    assert then.spans == ((0, 2), (2, 3)) and then.wanted == ((2,), (3,)) and then.control == ((9,), (9,))


def test_a_word_without_a_position_of_its_own_is_not_asked_for(planted: PlantedPhases) -> None:
    words = [SpokenWord("word1", 0.0, 0.1), SpokenWord("word2", 0.1, 0.2)]
    assert ask_words(planted.tokenizer, words, [(0, 0), (0, 2)], ["word5"], CURRENT).spans == ((0, 2),)
    assert ask_words(planted.tokenizer, words, [(0, 1), (0, 2)], ["word5"], NEXT).spans == ()
    logits = torch.zeros(2, len(TEXT_TOKENS))
    empty = AskedWords(NEXT, (), (), ())
    assert word_ranks(logits, KINDS.text, empty).shape == (2, 0)


def test_case_and_leading_space_do_not_count(planted: PlantedPhases) -> None:
    words = [SpokenWord("Word1", 0.0, 1.0)]
    assert ask_words(planted.tokenizer, words, [(0, 1)], ["WORD4"], CURRENT).wanted == ((1,),)


def test_units_and_tags_do_not_push_a_word_down(planted: PlantedPhases) -> None:
    """A unit and a tag above every word: among text tokens the word is still first."""
    logits = torch.zeros(1, len(TEXT_TOKENS) + len(UNITS) + 2)
    logits[0, len(TEXT_TOKENS) :] = 9.0
    logits[0, 4] = 1.0
    asked = AskedWords(CURRENT, ((0, 1),), ((4,),), ((5,),))
    assert word_ranks(logits, KINDS.text, asked)[:, 0].tolist() == [1, 2]


def test_pooling_takes_each_tokens_best_position() -> None:
    """Two positions, each with another token on top: pooled, 3 beats 2, which beats 1."""
    logits = torch.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 1.0, 0.0, 0.0]])
    asked = AskedWords(CURRENT, ((0, 2),), ((2,),), ((1,),))
    assert word_ranks(logits, range(4), asked)[:, 0].tolist() == [1, 3]


def test_the_text_share_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0), 0.0, 50.0]])
    kinds = TokenKinds(range(2), range(2, 3))
    assert text_share(logits, kinds).item() == pytest.approx(0.8), (
        "(1 + 3) / (1 + 3 + 1); the tag counts nowhere"
    )
    with pytest.raises(ValueError, match="without units"):
        text_share(logits, TokenKinds(range(4), None))


def test_no_clip_is_its_own_control() -> None:
    groups = ["a", "a", "b", "c", "c", "c"]
    partners = pair_clips(groups, seed=4)
    assert all(groups[other] != groups[clip] for clip, other in enumerate(partners))
    assert partners == pair_clips(groups, seed=4)
    with pytest.raises(ValueError, match="one group"):
        pair_clips(["a", "a"])


def test_a_model_without_units_has_no_text_share(planted: PlantedPhases, clips: list[PlantedClip]) -> None:
    found = read_clip(planted, states_of(planted, clips[0]), TokenKinds(KINDS.text, None), ())
    assert found.text_share is None and found.ranks == {} and N_WORDS == 40
