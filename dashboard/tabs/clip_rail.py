"""The left rail of the clip page: clip, question, noise, erasure, Run. Components only, no behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from dashboard.choices import all_layers, conditions, layer_preset
from dashboard.form import MAX_LAYER_CHARACTERS
from engine import voice
from engine.examples import EXAMPLES
from engine.request import MAX_REFERENCE_CHARACTERS
from engine.systems.catalogue import PAIRS, match_of
from engine.tasks import FREE_FORMS, MAX_PROMPT_CHARACTERS, TASKS

SOUND_FILES = [".webm", ".m4a", ".mp4", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".aac", ".aiff"]
SNR_SLIDER_DB = (-5, 20)
SNR_STEP_DB = 5
MATCHES = {
    "exact": "Match: exact, both run the same backbone weights.",
    "none": "Match: none, the two run different backbones; compare with care.",
}
NO_VOICE = "No synthesiser is installed here (pip install espeakng-loader), so typed sentences cannot be spoken."


@dataclass(frozen=True)
class Rail:
    """The rail's components; `form` lists those that make a `Form`, in its order."""

    audio: gr.Audio
    other_file: gr.UploadButton
    clip_note: gr.HTML
    examples: gr.Dataset
    sentence: gr.HTML
    another: gr.Button
    said_it: gr.Button
    said_text: gr.Textbox
    speak_text: gr.Textbox
    speak_voice: gr.Dropdown
    speak_rate: gr.Slider
    speak_pitch: gr.Slider
    speak: gr.Button
    reference: gr.Textbox
    task: gr.Dropdown
    task_note: gr.HTML
    pair: gr.Dropdown
    prompt: gr.Textbox
    noise: gr.Radio
    snr_box: gr.Column
    snr: gr.Slider
    noise_file: gr.Audio
    noise_note: gr.HTML
    erasures: gr.CheckboxGroup
    scope: gr.Radio
    layers: gr.Radio
    layer_text: gr.Textbox
    method: gr.Radio
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    estimate: gr.HTML

    @property
    def form(self) -> Sequence[gr.components.Component]:
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
        ]


def rail() -> Rail:
    """Build the rail inside the current layout and return its components."""
    with gr.Column(elem_id="rail", min_width=220):
        parts = {**_clip_card(), **_ask_card(), **_noise_card(), **_erase_card(), **_run_row()}
    return Rail(**parts)


def small(text: str) -> str:
    """Return a quiet line of text as HTML, escaped."""
    return f'<p class="small">{escape(text)}</p>' if text else ""


def sentence_html(text: str) -> str:
    """Return the sentence to read aloud as HTML, escaped."""
    return f'<p class="read-aloud">{escape(text)}</p>'


def _title(text: str) -> None:
    gr.HTML(f'<h2 class="card-title">{text}</h2>')


def _clip_card() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="card-clip"):
        _title("Clip")
        audio = gr.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="Clip",
            show_label=False,
            buttons=["download"],
            interactive=True,
            elem_id="audio",
            waveform_options=gr.WaveformOptions(show_recording_waveform=False),
        )
        gr.HTML(
            small("The browser offers the microphone only on https or localhost; uploads work everywhere."),
            elem_id="no-microphone",
        )
        clip_note = gr.HTML(elem_id="clip-note")
        examples = gr.Dataset(
            label="Examples",
            components=[gr.Textbox(visible=False)],
            samples=[[example.title] for example in EXAMPLES],
            type="index",
            samples_per_page=20,
            elem_id="examples",
        )
        reference = gr.Textbox(
            label="What was really said (optional)",
            lines=2,
            max_lines=4,
            max_length=MAX_REFERENCE_CHARACTERS,
            interactive=True,
            elem_id="reference",
        )
        said_text = gr.Textbox(EXAMPLES[0].reference, visible=False)
        with gr.Accordion("Read this aloud", open=False, elem_id="read-aloud"):
            sentence = gr.HTML(sentence_html(EXAMPLES[0].reference), elem_id="sentence")
            with gr.Row(elem_classes="buttons"):
                another = gr.Button("Another sentence", size="sm", elem_id="another")
                said_it = gr.Button("I read this", size="sm", elem_id="said-it")
        speech = _speech_accordion()
        other_file = gr.UploadButton(
            "Upload .webm, .m4a or .mp4", file_types=SOUND_FILES, size="sm", elem_id="other-file"
        )
    found = {"audio": audio, "clip_note": clip_note, "examples": examples, "reference": reference}
    found |= {"said_text": said_text, "sentence": sentence, "another": another, "said_it": said_it}
    return {**found, "other_file": other_file, **speech}


