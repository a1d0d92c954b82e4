"""The implicit cascade, live: the text that one layer's lens reads, given to the cascade's own LLM.

The prompt is the cascade's, and so is the path; only the transcript is another (paper arXiv 2602.17598,
section 5.3). What answers alike from such a text need not be what the speech LLM does inside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.answering import answer_one
from engine.errors import UnknownKeyError
from engine.lens import lens_text
from engine.request import RunRequest, check_request
from engine.result import Answer, LensReadout
from engine.systems.catalogue import get_pair
from engine.systems.registry import load_cascade
from engine.systems.residency import using


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
    answer: Answer
    seconds: float


@using()
def ask_lens_text(request: RunRequest, lens: LensReadout, layer: int) -> ImplicitAnswer:
    """Give one layer's lens text to the LLM of the pair's cascade, with the run's own question.

    Args:
        request: of the run that was read; its question and pair are used, its clip is not heard again.
        lens: what was read.
        layer: one of `lens.layers`.

    Raises:
        UnknownKeyError: the lens has no such layer.
    """
    question = check_request(request)
    if layer not in lens.layers:
        raise UnknownKeyError(f"The lens has no layer {layer}; choose {lens.layers[0]} to {lens.layers[-1]}.")
    cascade = load_cascade(get_pair(request.pair).cascade)
    text = lens_text(lens, layer)
    started = time.perf_counter()
    answer = answer_one(cascade, cascade.backbone.hear_text(text), question)
    return ImplicitAnswer(layer, text, cascade.spec.key, answer, time.perf_counter() - started)
