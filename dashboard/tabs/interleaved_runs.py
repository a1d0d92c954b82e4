"""Running a clip through the interleaved model and showing it; the tab and its endpoint share `read`.

`interleaved.py` binds these to components. A run takes its turn in the model queue, as those of the clip page do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import gradio as gr

from dashboard import session
from dashboard.components.payload import error_value, running_value
from dashboard.components.unit_payload import unit_payload
from dashboard.errors import sentence_for, toast
from dashboard.form import example_of_file
from dashboard.interleaved_json import interleaved_to_json
from dashboard.security import client_of
from dashboard.served_files import address_of, write_json, write_wav
from dashboard.tabs.clip_handlers import SKIP, Update
from dashboard.tabs.clip_runs import LIMITER
from dashboard.tabs.clip_texts import small
from dashboard.unit_model import load_ears, load_parts, unit_model_name
from engine.audio import AudioClip, load_clip
from engine.errors import ClipError, PromptError
from engine.request import MAX_REFERENCE_CHARACTERS
from engine.words import SpokenWord

if TYPE_CHECKING:
    from engine.results import InterleavedResult

SOURCE = "measured live"
NO_CLIP = "There is no clip yet: record one, upload a file or choose an example."


@dataclass(frozen=True)
class Asked:
    """What the tab's rail holds.

    Attributes:
        audio: path of the clip.
        reference: what was said, "" where it is not known.
        after: "half" or "whole": how much of the clip the model hears before it goes on.
        said: of the clip that the voice said last, as `said_of` writes it.
    """

    audio: str | None
    reference: str
    after: str
    said: str = ""


class RunUpdate(NamedTuple):
    """What one step of a run changes on the tab."""

    view: Update = SKIP
    has_result: Update = SKIP
    status: Update = SKIP
    stop: Update = SKIP
    download: Update = SKIP
    stale: Update = SKIP


def run(asked: Asked, k: int, client: gr.Request | None) -> Iterator[RunUpdate]:
    """Yield what the tab shows while the run goes on, and the result last.

    Raises:
        gr.Error: with one sentence, after the tab was put in order.
    """
    try:
        LIMITER.take(client_of(client))
        yield RunUpdate(view=running_value("Reading the clip", 0.0), stop=gr.update(visible=True))
        for news in session.job_steps(partial(read, asked)):
            if isinstance(news, session.Step):
                doing = f"{news.message[:1].upper()}{news.message[1:]} …"
                yield RunUpdate(view=running_value(doing, news.fraction), status=small(doing))
            else:
                yield _finished(news, k)
    except Exception as error:  # the tab is put in order before the sentence is shown
        sentence = sentence_for(error)
        yield RunUpdate(view=error_value(sentence), status="", stop=gr.update(visible=False))
        raise toast(sentence) from None


def read(asked: Asked, progress: session.Progress) -> InterleavedResult:
    """Return what the model makes of the clip; called in the model queue.

    Raises:
        EngineError: there is no clip, it cannot be used, or the model is not here.
    """
    from engine.systems.loading import using

    if not asked.audio:
        raise ClipError(NO_CLIP)
    if len(asked.reference) > MAX_REFERENCE_CHARACTERS:
        raise PromptError(
            f"The true transcript is longer than {MAX_REFERENCE_CHARACTERS} characters; shorten it."
        )
    with using():
        return _read(asked, load_clip(asked.audio, whole=True), progress)


def _read(asked: Asked, clip: AudioClip, progress: session.Progress) -> InterleavedResult:
    from engine.answers import control_transcripts
    from engine.interleaved import read_interleaved
    from engine.words import words_on_clock

    parts = load_parts()
    progress(0.1, "putting the words on the clock")
    ears = load_ears()
    reference = asked.reference.strip()
    words, words_from = words_on_clock(
        _exact_words(asked, clip.fingerprint, reference),
        reference,
        lambda: ears[0].transcribe(clip)[1] if ears else (),
        clip.duration_s,
        ears[1] if ears else "nobody: no transcriber is here",
    )
    return read_interleaved(
        parts, clip, words, words_from, control_transcripts(), continue_after=asked.after, progress=progress
    )


def _exact_words(asked: Asked, fingerprint: str, reference: str) -> Sequence[SpokenWord]:
    """Return words whose times are known: an example's, or the voice's, as long as the text is theirs."""
    example = example_of_file(asked.audio)
    if example is not None and example.reference == reference:
        return example.words
    said = json.loads(asked.said) if asked.said else {}
    if said.get("clip") != fingerprint:
        return ()
    own = tuple(SpokenWord(*word) for word in said["words"])
    return own if _letters(" ".join(word.text for word in own)) == _letters(reference) else ()


def said_of(clip: AudioClip, words: Sequence[SpokenWord]) -> str:
    """Return the words that a voice said in a clip, with their times, as text: the page's state holds no more."""
    return json.dumps({"clip": clip.fingerprint, "words": [astuple(word) for word in words]})


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _finished(result: InterleavedResult, k: int) -> RunUpdate:
    sound = result.continuation.sound
    view = unit_payload(
        result,
        address_of(write_wav(result.waveform)),
        "" if sound is None else address_of(write_wav(sound, "continuation.wav")),
        k=k,
        model=unit_model_name(),
        source=SOURCE,
    )
    return RunUpdate(
        view=view,
        has_result=True,
        stale="",
        status=small(f"Finished in {result.seconds:.1f} s."),
        stop=gr.update(visible=False),
        download=gr.update(
            value=str(write_json(interleaved_to_json(result), "cascade-lens-interleaved.json")), visible=True
        ),
    )


def stopped() -> RunUpdate:
    """Return the tab after its run was stopped: what stood there before stays, without a result that is due."""
    return RunUpdate(
        view=error_value("It was stopped."), status=small("Stopped."), stop=gr.update(visible=False)
    )
