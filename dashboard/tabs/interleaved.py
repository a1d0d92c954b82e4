"""The interleaved tab: a clip and what each layer of an interleaved model holds of it, and below it what was measured.

The clip part runs the model live, in the clip page's inputs and view; the cards below are read from tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dashboard.components.clip_view import unit_view
from dashboard.errors import with_plain_errors
from dashboard.interleaved.sections import SECTIONS
from dashboard.interleaved_link import FIRST_K, HALF, TAB, TOPS, WHOLE
from dashboard.mechanism_link import PAGE_SOURCES
from dashboard.tabs import interleaved_handlers as handlers
from dashboard.tabs import interleaved_runs as runs
from dashboard.tabs.clip import bind_clip_inputs
from dashboard.tabs.clip_card import ClipCard, clip_card
from dashboard.tabs.clip_handlers import SKIP
from dashboard.tabs.clip_texts import card_title, small, stale_line
from dashboard.tabs.events import (
    MODEL_QUEUE,
    PRIVATE,
    QUICK,
    fills,
    off_when_pressed,
    on_when_ended,
    when_filled,
)
from dashboard.tabs.linked import ASSETS, bind_take, reporting_part, said, show_address
from dashboard.tabs.mechanism import Card, section_card

STYLE = ASSETS / "interleaved.css"
GO_ON = (
    "The model is stopped there and goes on twice: in text, and in speech units that a recorded voice says. "
    "Greedy, so it goes on alike each time."
)
# A run may end when the person is on another tab: the address is that one's by then.
_SHOW_WHERE_OPEN = f"""(query) => {{
  if (new URLSearchParams(location.search).get('tab') !== '{TAB}') return;
  ({show_address(TAB)})(query);
}}"""

# A clip that came from a list far below is seen where it arrived.
_UP_TO_CLIP = """(clip) => {
  if (clip) document.getElementById('inter-rail').scrollIntoView();
}"""


@dataclass(frozen=True)
class Interleaved:
    """The tab's components.

    `state` holds its link, `said` the words of the clip that the voice said last, `point` whose clips are listed.
    """

    state: gr.Textbox
    clip: ClipCard
    after: gr.Radio
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    k: gr.Radio
    why: gr.HTML
    stale: gr.HTML
    view: gr.HTML
    has_result: gr.State
    said: gr.State
    download: gr.DownloadButton
    source: gr.Radio
    note: gr.HTML
    cards: dict[str, Card]
    point: gr.State
    take: gr.HTML

    @property
    def charts(self) -> Sequence[Any]:
        """Components in the order of `handlers.draw`."""
        cards = [
            part for card in self.cards.values() for part in (card.head, card.plot, card.table, card.clips)
        ]
        return [self.note, *cards, self.take]

    @property
    def shown(self) -> Sequence[Any]:
        """Components in the order of the arguments of `handlers.query`."""
        return [self.source, self.k, self.after, self.clip.audio, self.has_result, self.point]

    @property
    def asked(self) -> Sequence[Any]:
        """Components in the order of the fields of `runs.Asked`."""
        return [self.clip.audio, self.clip.reference, self.after, self.said]


def interleaved_tab() -> Interleaved:
    """Build the tab's components inside the current layout; nothing is read or run yet."""
    # A hidden box and not a gr.State: the browser must be able to read it into the address.
    state = gr.Textbox("", visible=False)
    with gr.Column(elem_id="inter"):
        with gr.Row(elem_id="inter-page", elem_classes="rail-page", equal_height=False):
            left = _rail()
            right = _main()
        over = _over_clips()
    states: dict[str, Any] = {
        "said": gr.State(""),
        "has_result": gr.State(False),
        "point": gr.State(""),
    }
    return Interleaved(state=state, **states, **left, **right, **over)