def _speech_accordion() -> dict[str, Any]:
    available = voice.is_available()
    with gr.Accordion("Have a voice say a sentence", open=False, elem_id="speak-accordion"):
        gr.HTML(small(NO_VOICE), visible=not available)
        with gr.Column(visible=available):
            text = gr.Textbox(
                label="Sentence",
                lines=2,
                max_lines=3,
                max_length=voice.MAX_TEXT_CHARACTERS,
                interactive=True,
                elem_id="speak-text",
            )
            choices = [(choice.name, choice.key) for choice in voice.VOICES]
            who = gr.Dropdown(choices, value=choices[0][1], label="Voice", interactive=True, elem_id="speak-voice")
            rate = gr.Slider(100, 260, 165, step=5, label="Words a minute", interactive=True, buttons=[])
            pitch = gr.Slider(0, 99, 50, step=1, label="Pitch", interactive=True, buttons=[])
            speak = gr.Button("Say it", size="sm", elem_id="speak")
    return {"speak_text": text, "speak_voice": who, "speak_rate": rate, "speak_pitch": pitch, "speak": speak}


def _ask_card() -> dict[str, Any]:
    first = next(iter(TASKS.values()))
    pair = next(iter(PAIRS.values()))
    with gr.Column(elem_classes="card", elem_id="card-ask"):
        _title("Ask")
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
            [(one.name, one.key) for one in PAIRS.values()],
            value=pair.key,
            label="Pair",
            interactive=True,
            filterable=False,
            elem_id="pair",
            elem_classes="inline",
        )
        gr.HTML(small(MATCHES[match_of(pair)]), elem_id="match-note")
    return {"task": task, "task_note": task_note, "prompt": prompt, "pair": choice}


def _noise_card() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="card-noise"):
        _title("Noise")
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
                low, high, 5, step=SNR_STEP_DB, label="Signal to noise, dB", interactive=True, elem_id="snr", buttons=[]
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


def _erase_card() -> dict[str, Any]:
    pair = next(iter(PAIRS))
    layers_here = all_layers(pair)
    offered, missing = conditions(pair)
    with gr.Column(elem_classes="card", elem_id="card-erase"):
        _title("Erase")
        erasures = gr.CheckboxGroup(
            [(f"{one.name}, rank {one.kept_rank}", one.key) for one in offered],
            label="Erase",
            show_label=False,
            interactive=True,
            elem_id="erasures",
        )
        gr.HTML(small("A random control of the same rank always runs beside each."))
        gr.HTML(
            small(f"Not fitted for this pair, so not offered: {', '.join(missing)}."), visible=bool(missing)
        )
        with gr.Accordion("Where and how", open=False, elem_id="erase-where"):
            scope = gr.Radio(
                [("audio positions", "audio"), ("whole prompt", "prompt"), ("generated too", "all")],
                value="audio",
                label="Positions",
                interactive=True,
                elem_id="scope",
            )
            layers = gr.Radio(
                [(f"the paper's {len(layer_preset(pair))}", "preset"), ("all", "all"), ("custom", "custom")],
                value="preset",
                label="Layers",
                interactive=True,
                elem_id="layers",
            )
            layer_text = gr.Textbox(
                label=f"Custom layers, {layers_here[0]} to {layers_here[-1]}",
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
    return {"erasures": erasures, "scope": scope, "layers": layers, "layer_text": layer_text, "method": method}


def _run_row() -> dict[str, Any]:
    with gr.Column(elem_id="run-row"):
        with gr.Row(elem_classes="buttons"):
            run = gr.Button("Run", variant="primary", elem_id="run")
            stop = gr.Button("Stop", visible=False, elem_id="stop")
        status = gr.HTML(elem_id="status")
        estimate = gr.HTML(small("The first run also loads the models."), elem_id="estimate")
    return {"run": run, "stop": stop, "status": status, "estimate": estimate}


def task_hint(task_key: str) -> str:
    """Return the line under the task: what decides the answer, and which free prompts the minis know."""
    task = TASKS[task_key]
    return f"{task.help} Known forms: {' '.join(FREE_FORMS)}" if task.kind == "free" else task.help
