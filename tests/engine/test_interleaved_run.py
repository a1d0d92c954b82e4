"""One clip of the planted network, where every cell, recall and continuation is known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.audio import AudioClip
from engine.errors import PromptError, VoiceError
from engine.interleaved import Parts, read_interleaved, words_at
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
from engine.systems.base import Heard, Prepared
from engine.systems.unit_lm import Units
from engine.words import SpokenWord
from tests.engine.planted_phases import (
    D_MODEL,
    KINDS,
    PER_WORD,
    UNITS,
    VOCABULARY,
    WORDS,
    WRITES_CURRENT,
    WRITES_NEXT,
    WRITES_UNIT,
    PlantedPhases,
    draw_planted_clips,
)

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
