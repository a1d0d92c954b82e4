"""Macro-F1 against scikit-learn; the majority baseline by hand.

Word errors by the field's custom: Whisper's English normaliser on both sides.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from engine.stats.scores import (
    macro_f1,
    majority_baseline,
    pooled_word_error_rate,
    word_error_rate,
    word_errors,
)

LABELS = ["joy", "anger", "fear"]
PAIRS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([None, *LABELS])), min_size=1, max_size=60
)


@given(PAIRS)
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    golds, answers = [list(labels) for labels in zip(*pairs, strict=True)]
    read = [answer or "(none)" for answer in answers]
    theirs = f1_score(golds, read, labels=sorted(set(golds)), average="macro", zero_division=0)
    assert macro_f1(golds, answers) == pytest.approx(float(theirs), abs=1e-12)


def test_an_answer_without_a_label_counts_as_wrong() -> None:
    golds = ["joy", "joy", "fear"]
    assert macro_f1(golds, golds) == 1.0
    assert macro_f1(golds, ["joy", None, "fear"]) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(golds, [None, None, None]) == 0.0
    assert math.isnan(macro_f1([], []))


def test_the_majority_baseline_is_that_of_a_classifier_without_ears() -> None:
    golds = ["neutral"] * 5 + ["joy"] * 3 + ["fear"] * 2
    nothing = [[0]] * len(golds)
    dummy = DummyClassifier(strategy="most_frequent").fit(nothing, golds)
    assert majority_baseline(golds) == dummy.score(nothing, golds) == 0.5
    assert math.isnan(majority_baseline([]))


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