def _rail() -> dict[str, Any]:
    with gr.Column(elem_id="inter-rail", elem_classes="rail", min_width=220):
        clip = clip_card("inter-")
        with gr.Column(elem_classes="card", elem_id="inter-card-after"):
            gr.HTML(card_title("Let it go on after"))
            after = gr.Radio(
                [("half of the clip", HALF), ("all of it", WHOLE)],
                value=HALF,
                label="Let it go on after",
                show_label=False,
                interactive=True,
                elem_id="inter-after",
                elem_classes="chips",
            )
            gr.HTML(small(GO_ON))
        with gr.Column(elem_id="inter-run-row", elem_classes="run-row"):
            with gr.Row(elem_classes="buttons"):
                run = gr.Button("Run", variant="primary", elem_id="inter-run", elem_classes="run")
                stop = gr.Button("Stop", visible=False, elem_id="inter-stop", elem_classes="run-stop")
            status = gr.HTML(elem_id="inter-status")
    return {"clip": clip, "after": after, "run": run, "stop": stop, "status": status}


def _main() -> dict[str, Any]:
    with gr.Column(elem_id="inter-main", elem_classes="rail-main", min_width=280):
        with gr.Row(elem_id="inter-top"):
            k = gr.Radio(
                [(str(top), top) for top in TOPS],
                value=FIRST_K,
                label="A word counts among the top k text tokens; k =",
                interactive=True,
                elem_id="inter-k",
                elem_classes="chips",
            )
            # Filled when the page loads: which model it has is known only after the app has started.
            why = gr.HTML(elem_id="inter-why")
        stale = gr.HTML(elem_id="inter-stale", elem_classes="stale-note", apply_default_css=False)
        view = unit_view("unit-view")
        with gr.Row(elem_classes="buttons", elem_id="inter-keep"):
            download = gr.DownloadButton("Download JSON", size="sm", visible=False, elem_id="inter-download")
    return {"k": k, "why": why, "stale": stale, "view": view, "download": download}


def _over_clips() -> dict[str, Any]:
    with gr.Column(elem_id="inter-over", elem_classes="mech-page"):
        with gr.Row(elem_classes="mech-top"):
            source = gr.Radio(
                [(name, key) for key, name in PAGE_SOURCES.items()],
                label="Numbers over many clips",
                interactive=True,
                elem_id="inter-source",
                elem_classes=["chips", "mech-source"],
            )
            note = gr.HTML(elem_id="inter-note", elem_classes="mech-note")
        cards = {section.key: section_card(handlers.card_id(section)) for section in SECTIONS}
        with gr.Column(elem_classes="card", elem_id="inter-take-card"):
            take = reporting_part("inter-take")
    return {"source": source, "note": note, "cards": cards, "take": take}


def bind_interleaved(page: gr.Blocks, it: Interleaved, tabs: gr.Tabs, here: gr.Tab) -> None:
    """Bind the tab's events.

    Args:
        page: whose load event restores a linked view.
        it: the tab's components.
        tabs: of the page.
        here: this tab.
    """
    _bind_clip(it)
    address = _address_of(it)
    _bind_charts(it, here, address)
    _bind_points(it, address)
    inputs = [it.k, *it.asked]
    outputs = [it.view, it.has_result, it.status, it.stop, it.download, it.stale]

    def run(request: gr.Request, k: int, *values: Any) -> Iterator[runs.RunUpdate]:
        yield from runs.run(runs.Asked(*values), k, request)

    def run_restored(request: gr.Request, asked: bool, k: int, *values: Any) -> Iterator[runs.RunUpdate]:
        if asked:
            yield from runs.run(runs.Asked(*values), k, request)
        else:
            yield runs.RunUpdate()

    off_when_pressed(it.run)
    ran = when_filled(it.run).then(run, inputs, outputs, **PRIVATE, **MODEL_QUEUE)
    on_when_ended(it.run, ran)
    _follow_run(it, ran)
    ended = it.stop.click(None, cancels=[ran], **PRIVATE)
    ended.then(runs.stopped, None, outputs, **QUICK)
    bind_take(it.take, it.state, handlers.take)
    at_once = gr.State(False)
    restored = [
        it.why,
        tabs,
        it.clip.audio,
        it.clip.clip_note,
        it.clip.reference,
        it.k,
        it.after,
        it.source,
        it.point,
        at_once,
    ]
    loaded = page.load(with_plain_errors(_restored), None, restored, **PRIVATE)
    _follow_run(it, loaded.then(run_restored, [at_once, *inputs], outputs, **PRIVATE, **MODEL_QUEUE))


