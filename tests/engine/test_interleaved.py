"""R against a slow reference, on networks whose phases were planted, and on one that knows nothing.

One clip of the planted network, where every cell, recall and continuation is known beforehand.

Facts about the voice that says units: the longest runs are taken, and a recorded sentence comes back as it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.audio import AudioClip, clip_from_samples
from engine.errors import ModelFilesError, PromptError, VoiceError
from engine.generate import read_states
from engine.interleaved import (
    CURRENT,
    NEXT,
    AskedWords,
    ClipReading,
    Parts,
    Piece,
    Recording,
    TokenKinds,
    UnitVoice,
    ask_words,
    cross_fade,
    pair_clips,
    read_clip,
    read_interleaved,
    read_unit_voice,
    text_share,
    word_ranks,
    words_at,
    write_unit_voice,
)
from engine.lens import candidate_ids, unembed
from engine.results import (
    CURRENT_WORD,
    CUT,
    ENDED,
    NEXT_WORD,
    NOTHING,
    OTHER_KIND,
    InterleavedResult,
    UnitLens,
    phase_of_cells,
)
from engine.stats.boundaries import excess_of, first_phase, phase_boundaries
from engine.stats.intervals import bootstrap
from engine.systems.base import Heard, Prepared
from engine.systems.unit_lm import Units, merge_repeats
from engine.voice import is_available, speak
from engine.words import SpokenWord
from tests.engine.planted_phases import (
    D_MODEL,
    FILLER_GAIN,
    KINDS,
    LOGIT,
    N_LAYERS,
    N_WORDS,
    PER_WORD,
    TEXT_TOKENS,
    UNIT_LOGIT,
    UNITS,
    VOCABULARY,
    WORDS,
    WRITES_CURRENT,
    WRITES_NEXT,
    WRITES_UNIT,
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


FRAME_S = 0.04
CLIP = AudioClip(np.zeros(1600, np.float32), "planted")
PLANTED = draw_planted_clips(1, 3, chain=True)[0]
# Two units a word: the first lasts one frame, the second three.
DURATIONS = np.tile([1, 3], len(PLANTED.words))
SPOKEN = tuple(
    SpokenWord(text, place * 4 * FRAME_S, (place + 1) * 4 * FRAME_S - 1e-3)
    for place, text in enumerate(PLANTED.texts)
)
OTHERS = tuple(" ".join(f"never{number + place}" for place in range(6)) for number in range(12))


class Decodable(nn.Module):
    """The planted network as decoding calls it; a generated token is heard as silence."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        past_key_values: Any,
        inputs_embeds: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        **_options: Any,
    ) -> SimpleNamespace:
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = torch.zeros(*input_ids.shape, D_MODEL)
        return SimpleNamespace(logits=self.model(inputs_embeds), past_key_values=past_key_values)


class PlantedUnits(PlantedPhases):
    """The planted network with units as its ears."""

    def __init__(self) -> None:
        super().__init__()
        self.language_model: nn.Module = Decodable(self.language_model)
        self.text_ids, self.unit_ids = KINDS.text, KINDS.units

    def encode(self, clip: AudioClip) -> Units:
        del clip
        return Units(np.arange(len(PLANTED.states)) % len(UNITS), DURATIONS)

    def hear_units(self, units: Units) -> Heard:
        return Heard(PLANTED.states[: len(units.ids)], FRAME_S, "", (), 0.0, units.ends_s)

    def prepare_speech(self, heard: Heard) -> Prepared:
        return self.prepare(heard, "")


def result(system: PlantedUnits | None = None, **options: Any) -> InterleavedResult:
    return read_interleaved(Parts(system or PlantedUnits()), CLIP, SPOKEN, "made up", OTHERS, **options)


@pytest.fixture(scope="module")
def read() -> InterleavedResult:
    return result()


def test_recall_peaks_where_it_was_planted(read: InterleavedResult) -> None:
    for recall in read.recalls:
        assert recall.n_words == len(SPOKEN) - recall.d
        # Tokens that never occur are read by chance alone, and words that are read leave no room for them.
        assert max(recall.control) < 0.25
        planted = range(WRITES_CURRENT, WRITES_NEXT) if recall.d == 0 else range(WRITES_NEXT, WRITES_UNIT)
        if recall.k == 1:
            assert recall.score == tuple(float(layer in planted) for layer in range(8))
            assert recall.excess == pytest.approx(np.subtract(recall.score, recall.control))
    first = read.phases[0]
    assert (first.k, first.current, first.following, first.speech) == (
        *(1, WRITES_CURRENT, WRITES_NEXT),
        WRITES_UNIT,
    )


def test_each_cell_holds_the_word_that_was_planted_there(read: InterleavedResult) -> None:
    words, units_win = phase_of_cells(read.lens, 1)
    n = len(PLANTED.states)
    assert (words[WRITES_CURRENT] == CURRENT_WORD).all() and (words[WRITES_CURRENT + 1] == CURRENT_WORD).all()
    # The last word has no next one.
    assert (words[WRITES_NEXT, : n - PER_WORD] == NEXT_WORD).all()
    assert (words[WRITES_NEXT, n - PER_WORD :] == NOTHING).all()
    assert units_win[WRITES_UNIT].all() and not units_win[WRITES_CURRENT].any()
    assert (words[0] == NOTHING).all()


