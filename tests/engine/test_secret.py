"""A key never shows, whatever is done with what holds it."""

from __future__ import annotations

import copy
import pickle

import pytest

from engine.errors import ServiceError
from engine.systems.remote import Secret, secret_from
from tests.engine.fake_service import SENTINEL

NAMES = ("FIRST_KEY", "SECOND_KEY")


def test_a_key_shows_in_no_form_but_the_one_asked_for() -> None:
    secret = Secret(SENTINEL)
    shown = f"{secret} {secret!r} {secret!s} {[secret]} { {'key': secret} }"
    assert SENTINEL not in shown and SENTINEL[:8] not in shown
    assert secret.reveal() == SENTINEL
    assert not hasattr(secret, "__dict__")


def test_a_key_is_neither_copied_nor_written() -> None:
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="own environment") as caught:
            write(Secret(SENTINEL))
        assert SENTINEL not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"bad key {SENTINEL}!", "bad key ***!"),
        (f"{SENTINEL}{SENTINEL}", "***"),
        (f"{SENTINEL} and {SENTINEL}", "*** and ***"),
        (f"starts {SENTINEL[:8]}...", "starts ***..."),
        (f"ends in {SENTINEL[-8:]}", "ends in ***"),
        (f"seven {SENTINEL[:7]}", f"seven {SENTINEL[:7]}"),
        ("the queen scored three goals", "the queen scored three goals"),
        ("", ""),
    ],
)
def test_parts_of_the_key_are_taken_out_of_foreign_text(text: str, hidden: str) -> None:
    assert Secret(SENTINEL).hide_in(text) == hidden


def test_a_word_that_stands_for_no_key_is_left_in_answers() -> None:
    """vLLM's examples send EMPTY; an answer may say it."""
    assert Secret("EMPTY").hide_in("EMPTY shelf") == "EMPTY shelf"
    assert Secret("").hide_in("shelf") == "shelf"


def test_the_first_variable_that_is_set_counts() -> None:
    assert secret_from(NAMES, "Fake", {"SECOND_KEY": "b", "FIRST_KEY": " a\n"}).reveal() == "a"
    assert secret_from(NAMES, "Fake", {"FIRST_KEY": "  ", "SECOND_KEY": "b"}).reveal() == "b"


def test_a_missing_key_is_one_sentence() -> None:
    with pytest.raises(ServiceError) as caught:
        secret_from(NAMES, "Fake", {})
    assert str(caught.value) == "Fake needs a key; set FIRST_KEY or SECOND_KEY in the environment."


@pytest.mark.parametrize("bad", ["two words of it", "line\nbreak-of-it", "umlaut-ä-in-it", "tab\tinside-it"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(bad: str) -> None:
    """The HTTP library's own error would quote it."""
    with pytest.raises(ServiceError) as caught:
        secret_from(NAMES, "Fake", {"FIRST_KEY": bad})
    assert str(caught.value) == "The key in FIRST_KEY holds characters that no key has; copy it there again."
