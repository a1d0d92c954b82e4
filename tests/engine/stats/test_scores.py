"""Macro-F1 against scikit-learn; the majority baseline by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score

from engine.stats.scores import macro_f1, majority_baseline

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
