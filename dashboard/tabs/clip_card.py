"""The rail's first card: where the clip comes from. Components only, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from dashboard.tabs.clip_texts import card_title, sentence_html, small
from engine import voice
from engine.examples import EXAMPLES
from engine.request import MAX_REFERENCE_CHARACTERS

SOUND_FILES = [".webm", ".m4a", ".mp4", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".aac", ".aiff"]
NO_VOICE = (
    "No synthesiser is installed here (pip install espeakng-loader), so typed sentences cannot be spoken."
)


@dataclass(frozen=True)
class ClipCard:
    """Its components; `said_text` holds the sentence that is to be read aloud."""

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


def clip_card(prefix: str = "") -> ClipCard:
    """Build the card inside the current layout; `prefix` goes before its elements' ids."""
    with gr.Column(elem_classes="card", elem_id=f"{prefix}card-clip"):
        gr.HTML(card_title("Clip"))
        audio = gr.Audio(
            sources=["upload", "microphone"],
            type="filepath",
            label="Clip",
            show_label=False,
            buttons=["download"],
            interactive=True,
            elem_id=f"{prefix}audio",
            elem_classes="clip-audio",
            waveform_options=gr.WaveformOptions(show_recording_waveform=False),
        )
        _microphone_note(prefix)
        clip_note = gr.HTML(elem_id=f"{prefix}clip-note")
        examples = gr.Dataset(
            label="Examples",
            components=[gr.Textbox(visible=False)],
            samples=[[example.title] for example in EXAMPLES],
            type="index",
            samples_per_page=20,
            visible=bool(EXAMPLES),
            elem_id=f"{prefix}examples",
            elem_classes="clip-examples",
        )
        reference = gr.Textbox(
            label="What was really said (optional)",
            lines=2,
            max_lines=4,
            max_length=MAX_REFERENCE_CHARACTERS,
            interactive=True,
            elem_id=f"{prefix}reference",
        )
        said_text, sentence, another, said_it = _read_aloud(prefix)
        speech = _speech_accordion(prefix)
        other_file = gr.UploadButton(
            "Upload .webm, .m4a or .mp4",
            file_types=SOUND_FILES,
            size="sm",
            elem_id=f"{prefix}other-file",
            elem_classes="clip-other-file",
        )
    return ClipCard(
        audio, other_file, clip_note, examples, sentence, another, said_it, said_text, *speech, reference
    )


def _microphone_note(prefix: str) -> None:
    gr.HTML(
        small("The browser offers the microphone only on https or localhost; uploads work everywhere."),
        elem_id=f"{prefix}no-microphone",
        elem_classes="microphone-note",
    )


def _read_aloud(prefix: str) -> tuple[gr.Textbox, gr.HTML, gr.Button, gr.Button]:
    first = EXAMPLES[0].reference if EXAMPLES else ""
    said_text = gr.Textbox(first, visible=False)
    with gr.Accordion("Read this aloud", open=False, visible=bool(EXAMPLES), elem_id=f"{prefix}read-aloud"):
        sentence = gr.HTML(sentence_html(first), elem_id=f"{prefix}sentence")
        with gr.Row(elem_classes="buttons"):
            another = gr.Button("Another sentence", size="sm", elem_id=f"{prefix}another")
            said_it = gr.Button("I read this", size="sm", elem_id=f"{prefix}said-it")
    return said_text, sentence, another, said_it


def _speech_accordion(prefix: str) -> tuple[gr.Textbox, gr.Dropdown, gr.Slider, gr.Slider, gr.Button]:
    available = voice.is_available()
    with gr.Accordion(
        "Have a voice say a sentence",
        open=False,
        elem_id=f"{prefix}speak-accordion",
        elem_classes="clip-speak",
    ):
        gr.HTML(small(NO_VOICE), visible=not available)
        with gr.Column(visible=available):
            text = gr.Textbox(
                label="Sentence",
                lines=2,
                max_lines=3,
                max_length=voice.MAX_TEXT_CHARACTERS,
                interactive=True,
                elem_id=f"{prefix}speak-text",
            )
            choices = [(choice.name, choice.key) for choice in voice.VOICES]
            who = gr.Dropdown(
                choices, value=choices[0][1], label="Voice", interactive=True, elem_id=f"{prefix}speak-voice"
            )
            rate = gr.Slider(100, 260, 165, step=5, label="Words a minute", interactive=True, buttons=[])
            pitch = gr.Slider(0, 99, 50, step=1, label="Pitch", interactive=True, buttons=[])
            speak = gr.Button("Say it", size="sm", elem_id=f"{prefix}speak")
    return text, who, rate, pitch, speak
