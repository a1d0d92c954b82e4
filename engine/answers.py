"""From what a system heard to its answer: the one place where a generated text becomes a label, and a system a lane.

A lane of the page and the benchmark ask plainly (`answer_all`): the one clip by clip, the other in batches where they
equal singles. The page asks one clip under several arms (`answer_arms`), of which the first is plain. A `Bench` is the
erasures of one run: row 0 is plain; each condition owns two rows, erased and the random control of the same kept rank.
Models are handed in loaded; `engine.run` says which, and in what order.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.audio import AudioClip
from engine.erasure import Eraser
from engine.errors import PromptError
from engine.generate import Decoded, Pass, all_layers, at_span, run_arms, run_prompts, span_states
from engine.hooks import RowEdits, Scope
from engine.lens import (
    Reading,
    difference_reading,
    lens_text,
    load_tuned_lens,
    logit_reading,
    read_lens,
)
from engine.request import DIFFERENCE, TUNED, Method, Question, RunRequest, preset_layers
from engine.results import (
    CUT_OFF,
    Answer,
    AnyAnswer,
    ArmResult,
    BehaviourAnswer,
    ErasureOutcome,
    Lane,
    LensReadout,
    OwnTranscript,
    Role,
)
from engine.systems.base import BehaviourModel, Heard, Prepared, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import UNAVAILABLE, SystemSpec, revision_of
from engine.systems.remote import Tell
from engine.tasks import get_task, parse_answer
from engine.words import SpokenWord

if TYPE_CHECKING:
    from engine.systems.cascade import ServedCascade

Reader = WhiteBoxModel | BehaviourModel


def answer_all(
    system: Reader,
    given: Sequence[Heard | AudioClip],
    questions: Sequence[Question],
    *,
    batch_size: int = 1,
    tell: Tell | None = None,
) -> list[AnyAnswer]:
    """Return a system's plain answer to each question, whether it runs here or is a service.

    Args:
        system: who is asked.
        given: what it heard, one for each question; a service that hears is given the clip itself.
        questions: what is asked of each.
        batch_size: prompts to a pass; more than 1 where `engine.checks.check_batches` finds batches equal to singles.
        tell: see `BehaviourModel.ask`.

    Raises:
        ServiceError: the service gave no reply.
    """
    if not isinstance(system, BehaviourModel):
        return [*answer_batch(system, cast(Sequence[Heard], given), questions, batch_size)]
    return [
        answer_behaviour(system, one.text if isinstance(one, Heard) else one, question, tell)
        for one, question in zip(given, questions, strict=True)
    ]


def answer_one(system: WhiteBoxModel, heard: Heard, question: Question) -> Answer:
    """Return a system's plain answer to one question about one clip."""
    _, answers, _ = answer_arms(system, system.prepare(heard, question.instruction), question)
    return answers[0]


def answer_batch(
    system: WhiteBoxModel, heard: Sequence[Heard], questions: Sequence[Question], batch_size: int
) -> list[Answer]:
    """Return the answers that `answer_one` gives, several prompts to a forward pass.

    Args:
        system: who is asked.
        heard: one for each question, in any order; neighbours of like length waste least.
        questions: what is asked of each.
        batch_size: prompts to a pass; 1 takes the very path of the page.
    """
    pairs = list(zip(heard, questions, strict=True))
    if batch_size == 1:
        return [answer_one(system, one, question) for one, question in pairs]
    answers: list[Answer] = []
    for start in range(0, len(pairs), batch_size):
        rows = pairs[start : start + batch_size]
        replies = run_prompts(
            system,
            [system.prepare(one, question.instruction) for one, question in rows],
            continuations=[question.labels for _, question in rows],
            max_new_tokens=[question.task.max_new_tokens for _, question in rows],
        )
        for (_, question), reply in zip(rows, replies, strict=True):
            answers.append(_read(question, reply.decoded, reply.continuation_scores.numpy()))
    return answers


