"""run(request) -> RunResult: the one path from a clip to what the page shows, live and in batch.

The audio is encoded once; plain, erased and control arms are rows of one batch over one prompt. Nothing of
a run stays on a model; what was heard is kept in a small cache keyed by system and clip content.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from engine.agreement import compare
from engine.answering import all_layers, answer_arms, answer_one
from engine.audio import AudioClip
from engine.bench import Bench, ClipFacts, outcomes
from engine.clock import align_reference
from engine.conditions import Method, preset_layers
from engine.decode import run_arms
from engine.erasure import load_eraser
from engine.errors import PromptError
from engine.hooks import Scope
from engine.lens import TokenTrack, candidate_ids, lens_text, read_lens, track
from engine.noise import ROOM, add_noise
from engine.request import Question, RunRequest, check_request
from engine.result import Lane, LensReadout, Role, RunResult, SpokenWord
from engine.systems.base import Heard, Prepared, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import Pair, SystemSpec, get_pair, match_of, revision_of, transcriber_name
from engine.systems.registry import batch_is_exact, load_cascade, load_speech_llm, load_text_llm
from engine.systems.residency import using

__all__ = ["RunRequest", "RunResult", "TokenTrack", "run", "track_token"]

CONTROL_TRANSCRIPTS = Path(__file__).resolve().parents[1] / "assets" / "text" / "control_transcripts.txt"
HEARD_CLIPS_KEPT = 16

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Sound:
    """The clip as the models hear it, and what was done to it."""

    clip: AudioClip
    noise: str | None
    detail: str
    snr_db: float | None
    snr_db_achieved: float | None


def run(request: RunRequest, progress: Progress | None = None) -> RunResult:
    """Run the speech LLM, its cascade, and the oracle when the true transcript is known, on one clip.

    Args:
        request: what to do.
        progress: called with a share of 1 and what is being done.

    Raises:
        EngineError: something in the request cannot be used; the message says what to do.
    """
    report = progress or (lambda share, what: None)
    started = time.perf_counter()
    question = check_request(request)
    request = replace(request, reference=_unless_blank(request.reference), gold=_unless_blank(request.gold))
    sound = _add_noise(request)
    pair = get_pair(request.pair)
    report(0.05, "loading the models")
    lanes, words, words_from = _text_lanes(request, question, sound, pair, report)
    report(0.45, "the speech LLM listens and answers")
    speech_lane, lens, erasures = _speech(request, question, sound, words, words_from)
    report(1.0, "done")
    return RunResult(
        task=request.task,
        instruction=question.instruction,
        pair=request.pair,
        match=match_of(pair),
        audio_name=request.clip.name,
        audio_changes=(*sound.clip.changes, *([sound.detail] if sound.detail else [])),
        warnings=tuple(sound.clip.warnings),
        noise=sound.noise,
        snr_db=sound.snr_db,
        snr_db_achieved=sound.snr_db_achieved,
        seed=request.seed,
        waveform=sound.clip.samples,
        lanes=(speech_lane, *lanes),
        agreement=compare(question.task, speech_lane.answer, lanes[0].answer, request.gold, request.aliases),
        lens=lens,
        erasures=erasures,
        reference=request.reference,
        gold=request.gold,
        seconds=time.perf_counter() - started,
    )


@using()
def _text_lanes(
    request: RunRequest, question: Question, sound: _Sound, pair: Pair, report: Progress
) -> tuple[list[Lane], tuple[SpokenWord, ...], str]:
    """Return the lanes that read a transcript, and the words on the clock with where they come from."""
    cascade = load_cascade(pair.cascade)
    report(0.15, "the cascade transcribes")
    heard = hear(cascade, sound.clip)
    where = transcriber_name(cascade.spec)
    words, words_from = _words(request, heard, sound.clip, where)
    if request.transcript_override is not None:
        heard, where = cascade.backbone.hear_text(request.transcript_override), "edited by hand"
    lanes = [_text_lane(cascade, heard, question, "cascade", where)]
    if request.reference:
        report(0.35, "the text oracle answers")
        oracle = load_text_llm(pair.text_oracle)
        given = oracle.hear_text(request.reference, words)
        lanes.append(_text_lane(oracle, given, question, "text_oracle", "the true transcript"))
    return lanes, words, words_from


@using()
def track_token(request: RunRequest, text: str) -> TokenTrack:
    """Follow one token through all layers and audio positions of the speech LLM.

    Raises:
        PromptError: the text is empty; a longer one is followed by its first token.
    """
    question = check_request(request)
    speech = load_speech_llm(get_pair(request.pair).speech_llm)
    candidates = candidate_ids(speech.tokenizer, text.strip()) if text.strip() else ()
    if not candidates:
        raise PromptError("Type a word to follow it through the layers.")
    prepared = speech.prepare(hear(speech, _add_noise(request).clip), question.instruction)
    passed = run_arms(speech, prepared, record_layers=all_layers(speech), max_new_tokens=1)
    return track(speech, _at_span(passed.states, prepared), candidates[0])


@using()
def _speech(
    request: RunRequest, question: Question, sound: _Sound, words: tuple[SpokenWord, ...], words_from: str
) -> tuple[Lane, LensReadout, tuple]:
    """Run the speech LLM with all arms in one batch; return its lane, the lens and the bench."""
    speech = load_speech_llm(get_pair(request.pair).speech_llm)
    heard = hear(speech, sound.clip)
    bench = Bench(
        {key: load_eraser(request.pair, key, speech.fingerprint) for key in dict.fromkeys(request.erasures)},
        request.layers or preset_layers(len(speech.decoder_layers)),
        cast(Scope, request.scope),  # checked by check_request
        cast(Method, request.method),
        request.seed,
        request.strength,
    )
    batched = batch_is_exact(speech.spec.key)
    started = time.perf_counter()
    prepared = speech.prepare(heard, question.instruction)
    edits = bench.edits(prepared.span, prepared.embeddings.shape[1])
    passed, answers, right_scores = answer_arms(
        speech, prepared, question, gold=request.gold, edits=edits, batched=batched
    )
    seconds = heard.seconds + time.perf_counter() - started
    lens = read_lens(
        speech,
        _at_span(passed.states, prepared),
        seconds_per_position=heard.seconds_per_position,
        words=words,
        words_from=words_from,
        other_transcripts=control_transcripts(),
    )
    layer = clearest_layer(lens)
    lane = Lane(
        key=speech.spec.key,
        role="speech_llm",
        name=speech.spec.name,
        heard=lens_text(lens, layer),
        heard_from=f"logit lens, layer {layer}",
        words=(),
        answer=answers[0],
        seconds=seconds,
        encoder_seconds=heard.seconds,
        revision=revision_of(speech.spec),
    )
    facts = ClipFacts(words, sound.clip.samples, heard.seconds_per_position, prepared.span)
    return lane, lens, outcomes(bench, passed, edits, answers, right_scores, facts)


def _text_lane(system: WhiteBoxModel, heard: Heard, question: Question, role: Role, where: str) -> Lane:
    started = time.perf_counter()
    answer = answer_one(system, heard, question)
    spec: SystemSpec = system.spec
    return Lane(
        key=spec.key,
        role=role,
        name=spec.name,
        heard=heard.text,
        heard_from=where,
        words=heard.words,
        answer=answer,
        seconds=heard.seconds + time.perf_counter() - started,
        encoder_seconds=heard.seconds,
        revision=revision_of(spec),
    )


def clearest_layer(lens: LensReadout) -> int:
    """Return the layer whose reading best matches the words on the clock (the top one where none does)."""
    precision = np.nan_to_num(np.array(lens.precision), nan=-1.0)
    return lens.layers[int(precision.argmax())] if precision.max() > 0 else lens.layers[-1]


def _unless_blank(text: str | None) -> str | None:
    return (text or "").strip() or None


def clip_as_heard(request: RunRequest) -> AudioClip:
    """Return the request's clip with its noise, as the models hear it."""
    return _add_noise(request).clip


