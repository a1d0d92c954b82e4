"""Concepts at positions: hand-computed overlaps, bags and levels."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio import SAMPLE_RATE_HZ
from engine.concepts import (
    ENERGY_FLOOR_DB,
    LETTERS,
    OTHER_WORD,
    energy_db,
    first_word,
    letter_bags,
    overlapping,
)
from engine.result import SpokenWord

WORDS = (SpokenWord("Add", 0.0, 0.5), SpokenWord("it's", 0.9, 1.6))
N_POSITIONS, WIDTH_S = 4, 0.5
TARGETS = ("add", "bank", OTHER_WORD)
SAMPLES = np.repeat(np.array([0.5, 0.05, 0.005, 0.0], np.float32), SAMPLE_RATE_HZ // 2)


def test_a_word_is_heard_wherever_it_overlaps_and_not_where_it_only_touches() -> None:
    assert overlapping(WORDS, N_POSITIONS, WIDTH_S) == ((0,), (1,), (1,), (1,))
    assert overlapping(WORDS, N_POSITIONS, 1.0) == ((0, 1), (1,), (), ())
    assert overlapping((), 2, WIDTH_S) == ((), ())


def test_letter_bags_are_shares_of_the_letters_heard() -> None:
    bags = letter_bags(WORDS, N_POSITIONS, WIDTH_S)
    expected = np.zeros((N_POSITIONS, len(LETTERS)))
    expected[0, [0, 3]] = 1 / 3, 2 / 3
    expected[1:, [LETTERS.index(c) for c in "it's"]] = 1 / 4
    np.testing.assert_allclose(bags, expected)


def test_bags_sum_to_one_where_a_word_is_and_to_zero_in_pauses() -> None:
    bags = letter_bags((SpokenWord("queen", 0.0, 0.4), SpokenWord("42", 1.6, 1.9)), N_POSITIONS, WIDTH_S)
    np.testing.assert_allclose(bags.sum(1), [1.0, 0.0, 0.0, 0.0])


def test_level_is_in_decibels_of_full_scale_with_a_floor() -> None:
    expected = [20 * np.log10(0.5), 20 * np.log10(0.05), 20 * np.log10(0.005), ENERGY_FLOOR_DB]
    np.testing.assert_allclose(energy_db(SAMPLES, N_POSITIONS, WIDTH_S), expected, atol=1e-4)


def test_a_clip_shorter_or_longer_than_its_positions_is_padded_or_cut() -> None:
    assert energy_db(SAMPLES, 6, WIDTH_S)[4:] == pytest.approx(ENERGY_FLOOR_DB)
    assert len(energy_db(SAMPLES, 2, WIDTH_S)) == 2


def test_the_first_word_has_a_class_or_falls_to_the_last_one() -> None:
    assert first_word(WORDS, TARGETS) == 0
    assert first_word(WORDS[1:], TARGETS) == first_word((), TARGETS) == 2