def _bind_clip(it: Interleaved) -> None:
    clip = [it.clip.audio, it.clip.clip_note, it.clip.reference]
    bind_clip_inputs(it.clip)
    fills(it.clip.examples.click, with_plain_errors(handlers.take_example), [it.clip.examples], clip)
    fills(
        it.clip.speak.click,
        with_plain_errors(handlers.say),
        [it.clip.speak_text, it.clip.speak_voice, it.clip.speak_rate, it.clip.speak_pitch],
        [*clip, it.said],
    )
    for changed in (it.clip.audio.change, it.clip.reference.change, it.after.change):
        changed(lambda has_result: stale_line() if has_result else "", [it.has_result], [it.stale], **QUICK)


def _bind_charts(it: Interleaved, here: gr.Tab, address: Callable[[Any], None]) -> None:
    """Draw the charts when the tab is opened, and anew for another source or k."""
    chosen = [it.source, it.k]
    address(here.select(with_plain_errors(handlers.draw), [*chosen, it.point], it.charts, **QUICK))
    # A choice that is made while the one before is being drawn is drawn next, with all that is chosen by then.
    anew = gr.on(
        [it.source.input, it.k.input],
        with_plain_errors(handlers.draw_anew),
        chosen,
        [it.view, it.point, *it.charts],
        trigger_mode="always_last",
        **QUICK,
    )
    address(anew)


def _bind_points(it: Interleaved, address: Callable[[Any], None]) -> None:
    """Let a point list its clips, and a clip of a list fill the clip box above."""
    lists = [card.clips for card in it.cards.values()]
    for key, card in it.cards.items():
        parts = [part.select for part in card.reporting]
        acting = with_plain_errors(_acting(key))
        address(gr.on(parts, acting, [it.source, it.point], [it.point, *lists], **QUICK))
    arrived = gr.Textbox("", visible=False)
    clip = [it.clip.audio, it.clip.clip_note, it.clip.reference, arrived]
    opened = gr.on([one.select for one in lists], with_plain_errors(_opened), [it.source], clip, **PRIVATE)
    address(opened.then(None, [arrived], None, js=_UP_TO_CLIP, **PRIVATE))


def _acting(key: str) -> Callable[..., tuple[Any, ...]]:
    def acted(source: str | None, point: str, event: gr.EventData) -> tuple[Any, ...]:
        return handlers.act(source, point, key, *said(event))

    return acted


def _opened(source: str | None, event: gr.EventData) -> tuple[Any, ...]:
    do, clip_id = said(event)
    if do != "open":
        return (*(SKIP for _ in range(3)), "")
    return (*handlers.open_behind(source, clip_id), clip_id)


def _address_of(it: Interleaved) -> Callable[[Any], None]:
    """Return what lets the address follow an event."""

    def follow(event: Any) -> None:
        said = event.then(handlers.query, it.shown, [it.state], **QUICK)
        said.then(None, [it.state], None, js=show_address(TAB), **PRIVATE)

    return follow


def _follow_run(it: Interleaved, event: Any) -> None:
    """Let the address follow a run, unless the person is on another tab by then."""
    said = event.then(handlers.query, it.shown, [it.state], **QUICK)
    said.then(None, [it.state], None, js=_SHOW_WHERE_OPEN, **PRIVATE)


def _restored(request: gr.Request) -> tuple[Any, ...]:
    return handlers.restore(dict(request.query_params))
