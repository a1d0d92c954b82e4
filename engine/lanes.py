"""One system's way through a clip, as a lane: a speech LLM, a reader of a transcript, or a service for either.

Models are handed in loaded; `engine.run` says which, and in what order.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from engine.answering import answer_arms, answer_behaviour, answer_one
from engine.audio import AudioClip
from engine.bench import Bench, outcomes
from engine.conditions import Method, preset_layers
from engine.erasure import Eraser
from engine.hooks import Scope
from engine.lens import lens_text, read_lens
from engine.remote import Tell
from engine.request import Question, RunRequest
from engine.result import (
    Answer,
    AnyAnswer,
    BehaviourAnswer,
    ErasureOutcome,
    Lane,
    LensReadout,
    Role,
    SpokenWord,
)
from engine.systems.base import BehaviourModel, Heard, Prepared, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import SystemSpec, revision_of

CONTROL_TRANSCRIPTS = Path(__file__).resolve().parents[1] / "assets" / "text" / "control_transcripts.txt"
NOT_SAID = "not known: the service sends its answer only"

Reader = WhiteBoxModel | BehaviourModel


def speech_lane(
    speech: WhiteBoxSystem,
    heard: Heard,
    question: Question,
    request: RunRequest,
    erasers: dict[str, Eraser],
    words: tuple[tuple[SpokenWord, ...], str],
    *,
    batched: bool,
) -> tuple[Lane, LensReadout, tuple[ErasureOutcome, ...]]:
    """Run the speech LLM with all arms in one batch; return its lane, the lens and the bench.

    Args:
        speech: who answers.
        heard: what it made of the clip.
        question: what is asked.
        request: right answer, layers, scope, method, seed and strength.
        erasers: condition -> eraser, in the order asked for.
        words: the words on the clock, and where they come from.
        batched: whether the arms run at once.
    """
    bench = _bench(request, erasers, len(speech.decoder_layers))
    started = time.perf_counter()
    prepared = speech.prepare(heard, question.instruction)
    edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
    passed, answers, right_scores = answer_arms(
        speech, prepared, question, gold=request.gold, edits=edits, batched=batched
    )
    seconds = heard.seconds + time.perf_counter() - started
    lens = read_lens(
        speech,
        at_span(passed.states, prepared),
        seconds_per_position=heard.seconds_per_position,
        position_ends_s=heard.position_ends_s,
        words=words[0],
        words_from=words[1],
        other_transcripts=control_transcripts(),
    )
    lane = _lane_read_by_lens(speech.spec, lens, answers[0], (heard.seconds, seconds))
    return lane, lens, outcomes(bench, passed, edits, answers, right_scores)


def _bench(request: RunRequest, erasers: dict[str, Eraser], n_layers: int) -> Bench:
    return Bench(
        erasers,
        request.layers or preset_layers(n_layers),
        cast(Scope, request.scope),  # checked by check_request
        cast(Method, request.method),
        request.seed,
        request.strength,
    )


def _lane_read_by_lens(
    spec: SystemSpec, lens: LensReadout, answer: Answer, seconds: tuple[float, float]
) -> Lane:
    """Return a speech LLM's lane; `seconds` are those of its ears and of all."""
    layer = clearest_layer(lens)
    return Lane(
        key=spec.key,
        role="speech_llm",
        name=spec.name,
        heard=lens_text(lens, layer),
        heard_from=f"logit lens, layer {layer}",
        words=(),
        answer=answer,
        seconds=seconds[1],
        encoder_seconds=seconds[0],
        revision=revision_of(spec),
    )


def served_speech_lane(system: BehaviourModel, clip: AudioClip, question: Question, tell: Tell) -> Lane:
    """Send the clip to a service and return its lane: an answer, and nothing of how it came about."""
    answer = answer_behaviour(system, clip, question, tell)
    return Lane(
        key=system.spec.key,
        role="speech_llm",
        name=system.spec.name,
        heard="",
        heard_from=NOT_SAID,
        words=(),
        answer=answer,
        seconds=answer.seconds,
        encoder_seconds=None,
        revision=answer.model_version,
    )


def text_lane(reader: Reader, heard: Heard, question: Question, role: Role, where: str, tell: Tell) -> Lane:
    """Return the lane of a text LLM, here or behind a service, that is given a transcript.

    Args:
        reader: who answers.
        heard: the transcript.
        question: what is asked.
        role: cascade or text_oracle.
        where: where the transcript comes from, in words.
        tell: see `BehaviourModel.ask`.
    """
    started = time.perf_counter()
    answer = read(reader, heard, question, tell)
    spec: SystemSpec = reader.spec
    if isinstance(answer, BehaviourAnswer):
        seconds, revision = answer.seconds, answer.model_version
    else:
        seconds, revision = time.perf_counter() - started, revision_of(spec)
    return Lane(
        key=spec.key,
        role=role,
        name=spec.name,
        heard=heard.text,
        heard_from=where,
        words=heard.words,
        answer=answer,
        seconds=heard.seconds + seconds,
        encoder_seconds=heard.seconds,
        revision=revision,
    )


def read(reader: Reader, heard: Heard, question: Question, tell: Tell | None = None) -> AnyAnswer:
    """Return a text LLM's answer from a transcript, whether it runs here or behind a service."""
    if isinstance(reader, BehaviourModel):
        return answer_behaviour(reader, heard.text, question, tell)
    return answer_one(reader, heard, question)


def clearest_layer(lens: LensReadout) -> int:
    """Return the layer whose reading best matches the words on the clock (the top one where none does)."""
    precision = np.nan_to_num(np.array(lens.precision), nan=-1.0)
    return lens.layers[int(precision.argmax())] if precision.max() > 0 else lens.layers[-1]


def at_span(states: dict[int, Tensor], prepared: Prepared) -> dict[int, Tensor]:
    """Return the first row's states at the clip's positions, by layer."""
    start, stop = prepared.span
    return {layer: recorded[0, start:stop] for layer, recorded in states.items()}


@cache
def control_transcripts() -> tuple[str, ...]:
    """Return the fixed held-out sentences that stand for other clips' transcripts."""
    return tuple(CONTROL_TRANSCRIPTS.read_text(encoding="utf-8").split("\n")[:-1])
