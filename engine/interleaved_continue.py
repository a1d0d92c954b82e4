"""How an interleaved model goes on after a clip: in text, and in speech that can be heard.

`engine.interleaved_run` calls this. Decoding is greedy, so the same clip goes on alike each time; a sound is made of
units only, and what the transcriber hears in it stands beside it, because units may say nothing that is understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from engine.audio import AudioClip
from engine.decode import run_arms
from engine.errors import EngineError
from engine.interleaved_result import CUT, ENDED, OTHER_KIND, Continuation
from engine.phases import TokenKinds
from engine.result import SpokenWord
from engine.systems.base import Heard, Prepared, Transcribes, WhiteBoxModel
from engine.systems.unit_lm import Units

MAX_TEXT_TOKENS, MAX_UNITS = 24, 80


@runtime_checkable
class UnitModel(WhiteBoxModel, Protocol):
    """What is asked of an interleaved model beside what every white-box model has.

    Attributes:
        text_ids, unit_ids: vocabulary ids of text and of units; unit u has `unit_ids[u]`.
    """

    text_ids: range
    unit_ids: range

    def encode(self, clip: AudioClip) -> Units:
        """Return a clip's units, repeats merged."""
        ...

    def hear_units(self, units: Units) -> Heard:
        """Return units as what was heard."""
        ...

    def prepare_speech(self, heard: Heard) -> Prepared:
        """Return the prompt after which the model goes on in speech."""
        ...


@runtime_checkable
class SaysUnits(Protocol):
    """Makes units audible."""

    def say(self, ids: Sequence[int]) -> AudioClip:
        """Return units, repeats merged, as sound; raises VoiceError where that cannot be."""
        ...


@dataclass(frozen=True)
class Parts:
    """An interleaved model with what makes its units audible.

    Attributes:
        voice: None where none is here; `no_voice` says why.
        ears: judges what is heard in a sound of units; None leaves that out.
    """

    system: UnitModel
    voice: SaysUnits | None = None
    no_voice: str = ""
    ears: Transcribes | None = None

    @property
    def kinds(self) -> TokenKinds:
        """Which ids are text and which are units."""
        return TokenKinds(self.system.text_ids, self.system.unit_ids)

    def states(self, units: Units) -> dict[int, Tensor]:
        """Return the states at these units, layer by layer, [positions, d_model], as the model listens."""
        prepared = self.system.prepare_speech(self.system.hear_units(units))
        layers = range(len(self.system.decoder_layers) + 1)
        passed = run_arms(self.system, prepared, record_layers=layers, max_new_tokens=1)
        start, stop = prepared.span
        return {layer: states[0, start:stop] for layer, states in passed.states.items()}


def continue_clip(
    parts: Parts,
    units: Units,
    words: Sequence[SpokenWord],
    spans: Sequence[tuple[int, int]],
    continue_after: str,
) -> Continuation:
    """Return both continuations after the whole clip, or after half of its words (of its units, without words)."""
    system = parts.system
    n_heard, n_words = len(units.ids), len(words)
    if continue_after == "half":
        n_words = len(words) // 2
        n_heard = max(1, spans[n_words - 1][1] if n_words else len(units.ids) // 2)
    begun = system.hear_units(Units(units.ids[:n_heard], units.durations[:n_heard]))
    text_ids, text_end = _go_on(system, system.prepare(begun, ""), system.text_ids, MAX_TEXT_TOKENS)
    speech, speech_end = _go_on(system, system.prepare_speech(begun), system.unit_ids, MAX_UNITS)
    said = tuple(i - system.unit_ids.start for i in speech)
    sound, no_sound, heard = _sound_of(parts, said)
    return Continuation(
        after_s=float(units.ends_s[n_heard - 1]),
        said_next=" ".join(word.text for word in words[n_words:]),
        text=str(system.tokenizer.decode(list(text_ids), skip_special_tokens=True)).strip(),
        text_end=text_end,
        units=said,
        speech_end=speech_end,
        sound=sound,
        no_sound=no_sound,
        heard=heard,
    )


def _go_on(system: UnitModel, prepared: Prepared, kind: range, most: int) -> tuple[tuple[int, ...], str]:
    """Return the greedy ids of this kind, up to the first of another, and how they end."""
    ids = run_arms(system, prepared, max_new_tokens=most).decoded[0].token_ids
    other = next((place for place, i in enumerate(ids) if i not in kind), None)
    if other is not None:
        return ids[:other], OTHER_KIND
    return ids, CUT if len(ids) == most else ENDED


def _sound_of(parts: Parts, units: tuple[int, ...]) -> tuple[np.ndarray | None, str, str | None]:
    """Return a sound of these units or why there is none, and what is heard in it."""
    if not units:
        return None, "The model said no unit, so there is nothing to hear.", None
    if parts.voice is None:
        return None, parts.no_voice, None
    try:
        clip = parts.voice.say(units)
    except EngineError as error:
        return None, str(error), None
    return clip.samples, "", parts.ears.transcribe(clip)[0] if parts.ears else None
