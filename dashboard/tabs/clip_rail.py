"""The left rail of the clip page: its cards in their order, and the list of its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dashboard.tabs.clip_card import ClipCard, clip_card
from dashboard.tabs.clip_controls import ask_card, erase_card, noise_card, run_row


@dataclass(frozen=True)
class Rail(ClipCard):
    """The rail's components, the clip card's first; `form` lists those that make a `Form`, in its order."""

    task: gr.Dropdown
    task_note: gr.HTML
    pair: gr.Dropdown
    match_note: gr.HTML
    service_note: gr.HTML
    profile_note: gr.HTML
    prompt: gr.Textbox
    noise: gr.Radio
    snr_box: gr.Column
    snr: gr.Slider
    noise_file: gr.Audio
    noise_note: gr.HTML
    erasures: gr.CheckboxGroup
    erase_note: gr.HTML
    scope: gr.Radio
    layers: gr.Radio
    layer_text: gr.Textbox
    method: gr.Radio
    strength: gr.Slider
    readout: gr.Textbox
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    estimate: gr.HTML

    @property
    def form(self) -> Sequence[Any]:  # Gradio gives components their events when they are made
        """Components in the order of the fields of `dashboard.form.Form`, seed left out."""
        return [
            self.audio,
            self.task,
            self.prompt,
            self.reference,
            self.pair,
            self.noise,
            self.snr,
            self.noise_file,
            self.erasures,
            self.scope,
            self.layers,
            self.layer_text,
            self.method,
            self.strength,
            self.readout,
        ]


def rail() -> Rail:
    """Build the rail inside the current layout and return its components."""
    with gr.Column(elem_id="rail", elem_classes="rail", min_width=220):
        parts = {**vars(clip_card()), **ask_card(), **noise_card(), **erase_card(), **run_row()}
    return Rail(**parts)