def test_positions_are_merged_units_with_their_own_length(read: InterleavedResult) -> None:
    assert read.lens.ends_s[:4] == pytest.approx([0.04, 0.16, 0.20, 0.32])
    assert read.lens.spoken[:4] == ((0,), (0,), (1,), (1,))
    assert read.lens.words == SPOKEN and read.lens.words_from == "made up"
    shares = read.lens.top_probabilities.sum(-1)
    assert (shares <= 1 + 1e-5).all() and (read.lens.entropy_nats >= 0).all()
    top = read.lens.token_text[int(read.lens.top_ids[WRITES_CURRENT, 0, 0])]
    assert top == PLANTED.texts[0]


def test_a_border_position_has_two_words() -> None:
    assert words_at([(0, 2), (1, 3), (3, 3)], 4) == ((0,), (0, 1), (1,), ())


def test_cells_by_hand() -> None:
    """Better rank first, the current word of equals, nothing beyond k or where no word is asked for."""
    current = np.array([[1, 4, 3, 0, 6, 2]])
    following = np.array([[2, 2, 3, 5, 0, 0]])
    share = np.array([[0.9, 0.5, 0.49, 0.1, 0.7, 0.0]])
    lens = lens_of(current, following, share)
    word, units = phase_of_cells(lens, 5)
    assert word.tolist() == [[CURRENT_WORD, NEXT_WORD, CURRENT_WORD, NEXT_WORD, NOTHING, CURRENT_WORD]]
    assert units.tolist() == [[False, False, True, True, False, True]]
    assert phase_of_cells(lens, 1)[0].tolist() == [[CURRENT_WORD, *[NOTHING] * 5]]


def lens_of(current: np.ndarray, following: np.ndarray, share: np.ndarray) -> UnitLens:
    n = current.shape[1]
    cells = np.zeros((1, n, 1))
    return UnitLens(
        (0,), FRAME_S, np.arange(1, n + 1) * FRAME_S, np.arange(n), cells.astype(np.int32), cells, share,
        {0: "a"}, share, current, following, ((),) * n, (), "",
    )  # fmt: skip


def test_without_words_nothing_is_asked_and_nothing_is_invented() -> None:
    silent = read_interleaved(Parts(PlantedUnits()), CLIP, (), "nobody", OTHERS)
    assert all(np.isnan(recall.score).all() and recall.n_words == 0 for recall in silent.recalls)
    assert all((one.current, one.following, one.speech) == (None, None, None) for one in silent.phases)
    assert (phase_of_cells(silent.lens, 10)[0] == NOTHING).all()
    assert silent.continuation.said_next == ""


def test_phases_are_none_where_the_clips_words_are_not_read() -> None:
    unread = tuple(SpokenWord(f"never{n}", word.start_s, word.end_s) for n, word in enumerate(SPOKEN))
    found = read_interleaved(Parts(PlantedUnits()), CLIP, unread, "made up", ("word1 word2 word3",))
    assert found.phases[0].current is None and found.phases[0].following is None


def test_it_goes_on_after_half_of_the_words_or_all_of_them(read: InterleavedResult) -> None:
    assert read.continuation.after_s == pytest.approx(3 * 4 * FRAME_S)
    assert read.continuation.said_next == " ".join(PLANTED.texts[3:])
    whole = result(continue_after="whole").continuation
    assert whole.after_s == pytest.approx(float(read.lens.ends_s[-1])) and whole.said_next == ""
    with pytest.raises(PromptError, match="half"):
        result(continue_after="most")


@dataclass
class Voice:
    """Says anything as a short tone; or nothing at all."""

    fails: bool = False

    def say(self, ids: Sequence[int]) -> AudioClip:
        if self.fails:
            raise VoiceError("None of these units was recorded: there is nothing to hear.")
        return AudioClip(np.full(800 * len(ids), 0.1, np.float32), "tone")


class Ears:
    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        return f"{len(clip.samples)} samples", ()


def scripted(monkeypatch: pytest.MonkeyPatch, text: Sequence[str], speech: Sequence[str]) -> None:
    """Let decoding give these tokens: after the text tag first, after units second; the network keeps its states."""
    from engine import interleaved
    from engine.generate import Decoded, Pass, run_arms

    said = [text, speech]

    def run(system: Any, prepared: Prepared, **options: Any) -> Pass:
        if "record_layers" in options:
            return run_arms(system, prepared, **options)
        ids = tuple(VOCABULARY.index(token) for token in said.pop(0))[: options["max_new_tokens"]]
        return Pass((Decoded(ids, "", 0.0),), torch.zeros(1, 0), (0.0,), torch.zeros(1, 1))

    monkeypatch.setattr(interleaved, "run_arms", run)


