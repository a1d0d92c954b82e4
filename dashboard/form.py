"""What the controls of the clip page hold, and the engine's request made of it.

The tab reads its controls into a `Form`; nothing here knows Gradio.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.choices import editable_layers
from dashboard.opened import Opened, opened_of_digest
from engine.errors import ClipError, PromptError, UnknownKeyError
from engine.request import LOGIT, RunRequest, layer_words
from engine.systems.catalogue import get_pair, get_spec
from engine.tasks import get_task

if TYPE_CHECKING:
    from engine.audio import AudioClip
    from engine.examples import Example

MAX_LAYER_CHARACTERS = 60
LAYER_CHOICES = ("preset", "all", "custom")


@dataclass(frozen=True)
class Form:
    """The controls, in the order in which the tab lists them.

    Attributes:
        audio, noise_file: paths of uploaded files.
        noise: "none", "babble", "white" or "own".
        layers: one of LAYER_CHOICES; `layer_text` holds the custom ones, such as "1-4, 8".
        strength: of the erasures, 0 to 1.
        readout: as in `RunRequest`.
    """

    audio: str | None
    task: str
    prompt: str
    reference: str
    pair: str
    noise: str
    snr_db: float
    noise_file: str | None
    erasures: tuple[str, ...]
    scope: str
    layers: str
    layer_text: str
    method: str
    strength: float = 1.0
    readout: str = LOGIT
    seed: int = 0


def asked_of(form: Form) -> Form:
    """Return the form with what its other choices leave unread set aside: two that ask the same are equal then."""
    own_layers = form.layers == "custom"
    erasing = (form.scope, form.layers, form.layer_text if own_layers else "", form.method, form.strength)
    scope, layers, layer_text, method, strength = (
        erasing if form.erasures else ("audio", "preset", "", "linear", 1.0)
    )
    return replace(
        form,
        prompt=form.prompt if get_task(form.task).kind in ("choices", "free") else "",
        reference=form.reference.strip(),
        snr_db=0.0 if form.noise == "none" else form.snr_db,
        noise_file=form.noise_file if form.noise == "own" else None,
        scope=scope,
        layers=layers,
        layer_text=layer_text,
        method=method,
        strength=strength,
    )


def load(form: Form) -> AudioClip:
    """Return the form's clip, decoded.

    Raises:
        ClipError: there is none, or it cannot be used.
    """
    from engine.audio import load_clip

    if not form.audio:
        raise ClipError("There is no clip yet: record one, upload a file or choose an example.")
    return load_clip(form.audio, whole=True)


def request_from(form: Form, clip: AudioClip, transcript: str | None = None) -> RunRequest:
    """Return the engine's request for these controls.

    Args:
        form: the controls.
        clip: the form's clip.
        transcript: what the cascade's backbone is given instead of what its transcriber heard.

    Raises:
        EngineError: an unknown task or layer, an empty transcript, an unusable noise file.
    """
    from engine.audio import load_clip

    task = get_task(form.task)
    noise = None if form.noise == "none" else form.noise
    example = example_of_file(form.audio)
    reference = form.reference.strip()
    # What ships with an example holds for its own words and its own question only.
    same_words = example if example and example.reference == reference else None
    same_question = example if example and _asks(form, example) else None
    return RunRequest(
        clip=clip,
        task=form.task,
        pair=form.pair,
        noise=noise,
        snr_db=None if noise is None else form.snr_db,
        noise_clip=load_clip(form.noise_file) if noise == "own" and form.noise_file else None,
        erasures=tuple(dict.fromkeys(form.erasures)),
        scope=form.scope,
        layers=chosen_layers(form.pair, form.layers, form.layer_text),
        method=form.method,
        strength=form.strength,
        seed=form.seed,
        prompt=form.prompt if task.kind in ("choices", "free") else "",
        reference=reference or None,
        reference_words=same_words.words if same_words else (),
        gold=same_question.gold if same_question else None,
        aliases=same_question.aliases if same_question else (),
        transcript_override=_checked_transcript(transcript),
        readout=form.readout,
    )


def _checked_transcript(transcript: str | None) -> str | None:
    if transcript is None:
        return None
    text = " ".join(transcript.split())
    if not text:
        raise PromptError("The transcript for the cascade is empty; write what it should be given.")
    return text


def chosen_layers(pair: str, choice: str, text: str) -> tuple[int, ...] | None:
    """Return the layers to edit, None for the preset.

    Args:
        pair: whose layers.
        choice: one of LAYER_CHOICES; not read where a service keeps the states.
        text: for "custom": numbers and ranges, such as "1-4, 8".

    Raises:
        UnknownKeyError: the text is not such a list, or names a layer that is not there.
    """
    if choice == "preset" or get_spec(get_pair(pair).speech_llm).is_remote:
        return None
    if choice == "all":
        return editable_layers(pair)
    known = editable_layers(pair)
    span = layer_words(known)
    parts = [
        part for part in re.split(r"[,;\s]+", text[:MAX_LAYER_CHARACTERS].replace("–", "-").strip()) if part
    ]
    found: set[int] = set()
    for part in parts:
        numbers = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if numbers is None:
            raise UnknownKeyError(f'"{part[:20]}" is no layer; write layers {span}, for example "1-4, 8".')
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        found.update(range(min(first, last), max(first, last) + 1))
    if not found or not found <= set(known):
        raise UnknownKeyError(f'Choose layers from {span}, for example "{known[0]}, {known[-1]}".')
    return tuple(sorted(found))


def _asks(form: Form, example: Example) -> bool:
    """Whether the form asks the example's own question."""
    reads_prompt = get_task(form.task).kind in ("choices", "free")
    return example.task == form.task and (not reads_prompt or example.prompt == form.prompt)


def example_of_file(path: str | None) -> Example | None:
    """Return the example, shipped or opened from a benchmark, whose sound file this is a copy of, else None."""
    if not path:
        return None
    opened = opened_of_file(path)
    return opened.example if opened else _examples_by_digest().get(_digest(path))


def opened_of_file(path: str | None) -> Opened | None:
    """Return the clip of a benchmark whose sound file this is a copy of, None where there is none."""
    return opened_of_digest(_digest(path)) if path and Path(path).is_file() else None


@cache
def _examples_by_digest() -> dict[str, Example]:
    from engine.examples import EXAMPLES

    return {_digest(str(example.file)): example for example in EXAMPLES}


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
