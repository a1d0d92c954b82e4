"""The benchmark tab: filters, matrix, pair, clips, noise, confound, errors, decision, and their events.

Everything on it is read from tables; no model runs here. Its state is one query string, which is also its link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dashboard.errors import with_plain_errors
from dashboard.tables import SOURCES
from dashboard.tabs import benchmark_handlers as handlers
from dashboard.tabs.benchmark_handlers import SKIP, Shown
from dashboard.tabs.clip_rail import Rail
from dashboard.tabs.clip_texts import card_title
from dashboard.tabs.events import PRIVATE
from dashboard.tabs.linked import ASSETS, bind_open, bind_take, end_turn, in_turn, reporting_part, said

STYLE = ASSETS / "benchmark.css"

# Gradio also reports the tab that is open at first, before the address was read.
_ADDRESS_READ = "() => { window.cascadeLensAddressRead = true; }"
_FORGET_TAB = """() => {
  if (!window.cascadeLensAddressRead) return;
  const address = new URL(location.href);
  address.searchParams.delete('tab');
  history.replaceState(null, '', address);
}"""


@dataclass(frozen=True)
class Benchmark:
    """The tab's components; `parts` lists those that make a `Shown`, in its order."""

    state: gr.Textbox
    source: gr.Radio
    filters: gr.HTML
    note: gr.HTML
    body: gr.Column
    matrix: gr.HTML
    pair: gr.HTML
    clips_box: gr.Column
    find: gr.Textbox
    clips: gr.HTML
    curves: gr.Row
    stated_box: gr.Column
    stated: gr.HTML
    accuracy_plot: gr.Plot
    accuracy_table: gr.HTML
    difference_plot: gr.Plot
    difference_table: gr.HTML
    confound_plot: gr.Plot
    confound_table: gr.HTML
    errors_box: gr.Column
    errors: gr.HTML
    decision: gr.HTML
    take: gr.HTML

    @property
    def parts(self) -> Sequence[Any]:
        """Components in the order of the fields of `Shown`."""
        return [getattr(self, name) for name in Shown._fields]


def benchmark_tab() -> Benchmark:
    """Build the tab's components inside the current layout; nothing is read yet."""
    # A hidden box and not a gr.State: the browser must be able to read it into the address.
    state = gr.Textbox("", visible=False)
    with gr.Column(elem_id="bm"):
        with gr.Row(elem_id="bm-filters"):
            source = gr.Radio(
                [(name, key) for key, name in SOURCES.items()],
                label="Numbers",
                interactive=True,
                elem_id="bm-source",
                elem_classes="chips",
            )
            filters = _html("bm-cell")
        note = gr.HTML(elem_id="bm-note")
        with gr.Column(visible=False, elem_id="bm-body") as body:
            with gr.Row(elem_classes="bm-row", elem_id="bm-agreement", equal_height=False):
                matrix, pair = _card("bm-matrix"), _card("bm-pair")
            with gr.Column(elem_classes="card", elem_id="bm-clips-box") as clips_box:
                gr.HTML(card_title("Clips"))
                find = gr.Textbox(
                    label="Search in this list",
                    show_label=False,
                    placeholder="Search words, answers, voices",
                    max_length=60,
                    interactive=True,
                    elem_id="bm-find",
                )
                clips = _html("bm-clips")
            with gr.Column(elem_classes="card", visible=False) as stated_box:
                stated = _html("bm-stated")
            with gr.Row(elem_classes="bm-row", equal_height=False) as curves:
                accuracy = _chart("Accuracy in noise", "accuracy")
                difference = _chart("Speech LLM minus cascade", "difference")
            with gr.Row(elem_classes="bm-row", equal_height=False):
                confound = _chart("Backbone confound", "confound")
                with gr.Column(elem_classes="card") as errors_box:
                    errors = _html("bm-errors")
            decision, take = _card("bm-decision"), _card("bm-take")
    return Benchmark(
        state, source, filters, note, body, matrix, pair, clips_box, find, clips,
        curves, stated_box, stated, *accuracy, *difference, *confound, errors_box, errors, decision, take,
    )  # fmt: skip


def _card(elem_id: str) -> gr.HTML:
    with gr.Column(elem_classes="card", elem_id=f"{elem_id}-card"):
        return _html(elem_id)


def _html(elem_id: str, value: str = "") -> gr.HTML:
    return reporting_part(elem_id, "benchmark.js", value=value)


def _chart(title: str, name: str) -> tuple[gr.Plot, gr.HTML]:
    with gr.Column(elem_classes="card", elem_id=f"bm-{name}"):
        saves = "".join(
            f'<button type="button" class="bm-small-button" data-do="chart" data-value="bm-{name}-plot.{form}" '
            f'aria-label="{title} as {form.upper()}">{form.upper()}</button>'
            for form in ("png", "svg")
        )
        _html(
            f"bm-{name}-head",
            value=f'<div class="bm-chart-head">{card_title(title)}<span>{saves}</span></div>',
        )
        plot = gr.Plot(show_label=False, visible=False, elem_id=f"bm-{name}-plot")
        return plot, gr.HTML(elem_id=f"bm-{name}-table")


def bind_benchmark(
    page: gr.Blocks, it: Benchmark, rail: Rail, tabs: gr.Tabs, here: gr.Tab, clip: gr.Tab
) -> None:
    """Bind the tab's events.

    Args:
        page: whose load event restores a linked view.
        it: the tab's components.
        rail: of the clip page, which an opened clip fills.
        tabs: of the page.
        here: this tab.
        clip: the clip page's tab.
    """
    turn = in_turn("benchmark")
    done = [
        here.select(with_plain_errors(handlers.draw), [it.state], it.parts, **turn),
        it.source.input(with_plain_errors(handlers.choose_source), [it.state, it.source], it.parts, **turn),
        # Not `input`: text that is pasted in one piece reaches Gradio as a change only.
        it.find.change(with_plain_errors(handlers.find), [it.state, it.find], it.parts, **turn),
        gr.on(
            [it.filters.select, it.matrix.select, it.pair.select, it.clips.select, it.errors.select],
            with_plain_errors(_acted),
            [it.state],
            it.parts,
            **turn,
        ),
    ]
    for event in done:
        end_turn(event, it.state, "benchmark")
    clip.select(None, None, None, js=_FORGET_TAB, **PRIVATE)
    bind_open([it.clips], it.state, rail, tabs, handlers.clip_behind)
    bind_take(it.take, it.state, handlers.take)
    loaded = page.load(with_plain_errors(_restored), None, [tabs, it.state, it.source, it.find], **PRIVATE)
    loaded.then(None, None, None, js=_ADDRESS_READ, **PRIVATE)


def _acted(query: str, event: gr.EventData) -> Shown:
    return handlers.act(query, *said(event))


def _restored(request: gr.Request) -> tuple[Any, ...]:
    """Keep what the address says of the page, and open the tab where it says so: that draws it."""
    said = dict(request.query_params)
    return gr.Tabs(selected="benchmark") if said.get("tab") == "benchmark" else SKIP, *handlers.restore(said)
