"""The right side of the clip page: the view and, once there is a result, its tools. Components only, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from dashboard.components.clip_view import ASSETS, clip_view
from dashboard.tabs.clip_texts import card_title, small
from engine.request import MAX_REFERENCE_CHARACTERS

SWEEP_NOTE = (
    "One concept erased at nine layers in turn, with the strength, positions and method of the run above, each "
    "beside three random cuts of the same rank."
)


@dataclass(frozen=True)
class SweepCard:
    """The layer sweep's card; `of` holds the id of the run that `shown` is about."""

    card: gr.Column
    condition: gr.Radio
    reach: gr.Radio
    button: gr.Button
    stop: gr.Button
    status: gr.HTML
    shown: gr.HTML
    of: gr.State


@dataclass(frozen=True)
class Main:
    """The right side: the view and, once there is a result, its tools."""

    stored: gr.HTML
    stale: gr.HTML
    view: gr.HTML
    shown_id: gr.State
    tools: gr.Column
    sweep: SweepCard
    transcript: gr.Textbox
    run_transcript: gr.Button
    token: gr.Textbox
    find_token: gr.Button
    token_plot: gr.Plot
    token_table: gr.HTML
    emergence_place: gr.HTML
    emergence_plot: gr.Plot
    emergence_table: gr.HTML
    make_link: gr.Button
    link: gr.Textbox
    download: gr.DownloadButton


def main() -> Main:
    """Build the right side inside the current layout and return its components."""
    with gr.Column(elem_id="main", elem_classes="rail-main", min_width=280):
        shown_id = gr.State("")
        stored = gr.HTML(elem_id="stored-answers", elem_classes="stale-note", apply_default_css=False)
        stale = gr.HTML(elem_id="stale", elem_classes="stale-note", apply_default_css=False)
        view = clip_view("clip-view")
        with gr.Column(visible=False, elem_id="tools") as tools:
            sweep = _sweep_card()
            with gr.Column(elem_classes="card", elem_id="card-transcript"):
                gr.HTML(card_title("Give the cascade another transcript"))
                transcript = gr.Textbox(
                    label="Transcript given to the cascade",
                    lines=1,
                    max_lines=4,
                    max_length=MAX_REFERENCE_CHARACTERS,
                    interactive=True,
                    elem_id="transcript",
                )
                run_transcript = gr.Button("Run with this transcript", size="sm", elem_id="run-transcript")
            token = _token_accordion()
            with gr.Accordion("Where words emerge, layer by layer", open=False, elem_id="emergence"):
                emergence_place = gr.HTML(elem_id="emergence-place")
                emergence_plot = gr.Plot(show_label=False, elem_id="emergence-plot")
                emergence_table = gr.HTML(elem_id="emergence-table")
            with gr.Row(elem_classes="buttons", elem_id="keep"):
                make_link = gr.Button("Link to this view", size="sm", elem_id="make-link")
                download = gr.DownloadButton("Download JSON", size="sm", elem_id="download")
            link = gr.Textbox(
                label="Link (an own clip is not part of it)", visible=False, buttons=["copy"], elem_id="link"
            )
    return Main(
        stored,
        stale,
        view,
        shown_id,
        tools,
        sweep,
        transcript,
        run_transcript,
        *token,
        emergence_place,
        emergence_plot,
        emergence_table,
        make_link,
        link,
        download,
    )


def _sweep_card() -> SweepCard:
    with gr.Column(elem_classes="card", elem_id="card-sweep") as card:
        gr.HTML(card_title("Layer sweep") + small(SWEEP_NOTE))
        condition = gr.Radio([], label="Erase", interactive=True, elem_id="sweep-condition")
        reach = gr.Radio(
            [("each layer alone", "single layer"), ("all up to each layer", "cumulative")],
            value="single layer",
            label="Where",
            interactive=True,
            elem_id="sweep-reach",
        )
        with gr.Row(elem_classes="buttons"):
            button = gr.Button("Sweep layers", size="sm", elem_id="sweep")
            stop = gr.Button("Stop the sweep", size="sm", visible=False, elem_id="sweep-stop")
        status = gr.HTML(elem_id="sweep-status")
        shown = gr.HTML(
            css_template=(ASSETS / "clip_sweep.css").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="sweep-shown",
        )
        of = gr.State("")
    return SweepCard(card, condition, reach, button, stop, status, shown, of)


def _token_accordion() -> tuple[gr.Textbox, gr.Button, gr.Plot, gr.HTML]:
    with gr.Accordion("Rank of a word through the layers", open=False, elem_id="token-search"):
        with gr.Row(elem_classes="ask-token"):
            token = gr.Textbox(
                show_label=False,
                label="Word or token",
                placeholder="a word, such as report",
                max_length=60,
                interactive=True,
                elem_id="token",
            )
            find = gr.Button("Find", size="sm", elem_id="find-token")
        plot = gr.Plot(show_label=False, visible=False, elem_id="token-plot")
        table = gr.HTML(elem_id="token-table")
    return token, find, plot, table
