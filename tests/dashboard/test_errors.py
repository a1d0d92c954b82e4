"""Only sentences written for people reach them; everything else becomes an id, and HTML stays text."""

from __future__ import annotations

import logging

import gradio as gr
import pytest

from dashboard.errors import plain_errors, sentence_for, with_plain_errors
from engine.errors import ClipError

SECRET = "/tmp/secret/place.wav hf_abcdefghijkl"


def test_an_engine_error_is_shown_word_for_word() -> None:
    assert sentence_for(ClipError("The clip is silent; record again.")) == "The clip is silent; record again."


def test_anything_else_becomes_an_id_that_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        sentence = sentence_for(RuntimeError(SECRET))
    assert "/tmp" not in sentence and "hf_" not in sentence
    incident = sentence.split("(id ")[1].split(")")[0]
    assert incident in caplog.text


def test_html_in_a_message_is_escaped() -> None:
    with pytest.raises(gr.Error) as shown, plain_errors():
        raise ClipError("<img src=x onerror=alert(1)> is no clip.")
    assert "<img" not in shown.value.message
    assert shown.value.print_exception is False


def test_generators_are_guarded_after_their_first_step() -> None:
    @with_plain_errors
    def steps():
        yield 1
        raise ClipError("Too short.")

    found = steps()
    assert next(found) == 1
    with pytest.raises(gr.Error, match="Too short"):
        next(found)


def test_a_toast_passes_through_unchanged() -> None:
    with pytest.raises(gr.Error, match="as it was"), plain_errors():
        raise gr.Error("as it was")
