"""The rail's cards for question, noise and erasure, and the Run row. Components only, no behaviour."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from dashboard.choices import Offer, offer, unset_services
from dashboard.form import MAX_LAYER_CHARACTERS
from dashboard.session import DURATIONS
from dashboard.tabs.clip_texts import card_title, folded, small
from engine.request import LOGIT
from engine.systems.profiles import offered_pairs
from engine.tasks import MAX_PROMPT_CHARACTERS, TASKS

SNR_SLIDER_DB = (-5, 20)
SNR_STEP_DB = 5
STRENGTH_STEP = 0.25


def ask_card() -> dict[str, Any]:
    first = next(iter(TASKS.values()))
    pairs = offered_pairs()
    pair = next(iter(pairs.values()))
    with gr.Column(elem_classes="card", elem_id="card-ask"):
        gr.HTML(card_title("Ask"))
        task = gr.Dropdown(
            [(task.name, task.key) for task in TASKS.values()],
            value=first.key,
            label="Task",
            interactive=True,
            filterable=False,
            elem_id="task",
            elem_classes="inline",
        )
        task_note = gr.HTML(small(first.help), elem_id="task-note")
        prompt = gr.Textbox(
            label="Prompt",
            lines=2,
            max_lines=4,
            max_length=MAX_PROMPT_CHARACTERS,
            visible=False,
            interactive=True,
            elem_id="prompt",
        )
        choice = gr.Dropdown(
            [(one.name, one.key) for one in pairs.values()],
            value=pair.key,
            label="Pair",
            interactive=True,
            filterable=False,
            elem_id="pair",
            elem_classes="inline",
        )
        match_note = gr.HTML(small(offer(pair.key).match_note), elem_id="match-note")
        profile_note = gr.HTML("", elem_id="profile-note")
        unset = unset_services()
        gr.HTML(folded("Ask a service", unset), visible=bool(unset), elem_id="unset-services")
    return {
        "task": task,
        "task_note": task_note,
        "prompt": prompt,
        "pair": choice,
        "match_note": match_note,
        "profile_note": profile_note,
    }


def noise_card() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="card-noise"):
        gr.HTML(card_title("Noise"))
        noise = gr.Radio(
            [("None", "none"), ("Babble", "babble"), ("White", "white"), ("Own file", "own")],
            value="none",
            label="Noise",
            show_label=False,
            interactive=True,
            elem_id="noise",
            elem_classes="chips",
        )
        with gr.Column(visible=False, elem_id="snr-box") as snr_box:
            low, high = SNR_SLIDER_DB
            snr = gr.Slider(
                low,
                high,
                5,
                step=SNR_STEP_DB,
                label="Signal to noise, dB",
                interactive=True,
                elem_id="snr",
                buttons=[],
            )
            ticks = "".join(f"<span>{ratio}</span>" for ratio in range(low, high + 1, SNR_STEP_DB))
            gr.HTML(f'<div class="ticks" aria-hidden="true">{ticks}</div>')
        noise_file = gr.Audio(
            sources=["upload"],
            type="filepath",
            label="Noise file",
            visible=False,
            interactive=True,
            buttons=[],
            elem_id="noise-file",
        )
        note = gr.HTML(small("Clean: both systems hear the clip as it is."), elem_id="noise-note")
    return {"noise": noise, "snr_box": snr_box, "snr": snr, "noise_file": noise_file, "noise_note": note}


def erase_card() -> dict[str, Any]:
    """Build the switches of the erasures, and where and how they act."""
    offered = offer(next(iter(offered_pairs())))
    with gr.Column(elem_classes="card", elem_id="card-erase"):
        gr.HTML(card_title("Erase"))
        erasures = gr.CheckboxGroup(
            erasure_choices(offered),
            label="Erase",
            show_label=False,
            interactive=True,
            elem_id="erasures",
        )
        strength = gr.Slider(
            0,
            1,
            1,
            step=STRENGTH_STEP,
            label="Strength",
            interactive=True,
            elem_id="strength",
            buttons=[],
        )
        gr.HTML(small("A random control of the same rank and strength always runs beside each."))
        note = gr.HTML(small(offered.erase_note), visible=bool(offered.erase_note), elem_id="erase-note")
        # Chosen over the lens grid, which lies in the view; kept here with what else a run is asked for.
        readout = gr.Textbox(LOGIT, visible=False)
        where = _where_and_how(offered)
    return {"erasures": erasures, "strength": strength, "erase_note": note, "readout": readout, **where}


def service_line(offered: Offer) -> str:
    """Return what Run sends out, marked so that nobody misses it; "" where nothing is."""
    return f'<p class="sends-out">{escape(offered.service_note)}</p>' if offered.service_note else ""


def erasure_choices(offered: Offer) -> list[tuple[str, str]]:
    """Return the switches of what is offered: (label, key)."""
    return [(f"{one.name}, rank {one.kept_rank}", one.key) for one in offered.conditions]


def layer_label(offered: Offer) -> str:
    """Return the label of the custom layers' box."""
    return f"Custom layers, {offered.layers}"


def _where_and_how(offered: Offer) -> dict[str, Any]:
    with gr.Accordion("Where and how", open=False, elem_id="erase-where"):
        scope = gr.Radio(
            [("audio positions", "audio"), ("whole prompt", "prompt"), ("generated too", "all")],
            value="audio",
            label="Positions",
            interactive=True,
            elem_id="scope",
        )
        layers = gr.Radio(
            [("the paper's nine", "preset"), ("all", "all"), ("custom", "custom")],
            value="preset",
            label="Layers",
            interactive=True,
            elem_id="layers",
        )
        layer_text = gr.Textbox(
            label=layer_label(offered),
            placeholder="1-4, 8",
            max_length=MAX_LAYER_CHARACTERS,
            interactive=True,
            visible=False,
            elem_id="layer-text",
        )
        method = gr.Radio(
            [("linear", "linear"), ("affine", "affine")],
            value="linear",
            label="Eraser",
            interactive=True,
            elem_id="method",
        )
    return {"scope": scope, "layers": layers, "layer_text": layer_text, "method": method}


def run_row() -> dict[str, Any]:
    """Build the Run row; beside Run stands what it would send out."""
    offered = offer(next(iter(offered_pairs())))
    with gr.Column(elem_id="run-row", elem_classes="run-row"):
        with gr.Row(elem_classes="buttons"):
            run = gr.Button("Run", variant="primary", elem_id="run", elem_classes="run")
            stop = gr.Button("Stop", visible=False, elem_id="stop", elem_classes="run-stop")
        service_note = gr.HTML(
            service_line(offered), visible=bool(offered.service_note), elem_id="service-note"
        )
        status = gr.HTML(elem_id="status")
        estimate = gr.HTML(small(DURATIONS.line(0)), elem_id="estimate")
    parts = {"run": run, "stop": stop, "status": status, "estimate": estimate}
    return {"service_note": service_note, **parts}
