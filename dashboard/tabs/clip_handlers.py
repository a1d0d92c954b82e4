"""What happens when something is pressed on the clip page's rail: values in, updates out.

`clip.py` binds these to components. Each raises EngineError for what the user can mend; the wiring turns
that into a toast.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from dashboard.choices import needs_press, offer
from dashboard.components.stored_answers import stored_answers_html
from dashboard.form import LAYER_CHOICES, Form, example_of_file, opened_of_file
from dashboard.links import View, query_of, view_of
from dashboard.opened import open_clip, pair_for
from dashboard.preparing import state_of_profile
from dashboard.served_files import write_wav
from dashboard.stored import listed_pairs, opening_example
from dashboard.tabs.clip_texts import problem, profile_note, sentence_html, small, task_hint
from engine import voice
from engine.audio import AudioClip, load_clip
from engine.errors import ClipError
from engine.examples import EXAMPLES, Example
from engine.request import ERASURES, LOGIT
from engine.systems.profiles import offered_pairs
from engine.tasks import TASKS
from engine.words import SpokenWord

Update = Any
SKIP: Update = gr.skip()


class ClipUpdate(NamedTuple):
    """A new clip on the rail; `audio` is left alone when the person put it there."""

    audio: Update
    clip_note: Update
    reference: Update


class QuestionUpdate(NamedTuple):
    """A new question on the rail."""

    task: Update
    task_note: Update
    prompt: Update


class Restored(NamedTuple):
    """The rail as a link asks for it; `run_at_once` says whether a result was on screen."""

    audio: Update
    clip_note: Update
    reference: Update
    task: Update
    task_note: Update
    prompt: Update
    pair: Update
    profile_note: Update
    noise: Update
    snr_box: Update
    snr: Update
    erasures: Update
    scope: Update
    layers: Update
    layer_text: Update
    method: Update
    strength: Update
    readout: Update
    run_at_once: bool


def form_of(values: tuple[Any, ...]) -> Form:
    """Return the form for component values in the order of `Rail.form`; missing texts become "".

    The dial's box is empty while a person types: its strength is NaN then, which the engine refuses.
    """
    form = Form(*values)
    return Form(
        form.audio,
        form.task,
        form.prompt or "",
        form.reference or "",
        form.pair,
        form.noise,
        form.snr_db,
        form.noise_file,
        tuple(form.erasures or ()),
        form.scope,
        form.layers,
        form.layer_text or "",
        form.method,
        float("nan") if form.strength is None else form.strength,
        form.readout or LOGIT,
        seed=_seed_of(form.audio),
    )


def _seed_of(path: str | None) -> int:
    """Return the noise seed of a benchmark's clip, so that the noise is the benchmark's; 0 for others."""
    opened = opened_of_file(path)
    return opened.seed if opened else 0


def clip_line(clip: AudioClip) -> str:
    """Return what is known of a clip in one escaped paragraph: length, changes, warnings."""
    parts = [f"{clip.duration_s:.2f} s.", *clip.changes, *clip.warnings]
    return small(" ".join(parts))


def take_clip(path: str | None) -> ClipUpdate:
    """Return the note for a clip that was just uploaded, recorded or removed; old words no longer hold."""
    if not path:
        return ClipUpdate(SKIP, "", "")
    try:
        return ClipUpdate(SKIP, clip_line(load_clip(path, whole=True)), "")
    except ClipError as error:
        return ClipUpdate(SKIP, problem(str(error)), "")


def take_other_file(path: str) -> ClipUpdate:
    """Return the same for a file of a kind that the audio component refuses, and put it there.

    Raises:
        ClipError: it cannot be used as a clip.
    """
    return (
        take_clip(path)._replace(audio=path) if load_clip(path, whole=True) else ClipUpdate(SKIP, SKIP, SKIP)
    )


def take_example(index: int) -> tuple[Update, ...]:
    """Return clip, words and question of an example."""
    example = EXAMPLES[index]
    return (*example_clip(example), *_question(example.task, example.prompt))


def example_clip(example: Example) -> ClipUpdate:
    """Return an example's clip and words."""
    clip = load_clip(example.file)
    return ClipUpdate(str(example.file), clip_line(clip), example.reference)


def _question(task_key: str, prompt: str | None = None) -> QuestionUpdate:
    """Return the question with its prompt box, shown only where the task reads it."""
    task = TASKS[task_key]
    box = gr.update(
        visible=task.kind in ("choices", "free"),
        label="Answers to choose from" if task.kind == "choices" else "Prompt",
        placeholder=task.example_prompt,
        **({} if prompt is None else {"value": prompt}),
    )
    return QuestionUpdate(task_key, small(task_hint(task_key)), box)


def show_stored(path: str | None) -> str:
    """Return the card of the clip on the rail where it is one of a benchmark, else ""."""
    return stored_answers_html(opened_of_file(path))


def show_question(task_key: str) -> tuple[Update, Update]:
    """Return note and prompt box for a task that was just chosen; a typed prompt stays."""
    question = _question(task_key)
    return question.task_note, question.prompt


def show_noise(kind: str) -> tuple[Update, Update]:
    """Return the slider's box and the noise file, shown where this kind of noise needs them."""
    return gr.update(visible=kind != "none"), gr.update(visible=kind == "own")


def show_layers(choice: str) -> Update:
    """Return the box for custom layers, shown where it is read."""
    return gr.update(visible=choice == "custom")


