"""The claims tab: each claim of the paper, its figure, the one measured here, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dashboard.claims import LEDGER_SOURCES
from dashboard.errors import with_plain_errors
from dashboard.tables import SOURCES
from dashboard.tabs import claims_handlers as handlers
from dashboard.tabs.clip_handlers import SKIP
from dashboard.tabs.events import PRIVATE, QUICK

STYLE = Path(__file__).resolve().parents[1] / "components" / "assets" / "claims.css"

_SHOW_ADDRESS = (
    "(source) => { history.replaceState(null, '', location.pathname + '?tab=claims&source=' + source); }"
)


@dataclass(frozen=True)
class Claims:
    """The tab's components."""

    source: gr.Radio
    head: gr.HTML
    shown: gr.HTML

    @property
    def parts(self) -> list[Any]:
        """Components in the order of the fields of `Drawn`."""
        return [self.source, self.head, self.shown]


def claims_tab() -> Claims:
    """Build the tab's components inside the current layout; nothing is read yet."""
    with gr.Column(elem_id="claims"):
        source = gr.Radio(
            [(SOURCES[key], key) for key in LEDGER_SOURCES],
            label="Numbers",
            interactive=True,
            elem_id="claims-source",
            elem_classes="chips",
        )
        head = gr.HTML(elem_id="claims-head", apply_default_css=False)
        shown = gr.HTML(elem_id="claims-shown", apply_default_css=False)
    return Claims(source, head, shown)


def bind_claims(page: gr.Blocks, it: Claims, tabs: gr.Tabs, here: gr.Tab) -> None:
    """Bind the tab's events.

    Args:
        page: whose load event opens the tab that an address names.
        it: the tab's components.
        tabs: of the page.
        here: this tab.
    """
    for event in (here.select, it.source.input):
        drawn = event(with_plain_errors(handlers.draw), [it.source], it.parts, **QUICK)
        drawn.then(None, [it.source], None, js=_SHOW_ADDRESS, **PRIVATE)
    page.load(with_plain_errors(_opened), None, [tabs, *it.parts], **QUICK)


def _opened(request: gr.Request) -> tuple[Any, ...]:
    query = request.query_params
    if query.get("tab") != "claims":
        return (SKIP,) * 4
    return gr.Tabs(selected="claims"), *handlers.draw(query.get("source", ""))
