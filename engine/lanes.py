"""One system's way through a clip, as a lane: a speech LLM, a reader of a transcript, or a service for either.

Models are handed in loaded; `engine.run` says which, and in what order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from engine.answering import all_layers, answer_arms, answer_behaviour, answer_one
from engine.audio import AudioClip
from engine.bench import Bench, outcomes
from engine.conditions import Method, preset_layers
from engine.decode import Pass, run_arms
from engine.erasure import Eraser
from engine.errors import PromptError
from engine.hearing_verdict import OwnTranscript
from engine.hooks import Scope
from engine.lens import Reading, difference_reading, lens_text, logit_reading, read_lens
from engine.readouts import DIFFERENCE, TUNED
from engine.request import Question, RunRequest
from engine.result import (
    CUT_OFF,
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
from engine.systems.remote import Tell
from engine.tasks import get_task
from engine.tuned_lens import load_tuned_lens

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
    clean: Heard | None = None,
) -> tuple[Lane, LensReadout, LensReadout | None, tuple[ErasureOutcome, ...]]:
    """Run the speech LLM with all arms in one batch; return its lane, the logit lens, the readout asked for, the bench.

    Args:
        speech: who answers.
        heard: what it made of the clip.
        question: what is asked.
        request: right answer, layers, scope, method, seed and strength.
        erasers: condition -> eraser, in the order asked for.
        words: the words on the clock, and where they come from.
        batched: whether the arms run at once.
        clean: what it made of the clip without noise, where the difference of the two is asked for.
    """
    bench = _bench(request, erasers, len(speech.decoder_layers))
    started = time.perf_counter()
    prepared = speech.prepare(heard, question.instruction)
    edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
    passed, answers, right_scores = answer_arms(
        speech, prepared, question, gold=request.gold, edits=edits, batched=batched
    )
    seconds = heard.seconds + time.perf_counter() - started

    def read_by(reading: Reading, states: dict[int, Tensor]) -> LensReadout:
        return read_lens(
            speech,
            states,
            seconds_per_position=heard.seconds_per_position,
            position_ends_s=heard.position_ends_s,
            words=words[0],
            words_from=words[1],
            other_transcripts=control_transcripts(),
            reading=reading,
        )

    lens = read_by(logit_reading(speech), at_span(passed.states, prepared))
    clean_states = None
    if clean is not None:
        apart = speech.prepare(clean, question.instruction)
        clean_states = at_span(
            run_arms(speech, apart, record_layers=all_layers(speech), max_new_tokens=1).states, apart
        )
    readout = _other_readout(speech, request, lens, read_by, passed, prepared, clean_states)
    lane = _lane_read_by_lens(speech.spec, lens, answers[0], (heard.seconds, seconds))
    return lane, lens, readout, outcomes(bench, passed, edits, answers, right_scores)


def _other_readout(
    speech: WhiteBoxSystem,
    request: RunRequest,
    lens: LensReadout,
    read_by: Callable[[Reading, dict[int, Tensor]], LensReadout],
    passed: Pass,
    prepared: Prepared,
    clean: dict[int, Tensor] | None,
) -> LensReadout | None:
    """Return the tuned lens or the difference where one is asked for, of the states that the logit lens read."""
    here = at_span(passed.states, prepared)
    if request.readout == TUNED:
        tuned = load_tuned_lens(speech.spec.key, speech.fingerprint, len(speech.decoder_layers))
        read = read_by(logit_reading(speech, tuned), here)
        return replace(read, name="tuned lens", beside=lens.precision, beside_name="the logit lens")
    if request.readout != DIFFERENCE:
        return None
    if clean is not None:
        if len(next(iter(clean.values()))) != len(next(iter(here.values()))):
            raise PromptError(
                "The clean and the noisy clip are heard as different numbers of tokens, so their states have no "
                "difference; choose an erasure, or another readout."
            )
        return replace(read_by(difference_reading(speech, here), clean), name="clean minus noisy")
    # Rows of the batch: plain, the first condition erased, its random control.
    erased, control = (at_span(passed.states, prepared, row) for row in (1, 2))
    random = read_by(difference_reading(speech, control), here)
    read = read_by(difference_reading(speech, erased), here)
    return replace(
        read,
        name=f"plain minus {request.erasures[0]} erased",
        beside=random.precision,
        beside_name="plain minus the random control of the same rank",
    )


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


def own_transcript(speech: WhiteBoxSystem, heard: Heard) -> OwnTranscript | None:
    """Return what the speech LLM writes when it is asked to repeat the clip; None where it refuses."""
    task, started = get_task("transcribe"), time.perf_counter()
    prepared = speech.prepare(heard, task.instruction)
    _, answers, _ = answer_arms(speech, prepared, Question(task, task.instruction, ()), record=False)
    return transcript_in(answers[0], time.perf_counter() - started)


def transcript_in(answer: AnyAnswer, seconds: float = 0.0) -> OwnTranscript | None:
    """Return the answer to "transcribe" as a transcript, with the time that asking took; None for a refusal."""
    if answer.status == "refused":
        return None
    return OwnTranscript(answer.text, seconds, answer.note.startswith(CUT_OFF))


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


def at_span(states: dict[int, Tensor], prepared: Prepared, row: int = 0) -> dict[int, Tensor]:
    """Return a row's states at the clip's positions, by layer; the first row is the plain one."""
    start, stop = prepared.span
    return {layer: recorded[row, start:stop] for layer, recorded in states.items()}


@cache
def control_transcripts() -> tuple[str, ...]:
    """Return the fixed held-out sentences that stand for other clips' transcripts."""
    return tuple(CONTROL_TRANSCRIPTS.read_text(encoding="utf-8").split("\n")[:-1])
