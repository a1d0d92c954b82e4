"""The clips hold what they are said to hold: word and pitch apart, and a hidden code that is no linear one."""

from __future__ import annotations

import pytest
import torch

from engine.planted import (
    D_MODEL,
    FILLER,
    HIDDEN,
    N_POSITIONS,
    PITCH,
    PLANTS,
    SOUND,
    TEXT,
    WORDS,
    bits_of,
    draw_clips,
    read_aloud,
)

BY_KEY = {plant.key: plant for plant in PLANTS}
N = 4000


def test_words_in_binary_by_hand() -> None:
    """goal 00, match 01, bank 10, vote 11; a 0 is +1."""
    assert bits_of(torch.arange(4)).tolist() == [[1, 1], [1, -1], [-1, 1], [-1, -1]]


def test_word_and_pitch_are_drawn_apart() -> None:
    clips = draw_clips(BY_KEY["cascade"], N, 1)
    assert clips.states.shape == (N, N_POSITIONS, D_MODEL)
    by_word = [float(clips.pitch[clips.words == word].mean()) for word in range(len(WORDS))]
    # Of about 1000 fair coins the mean lies within 0.1 of 0 with more than three standard deviations.
    assert max(map(abs, by_word)) < 0.1


def test_every_plant_hears_the_same_words_and_voices() -> None:
    drawn = [draw_clips(plant, 50, 2) for plant in PLANTS]
    assert all(torch.equal(one.words, drawn[0].words) for one in drawn)
    assert all(torch.equal(one.pitch, drawn[0].pitch) for one in drawn)
    assert not torch.equal(draw_clips(PLANTS[0], 50, 3).words, drawn[0].words)


def test_a_word_can_be_seen_in_the_sound_and_a_voice_in_the_pitch() -> None:
    clips = draw_clips(BY_KEY["pitch"], N, 1)
    assert (clips.states[..., SOUND].argmax(-1) == clips.words[:, None]).all()
    assert (clips.states[..., PITCH].sign() == clips.pitch[:, None]).all()
    # Nothing is spelt by the ears, and the hidden dimensions hold noise only.
    assert not clips.states[..., TEXT].any() and clips.states[..., HIDDEN].abs().max() < 0.5


def test_no_single_dimension_tells_a_hidden_word_and_a_product_does() -> None:
    clips = draw_clips(BY_KEY["hidden-text"], N, 1)
    bits = bits_of(clips.words)[:, None]
    code = clips.states[..., HIDDEN]
    for dimension in range(4):
        for bit in range(2):
            # 12,000 states: a correlation of 0.04 would be four standard deviations.
            assert abs(float((code[..., dimension] * bits[..., bit]).mean())) < 0.04
    assert (code[..., :2] * code[..., 2:] * bits).mean() == pytest.approx(1.0, abs=0.01)


def test_filler_is_noise_of_its_size() -> None:
    filler = draw_clips(PLANTS[0], N, 1).states[..., FILLER]
    assert float(filler.std()) == pytest.approx(0.3, rel=0.02)


def test_a_word_read_aloud_is_its_token_and_has_no_voice() -> None:
    states = read_aloud(torch.tensor([2]))
    assert states[0, 0, TEXT].tolist() == [0, 0, 1, 0]
    assert not states[..., PITCH].any() and not states[..., SOUND].any()