def answer_behaviour(
    system: BehaviourModel, given: AudioClip | str, question: Question, tell: Tell | None = None
) -> BehaviourAnswer:
    """Return a behaviour-only system's answer to one question about a clip, or about a transcript.

    Args:
        system: who is asked.
        given: the clip, or the transcript.
        question: what is asked.
        tell: see `BehaviourModel.ask`.

    Raises:
        ServiceError: the service gave no reply; in a benchmark that is a failed row with this sentence.
    """
    reply = system.ask(given, question.instruction, tell)
    label, status = parse_answer(question.task, reply.text, question.labels)
    if reply.refusal:
        label, status = None, "refused"
    return BehaviourAnswer(
        text=reply.text,
        label=label,
        status=status,
        forced_choice=None,
        log_likelihood=None,
        not_measured=f"{UNAVAILABLE['forced_choice']} {UNAVAILABLE['log_likelihood']}",
        model_version=reply.model_version,
        note=f"Refused by the service: {reply.refusal}." if reply.refusal else reply.note,
        seconds=reply.seconds,
        prompt_tokens=reply.prompt_tokens,
        answer_tokens=reply.answer_tokens,
    )


def answer_arms(
    system: WhiteBoxModel,
    prepared: Prepared,
    question: Question,
    *,
    gold: str | None = None,
    edits: RowEdits | None = None,
    batched: bool = True,
    record: bool = True,
) -> tuple[Pass, list[Answer], list[float | None]]:
    """Answer under every arm; return the pass, the parsed answers and the right answer's scores.

    States at every layer are in the pass, for a system that hears, unless `record` is False.
    """
    scored = [*question.labels, *([gold] if gold and gold not in question.labels else [])]
    layers = all_layers(system) if record and prepared.heard.seconds_per_position else ()
    passed = run_arms(
        system,
        prepared,
        edits=edits,
        continuations=scored,
        record_layers=layers,
        max_new_tokens=question.task.max_new_tokens,
        batched=batched,
    )
    scores = passed.continuation_scores.numpy()
    answers = [_read(question, decoded, scores[row]) for row, decoded in enumerate(passed.decoded)]
    right = [float(row[scored.index(gold)]) if gold else None for row in scores]
    return passed, answers, right


def _read(question: Question, decoded: Decoded, scores: Float[np.ndarray, " continuations"]) -> Answer:
    """Read one row; the labels' scores come first."""
    label, status = parse_answer(question.task, decoded.text, question.labels)
    shares = _normalised(scores[: len(question.labels)])
    forced = dict(zip(question.labels, shares, strict=True))
    note = "" if decoded.end_id is not None else f"{CUT_OFF} {question.task.max_new_tokens} tokens."
    return Answer(decoded.text, label, status, forced, decoded.log_likelihood, note)


def _normalised(log_scores: Float[np.ndarray, " labels"]) -> list[float]:
    if not len(log_scores):
        return []
    shares = np.exp(log_scores - log_scores.max())
    return [float(share) for share in shares / shares.sum()]


NO_PROOF = (
    "Whether it is gone was not measured: the erasers on disk carry no proof (python -m precompute erasers)."
)
NO_PROOF_HERE = (
    "Whether it is gone was not measured for these layers together: it is for each layer alone, and for the lowest "
    "of the nine."
)


@dataclass(frozen=True)
class Bench:
    """The erasures of one run.

    Attributes:
        erasers: condition -> its eraser, in the order asked for.
        layers: edited layers.
        scope, method: as in `RunRequest`.
        seed: of the random control.
        strength: of erasers and controls alike, 0 to 1.
    """

    erasers: Mapping[str, Eraser]
    layers: tuple[int, ...]
    scope: Scope
    method: Method
    seed: int
    strength: float = 1.0

    def edits(self, span: tuple[int, int], n_prompt: int) -> RowEdits | None:
        """Return the rows' projections for a prompt of this length; None when nothing is erased.

        At strength 0 nothing is: another row of a batch would differ from the plain one by its rounding.
        """
        if not self.erasers or self.strength == 0:
            return None
        rows: list[dict | None] = [None]
        for eraser in self.erasers.values():
            rows.append(eraser.projections(self.layers, self.method, self.strength))
            rows.append(eraser.random_control(self.layers, self.method, self.seed, self.strength))
        return RowEdits(rows, span, n_prompt, self.scope)


