"""Questions about the run on screen that cost the models more time: the layer sweep and the implicit cascade.

`clip.py` binds these to components. What they find belongs to that run and goes when another is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr

from dashboard import session
from dashboard.components.implicit import implicit_error, implicit_value
from dashboard.components.sweep_card import sweep_html
from dashboard.errors import sentence_for, toast
from dashboard.security import client_of
from dashboard.sufficiency import kappa_beside
from dashboard.tabs.clip_handlers import SKIP, Update
from dashboard.tabs.clip_runs import LIMITER
from dashboard.tabs.clip_texts import problem, small
from engine.errors import PromptError

NO_RESULT = "There is no result on screen; press Run first."


class SweepUpdate(NamedTuple):
    """What one step of a sweep changes; `of` is the id of the run that it is about."""

    status: Update = SKIP
    shown: Update = SKIP
    of: Update = SKIP
    stop: Update = SKIP


def sweep(
    shown_id: str, condition: str | None, reach: str, client: gr.Request | None
) -> Iterator[SweepUpdate]:
    """Yield the progress of a sweep over the layers for the run on screen, and its charts last.

    Args:
        shown_id: id of the run.
        condition: what is erased.
        reach: "single layer" or "cumulative".
        client: who asks.

    Raises:
        gr.Error: with one sentence, after the card says it too.
    """
    try:
        LIMITER.take(client_of(client))
        shown = _shown(shown_id)
        if not condition:
            raise PromptError("Choose what to erase first.")
        yield SweepUpdate(status=_line("Waiting for the models …"), stop=gr.update(visible=True))

        def job(progress: session.Progress) -> Any:
            from engine.interventions import sweep_layers

            return sweep_layers(shown.request, condition, reach, progress)

        for news in session.job_steps(job):
            if isinstance(news, session.Step):
                yield SweepUpdate(status=_line(f"{news.message[:1].upper()}{news.message[1:]} …"))
            else:
                hidden = gr.update(visible=False)
                yield SweepUpdate(status="", shown=sweep_html(news), of=shown_id, stop=hidden)
    except Exception as error:  # the card is put in order before the sentence is shown
        sentence = sentence_for(error)
        yield SweepUpdate(status=problem(sentence), stop=gr.update(visible=False))
        raise toast(sentence) from None


def sweep_stopped() -> SweepUpdate:
    """Return the card after its Stop was pressed; an older sweep of the same run stays."""
    return SweepUpdate(status=small("Stopped."), stop=gr.update(visible=False))


def keep_own(shown_id: str, of: str) -> Update:
    """Return nothing to show when the sweep that just ended is of another run than the one on screen."""
    return SKIP if shown_id == of else ""


def ask_layer(shown_id: str, layer: Any, turn: Any, client: gr.Request | None) -> Iterator[dict[str, Any]]:
    """Yield what the LLM answers from one layer's lens text, as a value of the clip view.

    Args:
        shown_id: id of the run on screen.
        layer: as the view sent it.
        turn: the view's number of the run it shows.
        client: who asks.

    Raises:
        gr.Error: with one sentence, after the view was told.
    """
    turn = turn if isinstance(turn, int) else -1
    try:
        LIMITER.take(client_of(client))
        shown = _shown(shown_id)
        if not isinstance(layer, int):
            raise PromptError("The layer must be a whole number.")

        def job(progress: session.Progress) -> Any:
            from engine.run import ask_lens_text

            return ask_lens_text(shown.request, shown.result.lens, layer, lambda what: progress(0.5, what))

        for news in session.job_steps(job):
            if not isinstance(news, session.Step):
                kappa = kappa_beside(shown.result.task, shown.result.pair, layer)
                yield implicit_value(news, shown.request, shown.result, turn, kappa)
    except Exception as error:  # the view is put in order before the sentence is shown
        sentence = sentence_for(error)
        yield implicit_error(turn, sentence)
        raise toast(sentence) from None


def _shown(shown_id: str) -> session.Finished:
    shown = session.RESULTS.get(shown_id)
    if shown is None:
        raise PromptError(NO_RESULT)
    return shown


def _line(text: str) -> str:
    return f'<div role="status">{small(text)}</div>'
