"""The implicit cascade, live: the text that one layer's lens reads, given to the cascade's own LLM.

The prompt is the cascade's, and so is the path; only the transcript is another (paper arXiv 2602.17598,
section 5.3). What answers alike from such a text need not be what the speech LLM does inside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.errors import UnknownKeyError
from engine.lanes import read
from engine.lens import lens_text
from engine.request import RunRequest, check_request
from engine.result import AnyAnswer, LensReadout
from engine.systems.base import words_alone
from engine.systems.catalogue import get_pair, get_spec, require_states
from engine.systems.loading import load_behaviour, load_cascade, using
from engine.systems.remote import Tell


@dataclass(frozen=True)
class ImplicitAnswer:
    """What the LLM answers from one layer's text.

    Attributes:
        layer: whose text.
        text: the transcript it was given; it may be empty.
        backbone: key of the cascade whose LLM answered.
        seconds: of the LLM alone.
    """

    layer: int
    text: str
    backbone: str
    answer: AnyAnswer
    seconds: float


@using()
def ask_lens_text(
    request: RunRequest, lens: LensReadout | None, layer: int, tell: Tell | None = None
) -> ImplicitAnswer:
    """Give one layer's lens text to the LLM of the pair's cascade, with the run's own question.

    Args:
        request: of the run that was read; its question and pair are used, its clip is not heard again.
        lens: what was read.
        layer: one of `lens.layers`.
        tell: see `BehaviourModel.ask`, where the LLM is behind a service.

    Raises:
        UnknownKeyError: the lens has no such layer.
        ServiceError: there is no lens, since the states stay with a service; or it gave no answer.
    """
    question = check_request(request)
    pair = get_pair(request.pair)
    require_states(get_spec(pair.speech_llm), "lens")
    assert lens is not None, "a speech LLM that runs here is read"
    if layer not in lens.layers:
        raise UnknownKeyError(f"The lens has no layer {layer}; choose {lens.layers[0]} to {lens.layers[-1]}.")
    text = lens_text(lens, layer)
    if get_spec(pair.cascade).is_remote:
        started = time.perf_counter()
        answer = read(load_behaviour(pair.cascade), words_alone(text), question, tell)
    else:
        cascade = load_cascade(pair.cascade)
        started = time.perf_counter()
        answer = read(cascade, cascade.backbone.hear_text(text), question, tell)
    return ImplicitAnswer(layer, text, pair.cascade, answer, time.perf_counter() - started)
