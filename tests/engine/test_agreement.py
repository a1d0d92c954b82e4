"""Every class of agreement, from answers written by hand."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.results import AgreementClass, Answer, LabelStatus
from engine.run import compare
from engine.tasks import TASKS

TOPIC, TRIVIA = TASKS["topic"], TASKS["trivia"]


def answer(label: str | None, status: LabelStatus = "parsed") -> Answer:
    return Answer(label or "", label, status, {}, -1.0)


CASES = (
    ("World", "World", "World", "both right"),
    ("World", "Sports", "World", "only the speech LLM right"),
    ("Sports", "World", "World", "only the cascade right"),
    ("Sports", "Sports", "World", "both wrong, same answer"),
    ("Sports", "Business", "World", "both wrong, different answers"),
    ("Sports", "Sports", None, "same answer"),
    ("Sports", "Business", None, "different answers"),
    (None, "Sports", "Sports", "not comparable"),
)


@pytest.mark.parametrize(("speech", "cascade", "gold", "kind"), CASES)
def test_each_class_by_hand(speech: str | None, cascade: str, gold: str | None, kind: str) -> None:
    found = compare(TOPIC, answer(speech, "parsed" if speech else "empty"), answer(cascade), gold)
    assert found.kind == kind
    assert found.sentence.endswith(".") and found.sentence[0].isupper()


def test_no_class_is_left_out_above() -> None:
    assert {case[-1] for case in CASES} == set(get_args(AgreementClass))


@pytest.mark.parametrize(
    ("status", "words"),
    [("unparsed", "none of the allowed words"), ("refused", "refused"), ("empty", "no answer")],
)
def test_unread_answers_are_never_alike_and_the_sentence_says_why(status: LabelStatus, words: str) -> None:
    unread = answer(None, status)
    both = compare(TOPIC, unread, unread, "World")
    assert both.kind == "not comparable" and both.sentence.count(words) == 2
    one = compare(TOPIC, answer("World"), unread, "World")
    assert one.kind == "not comparable" and "cascade" in one.sentence and "speech" not in one.sentence


def test_aliases_make_two_spellings_both_right_but_not_the_same_without_gold() -> None:
    speech, cascade = answer("everest"), answer("mount everest")
    assert compare(TRIVIA, speech, cascade, "Mount Everest", ("Everest",)).kind == "both right"
    assert compare(TRIVIA, speech, cascade, None).kind == "different answers"


def test_two_spellings_of_one_label_are_the_same_answer() -> None:
    assert compare(TRIVIA, answer("Mount Everest"), answer("mount everest"), None).kind == "same answer"


def test_swapping_the_systems_swaps_the_class() -> None:
    mirror = {"only the speech LLM right": "only the cascade right"}
    mirror |= {value: key for key, value in mirror.items()}
    for speech, cascade, gold, kind in CASES[:-1]:
        swapped = compare(TOPIC, answer(cascade), answer(speech), gold)
        assert swapped.kind == mirror.get(kind, kind)