def _add_noise(request: RunRequest) -> _Sound:
    if request.noise == ROOM:
        noisy = add_noise(request.clip, ROOM, float("nan"), request.seed)
        return _Sound(noisy.clip, noisy.kind, noisy.detail, None, None)
    if request.noise is None or request.snr_db is None:
        return _Sound(request.clip, None, "", None, None)
    noisy = add_noise(request.clip, request.noise, request.snr_db, request.seed, request.noise_clip)
    return _Sound(noisy.clip, noisy.kind, noisy.detail, noisy.snr_db, noisy.snr_db_achieved)


def _words(
    request: RunRequest, heard: Heard, clip: AudioClip, transcriber: str
) -> tuple[tuple[SpokenWord, ...], str]:
    """Return the words on the clock: exact times, else the reference on the cascade's clock, else the cascade's."""
    if request.reference_words:
        return request.reference_words, "reference, exact times"
    if request.reference:
        return align_reference(request.reference, heard.words, clip.duration_s), "reference, cascade's times"
    return heard.words, transcriber


def _at_span(states: dict[int, Tensor], prepared: Prepared) -> dict[int, Tensor]:
    start, stop = prepared.span
    return {layer: recorded[0, start:stop] for layer, recorded in states.items()}


@cache
def control_transcripts() -> tuple[str, ...]:
    """Return the fixed held-out sentences that stand for other clips' transcripts."""
    return tuple(CONTROL_TRANSCRIPTS.read_text(encoding="utf-8").split("\n")[:-1])


_heard_lock = threading.Lock()
_heard: OrderedDict[tuple[str, str], Heard] = OrderedDict()


def hear(system: WhiteBoxSystem, clip: AudioClip) -> Heard:
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


def warm_up(pair: str) -> None:
    """Load a pair's models and run them once on a second of faint noise, so that the first run is quick."""
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.01
    run(RunRequest(AudioClip(noise, "warm-up"), "transcribe", pair=pair))