def outcomes(
    bench: Bench,
    passed: Pass,
    edits: RowEdits | None,
    answers: Sequence[Answer],
    right_scores: Sequence[float | None],
) -> tuple[ErasureOutcome, ...]:
    """Return one outcome for each condition.

    Args:
        bench: what was asked.
        passed: the batch's results; row 0 plain.
        edits: the rows' edits, with the changes they made; None where every arm is the plain row.
        answers: the parsed answer of every row.
        right_scores: log-probability of the right answer in every row, None where it is not known.
    """
    if not bench.erasers:
        return ()
    results, found = [], arm_results(passed, edits, answers, right_scores)
    for index, (condition, eraser) in enumerate(bench.erasers.items()):
        rows = (0, 0, 0) if edits is None else (0, 1 + 2 * index, 2 + 2 * index)
        arms = [found[row] for row in rows]
        proof = eraser.proof.of_run(bench.layers, bench.method, bench.scope) if eraser.proof else None
        results.append(
            ErasureOutcome(
                condition=condition,
                kept_rank=eraser.rank(bench.layers, bench.method),
                layers=bench.layers,
                scope=bench.scope,
                method=bench.method,
                strength=bench.strength,
                plain=arms[0],
                erased=arms[1],
                random_control=arms[2],
                fitted_on=eraser.fitted_on(bench.layers, bench.method),
                proof=proof,
                proof_missing="" if proof else NO_PROOF_HERE if eraser.proof else NO_PROOF,
            )
        )
    return tuple(results)


def arm_results(
    passed: Pass, edits: RowEdits | None, answers: Sequence[Answer], right_scores: Sequence[float | None]
) -> list[ArmResult]:
    """Return each row of a batch against its plain row 0; arguments as of `outcomes`."""
    scores, plain = passed.first_answer_scores, right_scores[0]
    return [
        ArmResult(
            answer=answers[row],
            log_likelihood_change=scores[row] - scores[0],
            right_log_likelihood_change=None if right is None or plain is None else right - plain,
            relative_change_of_state=edits.relative_change(row) if edits else 0.0,
        )
        for row, right in enumerate(right_scores)
    ]


CONTROL_TRANSCRIPTS = Path(__file__).resolve().parents[1] / "assets" / "text" / "control_transcripts.txt"
NOT_SAID = "not known: the service sends its answer only"


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
        clean_states = span_states(speech, apart)
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
    (answer,) = answer_all(system, [clip], [question], tell=tell)
    assert isinstance(answer, BehaviourAnswer)
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
    (answer,) = answer_all(reader, [heard], [question], tell=tell)
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


def clearest_layer(lens: LensReadout) -> int:
    """Return the layer whose reading best matches the words on the clock (the top one where none does)."""
    precision = np.nan_to_num(np.array(lens.precision), nan=-1.0)
    return lens.layers[int(precision.argmax())] if precision.max() > 0 else lens.layers[-1]


@cache
def control_transcripts() -> tuple[str, ...]:
    """Return the fixed held-out sentences that stand for other clips' transcripts."""
    return tuple(CONTROL_TRANSCRIPTS.read_text(encoding="utf-8").split("\n")[:-1])


HEARD_CLIPS_KEPT = 16


_heard_lock = threading.Lock()
_heard: OrderedDict[tuple[str, str], Heard] = OrderedDict()


def hear(system: WhiteBoxSystem | ServedCascade, clip: AudioClip) -> Heard:
    """Return what a system hears in a clip; the same clip is encoded once, whatever is asked of it later."""
    key = (f"{system.spec.key}|{system.fingerprint}", clip.fingerprint)
    with _heard_lock:
        if key in _heard:
            _heard.move_to_end(key)
            return _heard[key]
    heard = system.hear(clip)
    with _heard_lock:
        _heard[key] = heard
        while len(_heard) > HEARD_CLIPS_KEPT:
            _heard.popitem(last=False)
    return heard
