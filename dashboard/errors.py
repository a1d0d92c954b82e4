"""What people are told when something fails: the engine's own sentences, or an id to report.

Every handler of the page and of the endpoints runs inside `plain_errors`; nothing else becomes a toast.
"""

from __future__ import annotations

import functools
import html
import inspect
import logging
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from engine.errors import EngineError

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]


def sentence_for(error: Exception) -> str:
    """Return what the person is told, as plain text; an unexpected error is logged under an id.

    Args:
        error: an EngineError, whose message is written to be read, or anything else, whose message is not.
    """
    if isinstance(error, EngineError):
        return str(error)
    incident = secrets.token_hex(4)
    logger.error("incident %s", incident, exc_info=error)
    return f"Something went wrong (id {incident}). Try again; if it happens again, report this id."


def toast(sentence: str) -> gr.Error:
    """Return the error that Gradio shows; its text is HTML there, so it is escaped here."""
    return gr.Error(html.escape(sentence, quote=False), print_exception=False, duration=10)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn whatever is raised inside into a toast with one sentence.

    Raises:
        gr.Error: in place of any other exception.
    """
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:  # the border to the outside: everything becomes one sentence here
        raise toast(sentence_for(error)) from None


def with_plain_errors(handler: Handler) -> Handler:
    """Return the handler, a function or a generator function, run inside `plain_errors`."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def steps(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
            with plain_errors():
                yield from handler(*args, **kwargs)

        return steps

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        with plain_errors():
            return handler(*args, **kwargs)

    return call
