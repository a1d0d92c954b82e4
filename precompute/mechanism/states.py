"""States of the probe clips at every layer, beside what the probes are to read; kept in the process.

Every layer of a system is a unit of its own: the clips are heard once in each process, for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.audio import AudioClip
from engine.generate import all_layers, run_arms
from engine.probes import energy_db, letter_bags, redraw, spell
from engine.systems.catalogue import SYSTEMS
from engine.systems.loading import load_speech_llm
from engine.systems.whisper import WhisperEars
from engine.voice import say_recipe
from engine.words import even_ends
from precompute.mechanism.pitch import HOP_S
from precompute.mechanism.units import INPUT, ProbeClip
from precompute.pitch import pitch_octaves

MEL_FRAME_S = 0.01
UNTRAINED_SEED = 72
INSTRUCTION = "Repeat what was said."  # the clip stands before it, and does not see it


@dataclass(frozen=True)
class Heard:
    """One probe clip as one system has it.

    Attributes:
        by_layer: layer -> [positions, d_model]; `INPUT` holds the log-mel frames of each position.
        seconds: of sound that the positions cover.
        targets: energy and pitch [positions, 1], NaN where nothing is voiced; letters [positions, letters].
        text: the words, as the CTC probe spells.
    """

    by_layer: Mapping[int, np.ndarray]
    seconds: float
    targets: Mapping[str, np.ndarray]
    text: str


@dataclass(frozen=True)
class _Ears:
    """How states come out of a clip: layer -> [positions, d_model], and when each position ends in seconds."""

    states: Callable[[AudioClip], tuple[dict[int, np.ndarray], np.ndarray]]


@lru_cache(maxsize=2)
def hear_all(who: str, models: Path, clips: tuple[ProbeClip, ...], untrained: bool) -> tuple[Heard, ...]:
    """Return every clip as a system hears it, or as the same system with its weights drawn anew does.

    Args:
        who: key of a speech LLM, or folder of a transcriber.
        models: folder of the models.
        clips: with their pitch.
        untrained: draw the weights anew.
    """
    ears = (
        _transcriber(models / who, untrained) if who not in SYSTEMS else _speech_llm(who, models, untrained)
    )
    return tuple(_heard(ears, clip) for clip in clips)


def _heard(ears: _Ears, clip: ProbeClip) -> Heard:
    spoken = say_recipe(clip.recipe)
    by_layer, ends_s = ears.states(spoken.clip)
    pitch = pitch_octaves(np.array(clip.pitch_hz), ends_s, HOP_S)
    energy = energy_db(spoken.clip.samples, ends_s)
    return Heard(
        by_layer,
        float(ends_s[-1]),
        {
            "energy": np.where(np.isnan(pitch), np.nan, energy)[:, None],
            "pitch": pitch[:, None],
            "letters": letter_bags(spoken.words, ends_s),
        },
        spell(" ".join(word.text for word in spoken.words)),
    )


def _speech_llm(who: str, models: Path, untrained: bool) -> _Ears:
    system = load_speech_llm(who, models)
    if untrained:
        system = deepcopy(system)
        redraw(system.ears, seed=UNTRAINED_SEED)
        redraw(system.language_model, seed=UNTRAINED_SEED + 1)

    def states(clip: AudioClip) -> tuple[dict[int, np.ndarray], np.ndarray]:
        received = system.hear(clip)
        prepared = system.prepare(received, INSTRUCTION)
        passed = run_arms(system, prepared, record_layers=all_layers(system), max_new_tokens=1)
        start, stop = prepared.span
        found = {layer: recorded[0, start:stop].cpu().numpy() for layer, recorded in passed.states.items()}
        mel, n_frames = system.features(clip.samples)
        heard = mel[:, :n_frames].float().cpu().numpy()
        is_even = received.position_ends_s is None
        found[INPUT] = (
            _stacked(heard, stop - start, received.seconds_per_position)
            if is_even
            else _averaged(heard, received.ends_s)
        )
        return found, received.ends_s

    return _Ears(states)


def _transcriber(folder: Path, untrained: bool) -> _Ears:
    ears = WhisperEars(folder)
    if untrained:
        redraw(ears.encoder, seed=UNTRAINED_SEED)

    def states(clip: AudioClip) -> tuple[dict[int, np.ndarray], np.ndarray]:
        found = {layer: heard.numpy() for layer, heard in ears.layer_states(clip.samples).items()}
        mel, n_frames = ears.features(clip.samples)
        found[INPUT] = _stacked(mel[:, :n_frames].numpy(), len(found[0]), ears.seconds_per_position)
        return found, even_ends(len(found[0]), ears.seconds_per_position)

    return _Ears(states)


def _stacked(mel: np.ndarray, n_positions: int, width_s: float) -> np.ndarray:
    """Return the log-mel frames of each position side by side [positions, frames x mels]."""
    n_frames = round(width_s / MEL_FRAME_S)
    wanted = n_positions * n_frames
    filled = np.pad(mel, ((0, 0), (0, max(0, wanted - mel.shape[1]))), mode="edge")[:, :wanted]
    return filled.T.reshape(n_positions, -1)


def _averaged(mel: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """Return the mean log-mel frame of each position [positions, mels]: they are not of one width."""
    edges = np.round(np.array([0.0, *ends_s]) / MEL_FRAME_S).astype(int)
    starts = np.minimum(edges[:-1], mel.shape[1] - 1)
    stops = np.maximum(np.minimum(edges[1:], mel.shape[1]), starts + 1)
    return np.stack([mel[:, start:stop].mean(1) for start, stop in zip(starts, stops, strict=True)])
