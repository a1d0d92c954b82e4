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
        return [self.head, self.shown]


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
    # A source that is chosen while the one before is being drawn is drawn next.
    drawn = gr.on(
        [here.select, it.source.input],
        with_plain_errors(handlers.draw),
        [it.source],
        it.parts,
        trigger_mode="always_last",
        **QUICK,
    )
    drawn.then(None, [it.source], None, js=_SHOW_ADDRESS, **PRIVATE)
    page.load(_opened, None, [it.source, tabs], **QUICK)


def _opened(request: gr.Request) -> tuple[Any, ...]:
    """Choose the source that the address names, and open the tab where it says so: that draws it."""
    said = request.query_params
    opened = gr.Tabs(selected="claims") if said.get("tab") == "claims" else SKIP
    return handlers.source_of(said.get("source")), opened