def other_sentence(current: str) -> tuple[str, str]:
    """Return another sentence to read aloud, as HTML and as text."""
    text = random.choice([one.reference for one in EXAMPLES if one.reference != current] or [current])
    return sentence_html(text), text


def say(text: str, voice_key: str, rate_wpm: float, pitch: float) -> ClipUpdate:
    """Return a clip of a voice that says the text.

    Raises:
        VoiceError: the text cannot be spoken, or no synthesiser is installed.
    """
    return say_with_times(text, voice_key, rate_wpm, pitch)[0]


def say_with_times(
    text: str, voice_key: str, rate_wpm: float, pitch: float
) -> tuple[ClipUpdate, tuple[SpokenWord, ...]]:
    """Return the same, and when each word is heard; raises as `say`."""
    spoken = voice.say(text, voice=voice_key, rate_wpm=int(rate_wpm), pitch=int(pitch))
    path: Path = write_wav(spoken.clip.samples, "spoken.wav")
    return ClipUpdate(str(path), clip_line(spoken.clip), text.strip()), spoken.words


def link_to(values: tuple[Any, ...], has_result: bool) -> str:
    """Return the query string that restores the view; an own clip is not part of it."""
    form = form_of(values)
    example, opened = example_of_file(form.audio), opened_of_file(form.audio)
    return query_of(form, example.key if example else None, has_result, opened.key if opened else None)


def restore(query: dict[str, str]) -> Restored:
    """Return the rail as the page's address asks for it."""
    known = {example.key: example for example in EXAMPLES}
    view = view_of(query, examples=known, pairs=listed_pairs(), conditions=ERASURES)
    if view.erasures and view.pair and not offer(view.pair).has_states:
        view = replace(view, erasures=(), ignored=(*view.ignored, "erase"))
    if view.ignored:
        gr.Warning(f"Parts of this link do not exist here and were left out: {', '.join(view.ignored)}.")
    example = known.get(view.example or "")
    if view.clip:
        example = open_clip(view.clip).example
    elif example is None and not view.pair:
        example = opening_example()
    clip = example_clip(example) if example else ClipUpdate(SKIP, SKIP, SKIP)
    return Restored(
        *clip,
        *_restored_question(view, example),
        _restored_pair(view),
        profile_note(state_of_profile()),
        *_restored_noise(view),
        *_restored_erasure(view),
        SKIP if view.readout is None else view.readout,
        # What goes to a service waits for a person who presses Run.
        bool(view.run and example and not needs_press(_first_pair(view))),
    )


def follow_profile(pair: str) -> tuple[Update, Update, bool]:
    """Return the profile's note, the pairs once nothing more is coming, and whether anything still is.

    Args:
        pair: that is chosen; it stays so.
    """
    state = state_of_profile()
    if state is not None and state.now:
        return profile_note(state), SKIP, True
    # What will not come is chosen no longer: the page goes on with what is here.
    pairs = listed_pairs()
    value = pair if pair in pairs else next(iter(pairs))
    return profile_note(state), gr.update(choices=_choices(pairs), value=value), False


def open_from_benchmark(key: str, systems: tuple[str, ...]) -> tuple[Update, ...]:
    """Return the rail filled with a clip of a benchmark, and the query string that restores it.

    Order: audio, clip note, reference, task, task note, prompt, pair, noise, slider's box, slider, link.

    Raises:
        EngineError: the clip cannot be made again here.
    """
    opened = open_clip(key)
    example = opened.example
    audio, note, reference = example_clip(example)
    pair = pair_for(systems)
    link = {"clip": key, "task": example.task, **({"systems": pair} if pair else {})}
    if opened.snr_db is not None:
        link |= {"noise": opened.noise, "snr": f"{opened.snr_db:g}"}
    return (
        audio,
        note + small(opened.note),
        reference,
        *_question(example.task, example.prompt),
        pair or SKIP,
        opened.noise,
        gr.update(visible=opened.snr_db is not None),
        SKIP if opened.snr_db is None else opened.snr_db,
        "?" + urlencode(link),
    )


def _restored_question(view: View, example: Example | None) -> QuestionUpdate:
    task = view.task or (example.task if example else None)
    if task is None:
        return QuestionUpdate(SKIP, SKIP, SKIP)
    prompt = view.prompt
    if prompt is None and example is not None and example.task == task:
        prompt = example.prompt
    return _question(task, prompt)


def _restored_pair(view: View) -> Update:
    """Return the pairs that can run by now, too: weights may have come since the page was built."""
    return gr.update(choices=_choices(listed_pairs()), value=_first_pair(view))


def _first_pair(view: View) -> str:
    """Return the pair that the address names, or the first; a run asks the first that can run by now."""
    return view.pair or next(iter(offered_pairs() if view.run else listed_pairs()))


def _choices(pairs: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, key) for key, name in pairs.items()]


def _restored_noise(view: View) -> tuple[Update, Update, Update]:
    if view.noise is None:
        return SKIP, SKIP, SKIP
    return view.noise, gr.update(visible=True), SKIP if view.snr_db is None else view.snr_db


def _restored_erasure(view: View) -> tuple[Update, Update, Update, Update, Update, Update]:
    listed = view.layers is not None and view.layers not in LAYER_CHOICES
    layers = SKIP if view.layers is None else "custom" if listed else view.layers
    text = gr.update(visible=True, value=view.layers) if listed else SKIP
    strength = SKIP if view.strength is None else view.strength
    return list(view.erasures) or SKIP, view.scope or SKIP, layers, text, view.method or SKIP, strength
