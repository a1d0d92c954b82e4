"""The implicit cascade is the cascade with another transcript, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import UnknownKeyError
from engine.lens import lens_text
from engine.request import RunRequest
from engine.run import ask_lens_text, run
from tests.engine.tiny_systems import sound

REQUEST = RunRequest(sound(1.7), "topic")

pytestmark = pytest.mark.usefixtures("tiny_models")


def test_its_answer_is_the_cascades_when_it_is_given_the_same_text() -> None:
    plain = run(REQUEST)
    for layer in plain.lens.layers:
        asked = ask_lens_text(REQUEST, plain.lens, layer)
        assert asked.text == lens_text(plain.lens, layer) and asked.layer == layer
        overridden = run(replace(REQUEST, transcript_override=asked.text)).lanes[1]
        assert asked.answer == overridden.answer and asked.backbone == overridden.key


def test_layers_that_read_differently_are_answered_from_their_own_text() -> None:
    lens = run(REQUEST).lens
    first, last = (ask_lens_text(REQUEST, lens, layer) for layer in (lens.layers[0], lens.layers[-1]))
    assert first.text != last.text and first.answer != last.answer


def test_a_layer_that_was_not_read_is_refused() -> None:
    with pytest.raises(UnknownKeyError, match="no layer 9; choose 0 to 3"):
        ask_lens_text(REQUEST, run(REQUEST).lens, 9)
