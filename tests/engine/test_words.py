"""A known transcript on a transcriber's clock: hand-computed cases and what must always hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.words import SpokenWord, align_reference

HEARD = (SpokenWord("the", 0.1, 0.3), SpokenWord("Queen", 0.4, 0.9), SpokenWord("left.", 1.0, 1.5))


def times(words: tuple[SpokenWord, ...]) -> list[tuple[str, Any, Any]]:
    return [(word.text, pytest.approx(word.start_s), pytest.approx(word.end_s)) for word in words]


def test_words_heard_as_said_take_their_times() -> None:
    """A word keeps its own spelling; case and signs are set aside for comparing only."""
    aligned = align_reference("The queen left!", HEARD, 2.0)
    assert times(aligned) == [("The", 0.1, 0.3), ("queen", 0.4, 0.9), ("left", 1.0, 1.5)]


def test_a_misheard_word_fills_the_gap_between_its_neighbours() -> None:
    aligned = align_reference("the bank left", HEARD, 2.0)
    assert times(aligned) == [("the", 0.1, 0.3), ("bank", 0.3, 1.0), ("left", 1.0, 1.5)]


def test_words_in_one_gap_share_it_by_their_letters() -> None:
    """From 0.3 to 1.0 s there are seven letters, so a tenth of a second for each."""
    aligned = align_reference("the old king left", HEARD, 2.0)
    assert times(aligned)[1:3] == [("old", 0.3, 0.6), ("king", 0.6, 1.0)]


def test_missing_first_and_last_words_reach_to_the_ends_of_the_clip() -> None:
    aligned = align_reference("so queen then", HEARD, 2.0)
    assert times(aligned) == [("so", 0.0, 0.4), ("queen", 0.4, 0.9), ("then", 0.9, 2.0)]


def test_with_nothing_heard_the_words_share_the_clip() -> None:
    aligned = align_reference("a bcd", (), 2.0)
    assert times(aligned) == [("a", 0.0, 0.5), ("bcd", 0.5, 2.0)]


def test_nothing_said_gives_no_words() -> None:
    assert align_reference("", HEARD, 2.0) == align_reference("?!", HEARD, 2.0) == ()


def test_a_repeated_word_is_matched_once_and_in_order() -> None:
    heard = (SpokenWord("no", 0.0, 0.2), SpokenWord("no", 0.8, 1.0))
    assert times(align_reference("no no no", heard, 1.5))[:2] == [("no", 0.0, 0.2), ("no", 0.8, 1.0)]
    assert times(align_reference("no", heard, 1.5)) == [("no", 0.0, 0.2)]


VOCABULARY = st.sampled_from(["the", "queen", "left", "a", "bank", "today"])


@given(st.lists(VOCABULARY, max_size=8), st.lists(VOCABULARY, max_size=8))
def test_the_words_stay_complete_in_order_and_inside_the_clip(
    said: list[str], heard_texts: list[str]
) -> None:
    heard = [SpokenWord(text, 0.5 * i, 0.5 * i + 0.4) for i, text in enumerate(heard_texts)]
    aligned = align_reference(" ".join(said), heard, 5.0)
    assert [word.text for word in aligned] == said
    edges = [edge for word in aligned for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges) and all(0.0 <= edge <= 5.0 for edge in edges)
