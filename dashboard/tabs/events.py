"""Options that the tabs' events share, and buttons that are off while what they started goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

# One job at a time touches the models, whoever asks; the endpoints share this queue.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
QUICK: dict[str, Any] = {**PRIVATE, "queue": False}

_FILLING = """(...values) => {
  window.cascadeLensFilled?.();
  window.cascadeLensFilling = new Promise((filled) => {
    window.cascadeLensFilled = filled;
    setTimeout(filled, 20000);
  });
  return values;
}"""
_SET = "() => ({{__type__: 'update', interactive: {}}})"


def fills(event: Callable[..., Any], *arguments: Any) -> Any:
    """Bind an event that fills the rail from the server, so that Run, pressed at once, waits for what it brings.

    Args:
        event: such as the click of an example.
        arguments: function, inputs and outputs, as of the event.
    """
    started = event(*arguments, js=_FILLING, **PRIVATE)
    for follow in (started.then, started.failure):
        follow(None, None, None, js="() => window.cascadeLensFilled?.()", **PRIVATE)
    return started


def when_filled(button: gr.Button) -> Any:
    """Return the event of a press, after what is on its way to the rail has arrived."""
    return button.click(None, None, None, js="async () => { await window.cascadeLensFilling; }", **PRIVATE)


def off_when_pressed(button: gr.Button) -> None:
    """Turn the button off at a press, in the browser alone; bind this before the event that the press starts.

    Gradio ignores a press of a button whose event is pending, and after Stop the event stays pending until the
    server has answered. A button that looks ready and does nothing is a fault; this one looks what it is.
    """
    button.click(None, None, [button], js=_SET.format("false"), **PRIVATE)


def on_when_ended(button: gr.Button, started: Any) -> None:
    """Turn the button on again when the event that its press started has ended, failed or been stopped."""
    for follow in (started.then, started.failure):
        follow(None, None, [button], js=_SET.format("true"), **PRIVATE)
