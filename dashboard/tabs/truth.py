"""The truth tab: is the instrument in order, did the model hear, and does the method find what was planted?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dashboard.tabs import truth_handlers as handlers
from dashboard.tabs.clip_handlers import SKIP
from dashboard.tabs.clip_rail import Rail
from dashboard.tabs.clip_texts import card_title, small
from dashboard.tabs.events import MODEL_QUEUE, PRIVATE, QUICK

STYLE = Path(__file__).resolve().parents[1] / "components" / "assets" / "truth.css"

CHECK = (
    "Holds every system that is here against references with code of their own: passes without hooks or cache, "
    "scores, prompts and features computed a second way, and clips whose words are known. Shows what was measured "
    "beside what it may be. About ten seconds a system."
)
HEAR = (
    "Asks the clip page's question about its clip, then with silence, with another clip and with no sound at all. "
    "A speech LLM that heard must notice."
)
PLANTED = (
    "Four tiny networks whose way to the answer was set by hand, judged by the same lens, erasers, random controls "
    "and kappa as the real models. A method that fails on one shows its limit."
)
_SHOW_TAB = "() => { history.replaceState(null, '', location.pathname + '?tab=truth'); }"


@dataclass(frozen=True)
class Card:
    """A button, the line that says what it is doing, and what it found."""

    button: gr.Button
    status: gr.HTML
    shown: gr.HTML


@dataclass(frozen=True)
class Truth:
    """The tab's three cards."""

    check: Card
    hear: Card
    planted: Card


def truth_tab() -> Truth:
    """Build the tab's components inside the current layout; nothing runs yet."""
    with gr.Column(elem_id="truth"):
        return Truth(
            _card("Self-check", CHECK, "Check the instrument", "truth-check"),
            _card("Did it hear?", HEAR, "Ask the clip page's clip", "truth-hearing"),
            _card("Planted truths", PLANTED, "Judge the planted networks", "truth-planted"),
        )


def _card(title: str, what: str, action: str, elem_id: str) -> Card:
    with gr.Column(elem_classes="card", elem_id=f"{elem_id}-card"):
        gr.HTML(card_title(title) + small(what))
        with gr.Row(elem_classes="buttons"):
            button = gr.Button(action, size="sm", elem_id=f"{elem_id}-button")
        status = gr.HTML(elem_id=f"{elem_id}-status")
        shown = gr.HTML(elem_id=elem_id, apply_default_css=False)
    return Card(button, status, shown)


def bind_truth(page: gr.Blocks, it: Truth, rail: Rail, tabs: gr.Tabs, here: gr.Tab) -> None:
    """Bind the tab's events.

    Args:
        page: whose load event opens the tab that an address names.
        it: the tab's components.
        rail: of the clip page, whose clip and question are asked about.
        tabs: of the page.
        here: this tab.
    """

    def check(request: gr.Request) -> Iterator[handlers.Told]:
        yield from handlers.check(request)

    def hear(request: gr.Request, *values: Any) -> Iterator[handlers.Told]:
        yield from handlers.hear(values, request)

    def judge(request: gr.Request) -> Iterator[handlers.Told]:
        yield from handlers.judge(request)

    for card, handler, inputs in (
        (it.check, check, None),
        (it.hear, hear, rail.form),
        (it.planted, judge, None),
    ):
        card.button.click(handler, inputs, [card.status, card.shown], **PRIVATE, **MODEL_QUEUE)
    here.select(None, None, None, js=_SHOW_TAB, **PRIVATE)
    page.load(_opened, None, [tabs], **QUICK)


def _opened(request: gr.Request) -> Any:
    return gr.Tabs(selected="truth") if request.query_params.get("tab") == "truth" else SKIP