def test_both_ways_stop_at_the_first_token_of_the_other_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [WORDS[4], WORDS[5], "<speech>", UNITS[1]], [UNITS[3], UNITS[9], UNITS[3]])
    on = read_interleaved(Parts(PlantedUnits(), Voice(), "", Ears()), CLIP, SPOKEN, "", OTHERS).continuation
    assert (on.text, on.text_end) == ("word4 word5", OTHER_KIND)
    assert (on.units, on.speech_end) == ((3, 9, 3), ENDED)
    assert on.sound is not None and len(on.sound) == 2400 and on.heard == "2400 samples"


def test_what_cannot_be_heard_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for parts, speech, why in (
        (Parts(PlantedUnits(), None, "No voice here."), [UNITS[0]] * 200, "No voice here."),
        (Parts(PlantedUnits(), Voice(fails=True)), [UNITS[0]], "None of these units"),
        (Parts(PlantedUnits(), Voice()), [], "no unit"),
    ):
        scripted(monkeypatch, [], speech)
        on = read_interleaved(parts, CLIP, SPOKEN, "", OTHERS).continuation
        assert on.sound is None and on.heard is None and why in on.no_sound
        assert on.speech_end == (CUT if len(speech) > 1 else ENDED)


def test_nothing_of_a_run_stays_on_the_model() -> None:
    system = PlantedUnits()
    before = {name: id(value) for name, value in vars(system).items()}
    result(system)
    assert {name: id(value) for name, value in vars(system).items()} == before
    assert not any(module._forward_hooks for module in system.language_model.modules())


NEEDS_A_VOICE = pytest.mark.skipif(not is_available(), reason="no espeak-ng wheel to say the recordings")


def recorded(*frames: list[int]) -> UnitVoice:
    return UnitVoice("en-us", 150, tuple(Recording("the sea", merge_repeats(np.array(f))) for f in frames))


def test_the_longest_run_is_taken_each_time() -> None:
    voice = recorded([1, 2, 9], [1, 1, 2, 3], [4, 3, 4, 5])
    assert voice.pieces([1, 2, 3, 4, 5]) == (Piece(1, 0, 3), Piece(2, 2, 4))
    assert voice.pieces([9, 9]) == (Piece(0, 2, 3), Piece(0, 2, 3))


def test_of_equal_runs_the_one_whose_unit_before_agrees_is_taken() -> None:
    voice = recorded([1, 2], [8, 6], [2, 6])
    assert voice.pieces([1, 2, 6]) == (Piece(0, 0, 2), Piece(2, 1, 2))
    assert voice.pieces([6]) == (Piece(1, 1, 2),)


def test_units_that_were_never_recorded_are_left_out() -> None:
    voice = recorded([1, 2, 3])
    assert voice.pieces([7, 1, 2, 7, 3]) == (Piece(0, 0, 2), Piece(0, 2, 3))
    with pytest.raises(VoiceError, match="None of these units was recorded"):
        voice.say([7, 7])


def test_a_cross_fade_of_equal_sounds_is_that_sound() -> None:
    one = np.ones(50, np.float32)
    np.testing.assert_allclose(cross_fade(one, one, 10), np.ones(90), atol=1e-6)
    falling = cross_fade(one, 0 * one, 10)
    assert len(falling) == 90 and (np.diff(falling) <= 1e-6).all() and falling[39] == 1 and falling[50] == 0


@NEEDS_A_VOICE
def test_a_recorded_sentence_comes_back_as_it_was_said() -> None:
    samples, rate_hz, _ = speak("the sea is calm", voice="en-us", rate_wpm=150)
    original = clip_from_samples(samples, rate_hz, "said").samples
    n_frames = -(-len(original) // 640)
    frames = np.arange(n_frames) // 2
    voice = UnitVoice("en-us", 150, (Recording("the sea is calm", merge_repeats(frames)),))
    found = voice.say(frames[::2].tolist()).samples
    # Frames are whole, and a fade goes before: less than a frame more.
    assert 0 <= len(found) - len(original) < 640 + 160
    n = min(len(found), len(original))
    # espeak-ng's flutter differs from call to call; the loudness of each 40 ms does not.
    loud, wanted = (np.abs(s[: n // 640 * 640]).reshape(-1, 640).mean(1) for s in (found, original))
    assert np.corrcoef(loud, wanted)[0, 1] > 0.95
    reverse = voice.say(frames[::2][::-1].tolist()).samples
    back = np.abs(reverse[: n // 640 * 640]).reshape(-1, 640).mean(1)
    assert np.corrcoef(back, wanted)[0, 1] < 0.8


def test_a_voice_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "voice.json"
    write_unit_voice(file, "en-us", 150, [("the sea", np.array([4, 4, 2]))])
    voice = read_unit_voice(file)
    assert (voice.voice, voice.rate_wpm, voice.recordings[0].text) == ("en-us", 150, "the sea")
    assert voice.recordings[0].units.durations.tolist() == [2, 1]
    file.write_text(json.dumps({"voice": "en-us"}), encoding="utf-8")
    for damaged in (file, tmp_path / "none.json"):
        with pytest.raises(ModelFilesError, match="is missing or damaged"):
            read_unit_voice(damaged)
