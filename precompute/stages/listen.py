"""Work on sound: each clip is rendered once, then transcribed by every transcriber and answered by every speech LLM.

Clips of one item in one voice follow one another and share the rendering; only their noise differs.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.answers import answer_batch, answer_behaviour
from engine.audio import AudioClip
from engine.errors import ServiceError
from engine.request import Question
from engine.results import Answer
from engine.systems.base import Heard
from engine.systems.catalogue import is_service
from engine.voice import CLEAN, Recipe, say_recipe, spoil
from precompute.ledger import LedgerRow
from precompute.stages.loaded import batching_of, service, speech_llm, transcriber
from precompute.units import ListenStage, ListenUnit, Need, Outcome

DIGITS = 6  # of a probability: what a batch of another make-up leaves unchanged, and more than anyone reads


@dataclass(frozen=True)
class _Wanted:
    """A result wanted of one rendered clip."""

    need: Need
    clip: AudioClip
    question: Question


def listen(unit: ListenUnit) -> Outcome:
    """Return the rows of a unit; raises what its clips make any part raise."""
    rows: list[LedgerRow] = []
    wanted: list[_Wanted] = []
    for need, clip, question, row in _rendered(unit):
        if need.stage == "render":
            rows.append(row)
        else:
            wanted.append(_Wanted(need, clip, question))
    findings: dict[str, str] = {}
    for who in dict.fromkeys(one.need.who for one in wanted):
        asked = [one for one in wanted if one.need.who == who]
        if asked[0].need.stage == "transcribe":
            rows += [_transcribed(unit, one) for one in asked]
        elif is_service(who):
            rows += [asked_row(one.need.key, "listen", who, who, one.clip, one.question) for one in asked]
        else:
            answered, findings[who] = _answered(unit, who, asked)
            rows += answered
    return Outcome(tuple(rows), findings)


def _rendered(unit: ListenUnit) -> Iterator[tuple[Need, AudioClip, Question, LedgerRow]]:
    sound, clean = None, None
    for work in unit.works:
        started = time.perf_counter()
        if clean is None or work.recipe.sound != sound:
            sound, clean = work.recipe.sound, say_recipe(work.recipe, unit.folder).clip
        noisy = spoil(clean, work.recipe, unit.musan)
        clip = noisy.clip if noisy else clean
        achieved = None if noisy is None or math.isnan(noisy.snr_db_achieved) else noisy.snr_db_achieved
        seconds = time.perf_counter() - started
        for need in work.needs:
            row = LedgerRow(
                need.key,
                "render",
                "",
                seconds=seconds,
                audio_s=clip.duration_s,
                snr_db_achieved=achieved,
                audio_sha256=clip.fingerprint if need.stage == "render" else "",
                flags=_flags(work.recipe, clip) if need.stage == "render" else "",
            )
            yield need, clip, work.question, row


def _flags(recipe: Recipe, clip: AudioClip) -> str:
    """Return what is wrong with a recording as it came; what is spoken here, or spoilt here, has no flags."""
    if not recipe.file or recipe.noise != CLEAN:
        return ""
    from precompute.corpora.clip_flags import flags_of

    return ",".join(flags_of("", clip).names)


def _transcribed(unit: ListenUnit, wanted: _Wanted) -> LedgerRow:
    started = time.perf_counter()
    text, _ = transcriber(wanted.need.who, unit.models, unit.hearing).transcribe(wanted.clip)
    seconds = time.perf_counter() - started
    return LedgerRow(wanted.need.key, "transcribe", wanted.need.who, text=text, seconds=seconds)


def _answered(unit: ListenUnit, who: str, wanted: Sequence[_Wanted]) -> tuple[list[LedgerRow], str]:
    """Answer in batches of like length, each clip encoded once."""
    system = speech_llm(who, unit.models)
    finding = batching_of(who, unit.models)
    heard: list[Heard] = [system.hear(one.clip) for one in wanted]
    # Alike in length and in the number of labels: a batch is filled up to its widest row.
    order = sorted(
        range(len(wanted)), key=lambda i: (len(wanted[i].question.labels), len(heard[i].embeddings), i)
    )
    rows = []
    size = finding.batch_size
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        began = time.perf_counter()
        answers = answer_batch(system, [heard[i] for i in batch], [wanted[i].question for i in batch], size)
        share = (time.perf_counter() - began) / len(batch)
        rows += [
            answer_row(wanted[i].need.key, "listen", who, answer, heard[i].seconds + share)
            for i, answer in zip(batch, answers, strict=True)
        ]
    return rows, finding.sentence


def asked_row(
    key: str,
    stage: ListenStage | Literal["read"],
    who: str,
    system: str,
    given: AudioClip | str,
    question: Question,
) -> LedgerRow:
    """Return a service's answer as a row; where it gave none, a failed row with its sentence, asked again next run.

    Args:
        key: of the row.
        stage: of the row.
        who: of the row.
        system: the service's key.
        given: the clip or the transcript.
        question: what is asked.
    """
    try:
        answer = answer_behaviour(service(system), given, question)
    except ServiceError as error:
        return LedgerRow(key, stage, who, status="failed", reason=str(error))
    return LedgerRow(
        key,
        stage,
        who,
        status=answer.status,
        text=answer.text,
        label=answer.label,
        seconds=answer.seconds,
        model_version=answer.model_version,
        note=answer.note,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=answer.answer_tokens,
    )


def answer_row(key: str, stage: str, who: str, answer: Answer, seconds: float) -> LedgerRow:
    """Return an answer as a row; probabilities are rounded so that its bytes are the same on every run."""
    forced = {label: round(share, DIGITS) for label, share in sorted(answer.forced_choice.items())}
    return LedgerRow(
        key,
        stage,
        who,
        status=answer.status,
        text=answer.text,
        label=answer.label,
        forced_choice=json.dumps(forced, ensure_ascii=False),
        log_likelihood=round(answer.log_likelihood, DIGITS),
        seconds=seconds,
        note=answer.note,
    )
