"""run(request) -> RunResult: the one path from a clip to what the page shows, live and in batch.

The audio is encoded once; plain, erased and control arms are rows of one batch over one prompt. Where a
service answers in a system's place, its answer is all there is. Nothing of a run stays on a model; what was
heard is kept in a small cache keyed by system and clip content.

`ask_lens_text` is the implicit cascade: the text that one layer's lens reads, given to the cascade's own LLM. The
prompt is the cascade's, and so is the path; only the transcript is another (paper arXiv 2602.17598, section 5.3).
What answers alike from such a text need not be what the speech LLM does inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.answers import (
    answer_all,
    hear,
    own_transcript,
    served_speech_lane,
    speech_lane,
    text_lane,
    transcript_in,
)
from engine.audio import AudioClip
from engine.checks import batch_is_exact
from engine.erasure import load_eraser
from engine.errors import PromptError, UnknownKeyError
from engine.generate import span_states
from engine.hearing import judge_hearing, judge_language, judge_speech
from engine.lens import TokenTrack, candidate_ids, lens_text, track
from engine.noise import ROOM
from engine.request import DIFFERENCE, Question, RunRequest, check_request, clip_as_heard, noisy_clip
from engine.results import (
    Agreement,
    AnyAnswer,
    ErasureOutcome,
    HearingVerdict,
    Lane,
    LensReadout,
    OwnTranscript,
    RunResult,
)
from engine.systems.base import BehaviourModel, Heard, words_alone
from engine.systems.catalogue import (
    UNAVAILABLE,
    Pair,
    get_pair,
    get_spec,
    longest_trained_clip_s,
    match_of,
    require_states,
    transcriber_name,
)
from engine.systems.loading import (
    load_behaviour,
    load_cascade,
    load_served_cascade,
    load_speech_llm,
    load_text_llm,
    using,
)
from engine.systems.profiles import profile_in_use
from engine.systems.remote import Tell
from engine.tasks import Task, is_right
from engine.words import SpokenWord, normalise, words_on_clock

if TYPE_CHECKING:
    from engine.systems.cascade import Cascade, ServedCascade
    from engine.systems.text_llm import TextLLM

_WHY_UNREAD = {
    "unparsed": "answered with none of the allowed words",
    "refused": "refused to answer",
    "empty": "gave no answer",
}


def compare(
    task: Task, speech: AnyAnswer, cascade: AnyAnswer, gold: str | None, aliases: tuple[str, ...] = ()
) -> Agreement:
    """Return the agreement class of two answers; answers that were not parsed are never counted as alike."""
    unread = [
        f"the {name} {_WHY_UNREAD[answer.status]}"
        for name, answer in (("speech LLM", speech), ("cascade", cascade))
        if answer.label is None
    ]
    if unread:
        return Agreement("not comparable", f"Not comparable: {' and '.join(unread)}.")
    assert speech.label is not None and cascade.label is not None
    same = normalise(speech.label) == normalise(cascade.label)
    if gold is None:
        kind_same = (
            "The speech LLM and its cascade give the same answer; whether it is right is not known here."
        )
        kind_other = "The speech LLM and its cascade answer differently; which is right is not known here."
        return Agreement("same answer", kind_same) if same else Agreement("different answers", kind_other)
    speech_right = is_right(task, speech.label, gold, aliases, text=speech.text)
    cascade_right = is_right(task, cascade.label, gold, aliases, text=cascade.text)
    if speech_right and cascade_right:
        return Agreement("both right", "The speech LLM and its cascade both give the right answer.")
    if speech_right:
        return Agreement(
            "only the speech LLM right", f'Only the speech LLM is right; the answer is "{gold}".'
        )
    if cascade_right:
        return Agreement("only the cascade right", f'Only the cascade is right; the answer is "{gold}".')
    if same:
        return Agreement(
            "both wrong, same answer", f'Both are wrong in the same way; the answer is "{gold}".'
        )
    return Agreement(
        "both wrong, different answers", f'Both are wrong, each in its way; the answer is "{gold}".'
    )


SAID_CHARACTERS = 60  # of the first answer, told while the others are awaited

Progress = Callable[[float, str], None]
# Words on the clock, and where they come from.
Words = tuple[tuple[SpokenWord, ...], str]


def run(
    request: RunRequest,
    progress: Progress | None = None,
    answered: Callable[[RunResult], None] | None = None,
) -> RunResult:
    """Run the speech LLM, its cascade, and the oracle when the true transcript is known, on one clip.

    Args:
        request: what to do.
        progress: called with a share of 1 and what is being done, several times a second while a service is
            asked; what it raises ends the run.
        answered: called with the result once all of it but the comparison of both transcripts is there, if the
            speech LLM has still to be asked for its own; nobody need wait for that.

    Raises:
        EngineError: something in the request cannot be used, or a service gave no answer; the message says
            what to do.
    """
    report = progress or (lambda share, what: None)
    started = time.perf_counter()
    question = check_request(request)
    request = replace(request, reference=_unless_blank(request.reference), gold=_unless_blank(request.gold))
    noisy, verdict = noisy_clip(request), judge_speech(request.clip)
    clip = noisy.clip if noisy else request.clip
    at_ratio = noisy is not None and noisy.kind != ROOM
    pair = get_pair(request.pair)
    report(0.05, "loading the models")
    (load_behaviour if get_spec(pair.speech_llm).is_remote else load_speech_llm)(pair.speech_llm)
    lanes, words, written = _text_lanes(request, question, clip, pair, report)
    if profile_in_use().language == "en":  # where another is expected, another is no surprise
        verdict = judge_language(verdict, written.language)
    report(0.45, f"{_said(lanes[0])}; the speech LLM listens")
    speech_lane, lens, readout, erasures = _speech(request, question, clip, words, report)

    def judged(own: OwnTranscript | None) -> HearingVerdict:
        trained_s = longest_trained_clip_s(get_spec(pair.speech_llm))
        return judge_hearing(verdict, trained_s=trained_s, own=own, cascade=written.text)

    result = RunResult(
        task=request.task,
        instruction=question.instruction,
        pair=request.pair,
        match=match_of(pair),
        audio_name=request.clip.name,
        audio_changes=(*clip.changes, *([noisy.detail] if noisy else [])),
        warnings=clip.warnings,
        noise=noisy.kind if noisy else None,
        snr_db=noisy.snr_db if noisy and at_ratio else None,
        snr_db_achieved=noisy.snr_db_achieved if noisy and at_ratio else None,
        seed=request.seed,
        waveform=clip.samples,
        lanes=(speech_lane, *lanes),
        agreement=compare(question.task, speech_lane.answer, lanes[0].answer, request.gold, request.aliases),
        lens=lens,
        erasures=erasures,
        reference=request.reference,
        gold=request.gold,
        seconds=time.perf_counter() - started,
        not_measured=_not_measured(pair),
        readout=readout,
    )
    own = None
    if question.task.kind == "transcribe":
        own = transcript_in(speech_lane.answer)
    elif not verdict.is_warning and lens is not None:
        if answered:
            answered(_with_verdict(result, judged(None)))
        report(0.9, "the speech LLM repeats the clip, to be held against the cascade")
        own = _own_transcript(pair.speech_llm, clip)
    report(1.0, "done")
    return _with_verdict(result, judged(own))


def _with_verdict(result: RunResult, verdict: HearingVerdict) -> RunResult:
    warnings = (*result.warnings, *([verdict.sentence] if verdict.is_warning else []))
    return replace(result, hearing_verdict=verdict, warnings=warnings)


def _not_measured(pair: Pair) -> dict[str, str]:
    hears, reads = (get_spec(key).is_remote for key in (pair.speech_llm, pair.cascade))
    what = (*(("lens", "erasure") if hears else ()), *(("match",) if hears or reads else ()))
    return {key: UNAVAILABLE[key] for key in what}


@using()
def _text_lanes(
    request: RunRequest, question: Question, clip: AudioClip, pair: Pair, report: Progress
) -> tuple[list[Lane], Words, Heard]:
    """Return the lanes that read a transcript, the words on the clock with their source, and what the cascade heard."""
    cascade = _cascade(pair)
    report(0.15, "the cascade transcribes")
    written = heard = hear(cascade, clip)
    where = transcriber_name(cascade.spec)
    words = _words(request, heard, clip, where)
    if request.transcript_override is not None:
        heard, where = _as_heard(cascade, request.transcript_override), "edited by hand"

    def tell(what: str) -> None:
        report(0.35, f"the transcript is sent out; {what}")

    lanes = [text_lane(cascade, heard, question, "cascade", where, tell)]
    if request.reference:
        report(0.35, f"{_said(lanes[0])}; the text oracle reads")
        remote = get_spec(pair.text_oracle).is_remote
        oracle: TextLLM | BehaviourModel = (load_behaviour if remote else load_text_llm)(pair.text_oracle)
        given = _as_heard(oracle, request.reference, words[0])
        lanes.append(text_lane(oracle, given, question, "text_oracle", "the true transcript", tell))
    return lanes, words, written


def _said(cascade: Lane) -> str:
    """Return the first answer of a run in words, for who waits for the others."""
    said = " ".join(cascade.answer.text.split())
    return f'the cascade answers "{said[:SAID_CHARACTERS]}{" …" if len(said) > SAID_CHARACTERS else ""}"'


def _cascade(pair: Pair) -> Cascade | ServedCascade:
    remote = get_spec(pair.cascade).is_remote
    return load_served_cascade(pair.cascade) if remote else load_cascade(pair.cascade)


def _as_heard(
    reader: Cascade | ServedCascade | TextLLM | BehaviourModel, text: str, words: tuple[SpokenWord, ...] = ()
) -> Heard:
    """Return a text in place of what a reader heard."""
    if isinstance(reader, BehaviourModel):
        return words_alone(text, words)
    text_llm: Any = getattr(reader, "backbone", None) or reader  # a cascade's own
    heard: Heard = text_llm.hear_text(text, words)
    return heard


@using()
def track_token(request: RunRequest, text: str) -> TokenTrack:
    """Follow one token through all layers and audio positions of the speech LLM.

    Raises:
        PromptError: the text is empty; a longer one is followed by its first token.
        ServiceError: the speech LLM's states stay with a service.
    """
    question = check_request(request)
    pair = get_pair(request.pair)
    require_states(get_spec(pair.speech_llm), "lens")
    speech = load_speech_llm(pair.speech_llm)
    candidates = candidate_ids(speech.tokenizer, text.strip()) if text.strip() else ()
    if not candidates:
        raise PromptError("Type a word to follow it through the layers.")
    prepared = speech.prepare(hear(speech, clip_as_heard(request)), question.instruction)
    return track(speech, span_states(speech, prepared), candidates[0])


@using()
def _speech(
    request: RunRequest, question: Question, clip: AudioClip, words: Words, report: Progress
) -> tuple[Lane, LensReadout | None, LensReadout | None, tuple[ErasureOutcome, ...]]:
    """Return the speech LLM's lane; where its states are here, the logit lens, the readout asked for and the bench."""
    key = get_pair(request.pair).speech_llm
    if get_spec(key).is_remote:
        system = load_behaviour(key)
        lane = served_speech_lane(
            system, clip, question, lambda what: report(0.7, f"the clip is sent out; {what}")
        )
        return lane, None, None, ()
    speech = load_speech_llm(key)
    erasers = {
        one: load_eraser(request.pair, one, speech.fingerprint) for one in dict.fromkeys(request.erasures)
    }
    heard, batched = hear(speech, clip), batch_is_exact(key)
    noisy = request.readout == DIFFERENCE and not (erasers and request.strength)
    clean = hear(speech, request.clip) if noisy else None
    return speech_lane(speech, heard, question, request, erasers, words, batched=batched, clean=clean)


@using()
def _own_transcript(key: str, clip: AudioClip) -> OwnTranscript | None:
    speech = load_speech_llm(key)
    return own_transcript(speech, hear(speech, clip))


def _unless_blank(text: str | None) -> str | None:
    return (text or "").strip() or None


def _words(request: RunRequest, heard: Heard, clip: AudioClip, transcriber: str) -> Words:
    exact, reference = request.reference_words, request.reference
    return words_on_clock(exact, reference, lambda: heard.words, clip.duration_s, transcriber)


def warm_up(pair: str) -> None:
    """Load a pair's models and run them once on a second of faint noise, so that the first run is quick."""
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.01
    run(RunRequest(AudioClip(noise, "warm-up"), "transcribe", pair=pair))


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
    remote = get_spec(pair.cascade).is_remote
    reader: Cascade | BehaviourModel = (load_behaviour if remote else load_cascade)(pair.cascade)
    given = _as_heard(reader, text)
    started = time.perf_counter()
    (answer,) = answer_all(reader, [given], [question], tell=tell)
    return ImplicitAnswer(layer, text, pair.cascade, answer, time.perf_counter() - started)
