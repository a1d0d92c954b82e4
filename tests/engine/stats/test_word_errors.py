"""Word errors by the field's custom: Whisper's English normaliser on both sides."""

from __future__ import annotations

import math

import pytest

from engine.stats.scores import pooled_word_error_rate, word_error_rate, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "counted"),
    [
        ("I don\u2019t think that\u2019s it", "I don't think that's it", (0, 7)),
        ("it has fifty turns", "it has 50 turns", (0, 4)),
        ("the Colour, of it!", "the color of it", (0, 4)),
        ("Beyoncé sang", "beyonce sang", (0, 2)),
        ("Um, hello there", "hello there", (0, 2)),
        ("we saw three ships", "we saw four ships", (1, 4)),
        ("we saw ships", "", (3, 3)),
        ("we saw ships", "we saw the ships", (1, 3)),
        ("", "anything", (0, 0)),
    ],
)
def test_word_errors_are_counted_after_whispers_normaliser(
    said: str, heard: str, counted: tuple[int, int]
) -> None:
    """Fault: typographic apostrophes alone made 2,011 errors in MELD's perfect transcripts."""
    assert word_errors(said, heard) == counted


def test_rates_are_pooled_over_words_and_undefined_without_any() -> None:
    assert word_error_rate("a b c d", "a b c") == 0.25 and math.isnan(word_error_rate("", "a"))
    assert pooled_word_error_rate(
        ["we saw", "ships of the line"], ["we", "ships of the line"]
    ) == pytest.approx(1 / 6)
