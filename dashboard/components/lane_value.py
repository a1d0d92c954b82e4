"""Lanes and answers of a run as the clip view reads them; what a service does not send is null, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboard.components.packing import finite
from dashboard.components.transcript_diff import Part, word_difference
from engine.results import AnyAnswer, BehaviourAnswer, Lane, RunResult
from engine.systems.catalogue import UNAVAILABLE
from engine.tasks import TASKS, is_exactly
from engine.words import SpokenWord


def answer_value(answer: AnyAnswer) -> dict[str, Any]:
    """Return an answer as the view reads it; `service` says what a service told beside it, None of other systems."""
    value: dict[str, Any] = {
        "text": answer.text,
        "label": answer.label,
        "status": answer.status,
        "note": answer.note,
    }
    if isinstance(answer, BehaviourAnswer):
        service = {
            "model_version": answer.model_version,
            "why": UNAVAILABLE["forced_choice"],
        }
        return value | {"forced_choice": None, "log_likelihood": None, "service": service}
    forced_choice = [[label, finite(share)] for label, share in answer.forced_choice.items()]
    log_likelihood = finite(answer.log_likelihood, 4)
    return value | {"forced_choice": forced_choice, "log_likelihood": log_likelihood, "service": None}


def lane_value(lane: Lane, result: RunResult) -> dict[str, Any]:
    """Return one lane; `is_hidden` says that what it heard is not known, which is not the same as nothing."""
    is_hidden = lane.role == "speech_llm" and isinstance(lane.answer, BehaviourAnswer)
    against, reference_text = (None, None) if is_hidden else _held_against(lane, result)
    parts: list[Part] = [] if is_hidden else [{"kind": "same", "text": lane.heard}]
    if reference_text is not None:
        parts = word_difference(lane.heard, reference_text)
    return {
        "key": lane.key,
        "role": lane.role,
        "name": lane.name,
        "heard": lane.heard,
        "heard_from": lane.heard_from,
        "is_hidden": is_hidden,
        "against": against,
        "parts": parts,
        "words": words_value(lane.words),
        "answer": answer_value(lane.answer),
        "right": _is_right(lane, result),
        "seconds": finite(lane.seconds, 3),
        "encoder_seconds": finite(lane.encoder_seconds, 3),
        "revision": lane.revision,
    }


def _held_against(lane: Lane, result: RunResult) -> tuple[str | None, str | None]:
    """Return what the heard text is compared with, in words, and its text; (None, None) when with nothing."""
    if lane.role == "text_oracle":
        return None, None
    if result.reference:
        return "the true transcript", result.reference
    if lane.role == "speech_llm":
        cascade = next((other for other in result.lanes if other.role == "cascade"), None)
        if cascade is not None and cascade.heard:
            return "the cascade's text", cascade.heard
    return None, None


def _is_right(lane: Lane, result: RunResult) -> bool | None:
    """Return whether the label is the right one; None where it is not known or there is no label.

    Among fixed labels equality decides. An open answer may be right under another name, so there the
    engine's agreement class is the judge, which covers the two compared lanes only.
    """
    if result.gold is None or lane.answer.label is None:
        return None
    if TASKS[result.task].kind in ("choice", "choices"):
        return is_exactly(lane.answer.label, result.gold)
    kind = result.agreement.kind
    if lane.role == "text_oracle" or kind in ("same answer", "different answers", "not comparable"):
        return None
    mine = "only the speech LLM right" if lane.role == "speech_llm" else "only the cascade right"
    return kind in ("both right", mine)


def comparison_value(other: RunResult) -> dict[str, Any]:
    """Return another run of the same clip, to stand in the lanes."""
    title = "clean run" if other.noise is None else f"run with {other.noise} noise"
    lanes = {lane.role: answer_value(lane.answer) for lane in other.lanes}
    return {"title": title, "agreement": other.agreement.kind, "lanes": lanes}


def words_value(words: Sequence[SpokenWord]) -> list[list[Any]]:
    """Return words with their times in seconds."""
    return [[word.text, round(word.start_s, 3), round(word.end_s, 3)] for word in words]
