"""The rail's first card: where the clip comes from. Components only, no behaviour."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dashboard.tabs.clip_texts import card_title, sentence_html, small
from engine import voice
from engine.examples import EXAMPLES
from engine.request import MAX_REFERENCE_CHARACTERS

SOUND_FILES = [".webm", ".m4a", ".mp4", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".aac", ".aiff"]
NO_VOICE = (
    "No synthesiser is installed here (pip install espeakng-loader), so typed sentences cannot be spoken."
)


def clip_card() -> dict[str, Any]:
    with gr.Column(elem_classes="card", elem_id="card-clip"):
        gr.HTML(card_title("Clip"))
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
            visible=bool(EXAMPLES),
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
        first = EXAMPLES[0].reference if EXAMPLES else ""
        said_text = gr.Textbox(first, visible=False)
        with gr.Accordion("Read this aloud", open=False, visible=bool(EXAMPLES), elem_id="read-aloud"):
            sentence = gr.HTML(sentence_html(first), elem_id="sentence")
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
            who = gr.Dropdown(
                choices, value=choices[0][1], label="Voice", interactive=True, elem_id="speak-voice"
            )
            rate = gr.Slider(100, 260, 165, step=5, label="Words a minute", interactive=True, buttons=[])
            pitch = gr.Slider(0, 99, 50, step=1, label="Pitch", interactive=True, buttons=[])
            speak = gr.Button("Say it", size="sm", elem_id="speak")
    return {"speak_text": text, "speak_voice": who, "speak_rate": rate, "speak_pitch": pitch, "speak": speak}
