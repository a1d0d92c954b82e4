"""What happens on the truth page: each button runs one job in the model queue and shows what it found.

`truth.py` binds these to components. The jobs import the engine's model code by themselves, in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from dashboard import session
from dashboard.components.truth_cards import checks_html, hearing_html, truths_html
from dashboard.errors import sentence_for, toast
from dashboard.form import load, request_from
from dashboard.security import client_of
from dashboard.tabs.clip_handlers import SKIP, Update, form_of
from dashboard.tabs.clip_runs import LIMITER
from dashboard.tabs.clip_texts import problem, small
from engine.request import RunRequest


class Told(NamedTuple):
    """What one step changes on a card: the line under its button, and what it shows."""

    status: Update = SKIP
    shown: Update = SKIP


def check(client: gr.Request | None) -> Iterator[Told]:
    """Yield the progress of the self-check and its tables last."""
    yield from _told(_check, client)


def hear(values: tuple[Any, ...], client: gr.Request | None) -> Iterator[Told]:
    """Yield the progress of "Did it hear?" for the clip page's clip and question, and its table last.

    Args:
        values: component values in the order of `Rail.form`.
        client: who asks.
    """

    def asked(progress: session.Progress) -> str:
        form = form_of(values)
        return _hear(request_from(form, load(form)), progress)

    yield from _told(asked, client)


def judge(client: gr.Request | None) -> Iterator[Told]:
    """Yield the judgement of the planted networks."""
    yield from _told(_judge, client)


def _told(job: Callable[[session.Progress], str], client: gr.Request | None) -> Iterator[Told]:
    """Yield a job's steps as a line of text and the HTML that it returns last.

    Raises:
        gr.Error: with one sentence, after the card says it too.
    """
    try:
        LIMITER.take(client_of(client))
        yield Told(status=_line("Waiting for the models …"))
        for news in session.job_steps(job):
            if isinstance(news, session.Step):
                done = f" ({news.fraction:.0%})" if news.fraction else ""
                yield Told(status=_line(f"{news.message[:1].upper()}{news.message[1:]} …{done}"))
            else:
                yield Told(status="", shown=news)
    except Exception as error:  # the card is put in order before the sentence is shown
        sentence = sentence_for(error)
        yield Told(status=problem(sentence))
        raise toast(sentence) from None


def _line(text: str) -> str:
    return f'<div role="status">{small(text)}</div>'


def _check(progress: session.Progress) -> str:
    from engine.checks import CANNOT_FIND, check_all, sentence_of

    checked = check_all(progress)
    return checks_html(checked, sentence_of(checked), CANNOT_FIND)


def _hear(request: RunRequest, progress: session.Progress) -> str:
    from engine.hearing import did_it_hear

    return hearing_html(did_it_hear(request, progress))


def _judge(progress: session.Progress) -> str:
    from engine.planted import MEASURES, judge_all

    progress(0.0, "judging the planted networks")
    return truths_html(judge_all(), MEASURES)
