"""The answer of an implicit cascade as the clip view takes it: beside the lanes, in the same form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.components.lane_value import answer_value
from dashboard.components.packing import finite
from dashboard.components.transcript_diff import word_difference
from engine.request import RunRequest
from engine.results import RunResult
from engine.tasks import get_task, is_right

if TYPE_CHECKING:
    from engine.run import ImplicitAnswer


def implicit_value(
    asked: ImplicitAnswer, request: RunRequest, result: RunResult, turn: int, kappa: str | None
) -> dict[str, Any]:
    """Return the value that puts this answer into the view, held word by word against the cascade's text.

    Args:
        asked: what the LLM answered.
        request: of the run whose lens was read.
        result: of it.
        turn: the view's own number of the run it shows, as it sent it; for another run it drops the value.
        kappa: what was measured of this layer, as a sentence.
    """
    heard = next((lane.heard for lane in result.lanes if lane.role == "cascade"), "")
    right = None
    if result.gold is not None and asked.answer.label is not None:
        right = is_right(
            get_task(result.task), asked.answer.label, result.gold, request.aliases, text=asked.answer.text
        )
    return {
        "status": "implicit",
        "turn": turn,
        "layer": asked.layer,
        "heard": asked.text,
        "parts": word_difference(asked.text, heard),
        "answer": answer_value(asked.answer),
        "right": right,
        "seconds": finite(asked.seconds, 3),
        "kappa": kappa,
    }


def implicit_error(turn: int, message: str) -> dict[str, Any]:
    """Return the value after the LLM could not be asked; the run on screen stays."""
    return {"status": "implicit", "turn": turn, "error": message}
