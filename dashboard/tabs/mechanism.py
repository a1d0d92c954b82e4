"""The mechanism tab: a card for each section with its options, chart, table and clips, and their events.

Everything on it is read from tables; no model runs here. Its state is one query string, which is also its link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dashboard.errors import with_plain_errors
from dashboard.mechanism.sections import SECTIONS
from dashboard.mechanism_link import PAGE_SOURCES, first_source, view_of
from dashboard.tabs import mechanism_handlers as handlers
from dashboard.tabs.clip_rail import Rail
from dashboard.tabs.events import PRIVATE
from dashboard.tabs.linked import ASSETS, bind_open, bind_take, end_turn, in_turn, reporting_part, said

STYLE = ASSETS / "mechanism.css"


@dataclass(frozen=True)
class Card:
    """The parts of one section."""

    head: gr.HTML
    plot: gr.Plot
    table: gr.HTML
    clips: gr.HTML

    @property
    def reporting(self) -> tuple[gr.HTML, ...]:
        """Those whose buttons report."""
        return self.head, self.table, self.clips


@dataclass(frozen=True)
class Mechanism:
    """The tab's components; `cards` by the key of their section."""

    state: gr.Textbox
    source: gr.Radio
    note: gr.HTML
    cards: dict[str, Card]
    take: gr.HTML

    @property
    def parts(self) -> Sequence[Any]:
        """Components in the order of `mechanism_handlers.part_names`."""
        cards = [
            part for card in self.cards.values() for part in (card.head, card.plot, card.table, card.clips)
        ]
        return [self.state, self.note, *cards, self.take]


def mechanism_tab() -> Mechanism:
    """Build the tab's components inside the current layout; nothing is read yet."""
    # A hidden box and not a gr.State: the browser must be able to read it into the address.
    state = gr.Textbox("", visible=False)
    with gr.Column(elem_id="mech", elem_classes="mech-page"):
        with gr.Row(elem_id="mech-top", elem_classes="mech-top"):
            source = gr.Radio(
                [(name, key) for key, name in PAGE_SOURCES.items()],
                label="Numbers",
                interactive=True,
                elem_id="mech-source",
                elem_classes=["chips", "mech-source"],
            )
            note = gr.HTML(elem_id="mech-note", elem_classes="mech-note")
        cards = {section.key: section_card(f"mech-{section.key}") for section in SECTIONS}
        with gr.Column(elem_classes="card", elem_id="mech-take-card"):
            take = reporting_part("mech-take")
    return Mechanism(state, source, note, cards, take)


def section_card(elem_id: str) -> Card:
    """Build the parts of one section inside the current layout; their ids begin with this one."""
    with gr.Column(elem_classes="card", elem_id=elem_id):
        head = reporting_part(f"{elem_id}-head", "mechanism.js")
        plot = gr.Plot(show_label=False, visible=False, elem_id=f"{elem_id}-plot", elem_classes="mech-plot")
        table = reporting_part(f"{elem_id}-table")
        clips = reporting_part(f"{elem_id}-clips")
    return Card(head, plot, table, clips)


def bind_mechanism(page: gr.Blocks, it: Mechanism, rail: Rail, tabs: gr.Tabs, here: gr.Tab) -> None:
    """Bind the tab's events.

    Args:
        page: whose load event restores a linked view.
        it: the tab's components.
        rail: of the clip page, which an opened clip fills.
        tabs: of the page.
        here: this tab.
    """
    turn = in_turn("mechanism")
    done = [
        here.select(with_plain_errors(_drawn), [it.state], it.parts, **turn),
        it.source.input(with_plain_errors(_sourced), [it.state, it.source], it.parts, **turn),
        *(
            gr.on(
                [part.select for part in card.reporting],
                with_plain_errors(_acting(key)),
                [it.state],
                it.parts,
                **turn,
            )
            for key, card in it.cards.items()
        ),
    ]
    for event in done:
        end_turn(event, it.state, "mechanism")
    bind_open([card.clips for card in it.cards.values()], it.state, rail, tabs, handlers.clip_behind)
    bind_take(it.take, it.state, handlers.take)
    page.load(with_plain_errors(_restored), None, [tabs, it.state, it.source], **PRIVATE)


def _drawn(query: str) -> tuple[Any, ...]:
    return handlers.in_order(handlers.draw(query))


def _sourced(query: str, source: str) -> tuple[Any, ...]:
    return handlers.in_order(handlers.choose_source(query, source))


def _acting(key: str) -> Callable[[str, gr.EventData], tuple[Any, ...]]:
    def acted(query: str, event: gr.EventData) -> tuple[Any, ...]:
        return handlers.in_order(handlers.act(query, key, *said(event)))

    return acted


def _restored(request: gr.Request) -> tuple[Any, ...]:
    """Keep what the address says of the page, and open the tab where it says so: that draws it."""
    state = handlers.said_in(dict(request.query_params))
    opened = gr.Tabs(selected="mechanism") if state else handlers.SKIP
    return opened, state, view_of(state).source or first_source()
