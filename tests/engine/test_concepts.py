"""Concepts at positions: hand-computed overlaps, bags and levels."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio import SAMPLE_RATE_HZ
from engine.probes import ENERGY_FLOOR_DB, LETTERS, OTHER_WORD, energy_db, first_word, letter_bags
from engine.words import SpokenWord, even_ends, overlapping

WORDS = (SpokenWord("Add", 0.0, 0.5), SpokenWord("it's", 0.9, 1.6))
N_POSITIONS, WIDTH_S = 4, 0.5
ENDS_S = even_ends(N_POSITIONS, WIDTH_S)
TARGETS = ("add", "bank", OTHER_WORD)
SAMPLES = np.repeat(np.array([0.5, 0.05, 0.005, 0.0], np.float32), SAMPLE_RATE_HZ // 2)


def test_a_word_is_heard_wherever_it_overlaps_and_not_where_it_only_touches() -> None:
    assert overlapping(WORDS, ENDS_S) == ((0,), (1,), (1,), (1,))
    assert overlapping(WORDS, even_ends(N_POSITIONS, 1.0)) == ((0, 1), (1,), (), ())
    assert overlapping((), even_ends(2, WIDTH_S)) == ((), ())


def test_letter_bags_are_shares_of_the_letters_heard() -> None:
    bags = letter_bags(WORDS, ENDS_S)
    expected = np.zeros((N_POSITIONS, len(LETTERS)))
    expected[0, [0, 3]] = 1 / 3, 2 / 3
    expected[1:, [LETTERS.index(c) for c in "it's"]] = 1 / 4
    np.testing.assert_allclose(bags, expected)


def test_bags_sum_to_one_where_a_word_is_and_to_zero_in_pauses() -> None:
    bags = letter_bags((SpokenWord("queen", 0.0, 0.4), SpokenWord("42", 1.6, 1.9)), ENDS_S)
    np.testing.assert_allclose(bags.sum(1), [1.0, 0.0, 0.0, 0.0])


def test_level_is_in_decibels_of_full_scale_with_a_floor() -> None:
    expected = [20 * np.log10(0.5), 20 * np.log10(0.05), 20 * np.log10(0.005), ENERGY_FLOOR_DB]
    np.testing.assert_allclose(energy_db(SAMPLES, ENDS_S), expected, atol=1e-4)


def test_a_clip_shorter_or_longer_than_its_positions_is_padded_or_cut() -> None:
    assert energy_db(SAMPLES, even_ends(6, WIDTH_S))[4:] == pytest.approx(ENERGY_FLOOR_DB)
    assert len(energy_db(SAMPLES, even_ends(2, WIDTH_S))) == 2


def test_the_first_word_has_a_class_or_falls_to_the_last_one() -> None:
    assert first_word(WORDS, TARGETS) == 0
    assert first_word(WORDS[1:], TARGETS) == first_word((), TARGETS) == 2


def test_positions_of_many_widths_hold_what_is_said_while_they_last() -> None:
    """A bridge's positions last as long as their tokens: .3, .6 and 1.1 s here."""
    ends_s = np.array([0.3, 0.9, 2.0])
    assert overlapping(WORDS, ends_s) == ((0,), (0,), (1,))
    assert letter_bags(WORDS, ends_s)[2, LETTERS.index("t")] == pytest.approx(1 / 4)
    level = energy_db(SAMPLES, ends_s)
    loud = np.concatenate(
        [SAMPLES[int(start * SAMPLE_RATE_HZ) :][: int(0.6 * SAMPLE_RATE_HZ)] for start in (0.3,)]
    )
    assert level[0] == pytest.approx(20 * np.log10(0.5), abs=1e-3)
    assert level[1] == pytest.approx(10 * np.log10((loud.astype(float) ** 2).mean()), abs=1e-3)
