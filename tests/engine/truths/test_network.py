"""The networks compute what they were built to compute, worked out by hand, behind the models' protocol."""

from __future__ import annotations

import pytest
import torch

from engine.hooks import Projection, RowEdits, editing, recording
from engine.lens import candidate_ids, unembed
from engine.planted import (
    ANSWERS,
    D_MODEL,
    HIDDEN,
    IS_CLIP,
    LOGIT_GAIN,
    N_POSITIONS,
    PITCH,
    PLANTS,
    SOUND,
    SPAN,
    TEXT,
    VOCABULARY,
    WORDS,
    PlantedSystem,
    heard_from,
    prompts,
)
from engine.systems.base import WhiteBoxModel

SYSTEMS = {plant.key: PlantedSystem(plant) for plant in PLANTS}


def clip(word: int, pitch: float, hidden: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)) -> torch.Tensor:
    """One clip without noise."""
    states = torch.zeros(1, N_POSITIONS, D_MODEL)
    states[..., SOUND.start + word] = 1.0
    states[..., HIDDEN] = torch.tensor(hidden)
    states[..., PITCH] = pitch
    states[..., IS_CLIP] = 1.0
    return states


def logits(key: str, states: torch.Tensor) -> torch.Tensor:
    return SYSTEMS[key].language_model(inputs_embeds=prompts(states)).logits


def answer(key: str, states: torch.Tensor) -> str:
    return VOCABULARY[int(logits(key, states)[0, -1].argmax())]


@pytest.mark.parametrize("key", SYSTEMS)
def test_a_planted_network_is_a_white_box_model(key: str) -> None:
    system = SYSTEMS[key]
    assert isinstance(system, WhiteBoxModel)
    prepared = system.prepare(heard_from(clip(0, 1.0)[0]), "Which?")
    assert prepared.span == SPAN == (1, 4) and prepared.embeddings.shape == (1, 5, D_MODEL)
    assert torch.equal(prepared.embeddings[:, 1:4], clip(0, 1.0))


@pytest.mark.parametrize("word", range(len(WORDS)))
@pytest.mark.parametrize("pitch", [1.0, -1.0])
def test_what_each_answers_by_hand(word: int, pitch: float) -> None:
    by_topic = ANSWERS[0] if word < 2 else ANSWERS[1]
    by_pitch = ANSWERS[0] if pitch > 0 else ANSWERS[1]
    assert answer("cascade", clip(word, pitch)) == by_topic
    assert answer("pitch", clip(word, pitch)) == by_pitch
    assert answer("idle-text", clip(word, pitch)) == by_pitch


@pytest.mark.parametrize("coin", [1.0, -1.0])
@pytest.mark.parametrize("bit", [1.0, -1.0])
def test_a_hidden_bit_is_the_product_whatever_the_coin(coin: float, bit: float) -> None:
    found = answer("hidden-text", clip(0, -1.0, (coin, coin, coin * bit, coin)))
    assert found == (ANSWERS[0] if bit > 0 else ANSWERS[1])


def test_the_logits_of_an_answer_by_hand() -> None:
    """Evidence 1 from each position, averaged, read with the gain; the empty position weighs e to the -12."""
    found = logits("cascade", clip(1, 1.0))[0, -1]
    assert float(found[VOCABULARY.index("sports")]) == pytest.approx(LOGIT_GAIN, abs=1e-3)
    assert float(found[VOCABULARY.index("news")]) == pytest.approx(-LOGIT_GAIN, abs=1e-3)


def test_the_word_is_spelt_at_layer_one_and_only_by_those_that_spell() -> None:
    for key, system in SYSTEMS.items():
        with recording(system.decoder_layers, [0, 1]) as states:
            logits(key, clip(3, 1.0))
        spelt = states[1][0, 1, TEXT].tolist()
        assert spelt == ([0, 0, 0, 1] if system.plant.spells else [0, 0, 0, 0])
        assert not states[0][..., TEXT].any()


def test_the_lens_and_the_head_are_the_same_and_words_are_tokens() -> None:
    system = SYSTEMS["cascade"]
    with recording(system.decoder_layers, [2]) as states:
        plain = logits("cascade", clip(2, 1.0))
    torch.testing.assert_close(unembed(system, states[2][0]), plain[0])
    for row, word in enumerate(VOCABULARY[:-2]):
        assert candidate_ids(system.tokenizer, word) == (row,)
    assert system.tokenizer.eos_token_id == VOCABULARY.index("<end>")


def test_an_edit_reaches_the_answer_through_the_hooks() -> None:
    """Taking the token directions out of the clip's positions leaves the cascade nothing to answer from."""
    system = SYSTEMS["cascade"]
    basis = torch.zeros(D_MODEL, len(WORDS))
    basis[TEXT] = torch.eye(len(WORDS))
    edits = RowEdits([{1: Projection(basis, basis.T)}], SPAN, 5, "audio")
    with editing(system.decoder_layers, edits):
        edited = logits("cascade", clip(0, 1.0))
    assert float(edited[0, -1, VOCABULARY.index("sports")]) == pytest.approx(0.0, abs=1e-3)
