"""Fitting the erasers of a speech LLM on its own states: LEACE in float64, and the proof on other clips.

Clips of the fit are training sentences in training voices. Erasers are fitted layer by layer on plain states, and
for the nine layers of the preset once more on the states that those below have edited; what fresh probes still read
is measured on held-out sentences, inside runs that are erased in the same ways. Labels follow the word times of the
synthesiser (see `engine.probes`).
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.erasure import Eraser, Factors, Leace, Moments, bare_eraser, leace_of, save_eraser
from engine.generate import read_states, run_blocks
from engine.hooks import Projection, RowEdits, Scope
from engine.probes import (
    LETTERS,
    OTHER_WORD,
    Reading,
    energy_db,
    first_word,
    layer_proof,
    letter_bags,
    read_concept,
)
from engine.request import Method, preset_layers
from engine.results import SINGLE, LayerProof, Proof, setting_name
from engine.systems.base import Heard, Prepared, SpeechLLM, WhiteBoxModel
from engine.voice import Recipe, say_recipe
from precompute.mini.ctc_head import CtcHead, position_characters
from precompute.mini.sentence import Sentence
from precompute.mini.transcriber import CHARACTERS
from precompute.mini.voices import Voice, draw_prosody
from precompute.pitch import pitch_octaves, track_pitch_hz

logger = logging.getLogger(__name__)

ERASER_SEED = 11
CONTROL_SEED = 0  # of the random directions that stand beside the proof
N_FIRST_WORDS = 31
FRAMES_PER_POSITION = 8  # in which pitch is tracked
UNEVEN_FRAME_S = 0.02  # the same, where positions are of many widths
SHARD_CLIPS = 50  # whose states are held at a time
CHAINED: tuple[Method, ...] = ("linear", "affine")
PROVEN_SCOPES: tuple[Scope, ...] = ("audio", "all")
TARGETS = {
    "ctc": ("(blank)", *CHARACTERS),
    "boc": LETTERS,
    "acoustic": ("pitch", "energy"),
}
CLASSES = ("text", "ctc")
MEASURES = {
    "text": "accuracy of the clip's first word",
    "ctc": "accuracy of the character",
    "boc": "R2 of the letters",
    "acoustic": "R2 of pitch and energy",
}


@dataclass(frozen=True)
class LabelledClip:
    """A clip in the prompt of a speech LLM, with every condition's labels at its audio positions.

    Attributes:
        labels: condition -> [positions, targets] float64; one-hot rows for classes; rows with a NaN are left out.
        group: number of its group of sentences: related ones never stand on both sides of a fold.
    """

    prepared: Prepared
    labels: Mapping[str, Tensor]
    group: int


def draw_recipes(
    sentences: Sequence[Sentence], voices: Sequence[Voice], seed: int, *, feel: bool = True
) -> list[Recipe]:
    """Return how each sentence is said once: voice and prosody drawn; the same seed gives the same recipes."""
    rng = random.Random(seed)
    recipes = []
    for sentence in sentences:
        voice = rng.choice(list(voices))
        feeling = sentence.label if feel and sentence.task in ("emotion", "sarcasm") else ""
        said = draw_prosody(rng, feeling)
        recipes.append(
            Recipe(sentence.text, voice.name, said.rate_wpm, said.pitch, said.pitch_range, said.volume)
        )
    return recipes


def label_clips(
    system: SpeechLLM,
    ctc_head: CtcHead,
    sentences: Sequence[Sentence],
    recipes: Sequence[Recipe],
    first_words: tuple[str, ...],
) -> tuple[list[LabelledClip], dict[str, object]]:
    """Return the clips as a speech LLM hears them, labelled, and what lets anyone make these rows again.

    A clip is said from its recipe in a process of its own (`engine.voice`): what the synthesiser gives
    otherwise depends on what it said before, and no fit could be repeated.
    """
    groups = {key: n for n, key in enumerate(dict.fromkeys((s.task, s.group or s.text) for s in sentences))}
    sound, marks, clips = hashlib.sha256(), hashlib.sha256(), []
    for index, (sentence, recipe) in enumerate(zip(sentences, recipes, strict=True)):
        spoken = say_recipe(recipe)
        received = system.hear(spoken.clip)
        prepared = system.prepare(received, "Repeat what was said.")
        start, stop = prepared.span
        heard = ctc_head(system.frames(spoken.clip.samples).float().cpu())
        rows = {
            "text": np.eye(len(first_words))[[first_word(spoken.words, first_words)] * (stop - start)],
            "ctc": position_characters(heard, received.ends_s),
            "boc": letter_bags(spoken.words, received.ends_s),
            "acoustic": _pitch_and_energy(spoken.clip.samples, received),
        }
        sound.update((spoken.clip.samples * 32767).round().astype("<i2").tobytes())
        marks.update(rows["text"].argmax(1).astype("<i2").tobytes())
        labels = {key: torch.tensor(one) for key, one in rows.items()}
        clips.append(LabelledClip(prepared, labels, groups[sentence.task, sentence.group or sentence.text]))
        if (index + 1) % 100 == 0:
            logger.info("%d of %d clips heard", index + 1, len(sentences))
    lines = "\n".join(recipe.to_json() for recipe in recipes)
    return clips, {
        "n_clips": len(clips),
        "recipes_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "sound_sha256": sound.hexdigest(),
        "text_labels_sha256": marks.hexdigest(),
    }


def choose_first_words(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """Return the commonest first words and the class of all others, which comes last."""
    counts = Counter(sentence.text.split()[0] for sentence in sentences)
    return (*(word for word, _ in counts.most_common(N_FIRST_WORDS)), OTHER_WORD)


def _pitch_and_energy(samples: np.ndarray, received: Heard) -> np.ndarray:
    """Pitch (octaves re 100 Hz, pyin) and level (dB) of each position; nan rows where nothing is voiced."""
    uneven = received.position_ends_s is not None
    frame_s = UNEVEN_FRAME_S if uneven else received.seconds_per_position / FRAMES_PER_POSITION
    pitch = pitch_octaves(track_pitch_hz(samples, frame_s), received.ends_s, frame_s)
    level = energy_db(samples, received.ends_s)
    return np.stack([pitch, np.where(np.isnan(pitch), np.nan, level)], axis=1)


def fit_erasers(
    system: WhiteBoxModel,
    fit: Sequence[LabelledClip],
    targets: Mapping[str, tuple[str, ...]],
    note: str,
    *,
    every_layer: bool = True,
) -> dict[str, Eraser]:
    """Return condition -> erasers of every layer, fitted on plain states and layer upon layer.

    Args:
        system: whose states are erased.
        fit: clips to fit on.
        targets: condition -> names of its labels' columns.
        note: what they are fitted on, in words.
        every_layer: False fits the nine of the preset alone: a third of the size for a deep model.
    """
    nine = preset_layers(len(system.decoder_layers))
    layers = range(len(system.decoder_layers) + 1) if every_layer else nine
    moments = _plain_moments(system, fit, tuple(targets), layers)
    found = {key: {layer: leace_of(moments[key, layer]) for layer in layers} for key in targets}
    chains = _chained(system, fit, {key: one[nine[0]] for key, one in found.items()}, nine)
    return {
        key: replace(
            bare_eraser(key, found[key], names, note),
            chained={method: chains[key, method] for method in CHAINED},
        )
        for key, names in targets.items()
    }


def _plain_moments(
    system: WhiteBoxModel, fit: Sequence[LabelledClip], conditions: Sequence[str], layers: Sequence[int]
) -> dict[tuple[str, int], Moments]:
    """Return condition and layer -> sums over the plain states of all clips."""
    sums: dict[tuple[str, int], Moments] = {}
    for start in range(0, len(fit), SHARD_CLIPS):
        part = fit[start : start + SHARD_CLIPS]
        states = [at_clip(clip, read_states(system, clip.prepared)[0]) for clip in part]
        for layer in layers:
            x = torch.cat([one[layer] for one in states])
            for key in conditions:
                _add(sums, (key, layer), x, torch.cat([clip.labels[key] for clip in part]))
    return sums


def _chained(
    system: WhiteBoxModel, fit: Sequence[LabelledClip], first: Mapping[str, Leace], layers: Sequence[int]
) -> dict[tuple[str, Method], Factors]:
    """Return condition and method -> erasers of these layers, each fitted on what those below leave of the states.

    The lowest layer's states are plain, so its eraser is given. Edits below are of the whole prompt, as in the
    paper's setting. Every clip's states are carried upwards, so that each block runs once for each arm.
    """
    arms = [(key, method) for key in first for method in CHAINED]
    fitted: dict[tuple[str, Method], dict[int, Leace]] = {arm: {layers[0]: first[arm[0]]} for arm in arms}
    carried = [
        read_states(system, clip.prepared, layers=layers[:1])[0][layers[0]]
        .to(clip.prepared.embeddings.dtype)
        .expand(len(arms), -1, -1)
        for clip in fit
    ]
    for below, layer in pairwise(layers):
        edits = [_projection(fitted[arm][below], arm[1]) for arm in arms]
        sums: dict[tuple[str, Method], Moments] = {}
        for index, clip in enumerate(fit):
            edited = torch.stack([edit(one) for edit, one in zip(edits, carried[index], strict=True)])
            carried[index] = run_blocks(system, edited, below, layer)
            for arm, states in zip(arms, carried[index], strict=True):
                _add(sums, arm, states[slice(*clip.prepared.span)].float().cpu(), clip.labels[arm[0]])
        for arm in arms:
            fitted[arm][layer] = leace_of(sums[arm])
        logger.info("layer %d fitted on the states edited below it", layer)
    return {
        arm: Factors(
            {layer: one.left.float() for layer, one in found.items()},
            {layer: one.right.float() for layer, one in found.items()},
            {layer: one.mean.float() for layer, one in found.items()},
        )
        for arm, found in fitted.items()
    }


def _projection(fitted: Leace, method: Method) -> Projection:
    return Projection(
        fitted.left.float(), fitted.right.float(), fitted.mean.float() if method == "affine" else None
    )


def _add(sums: dict[Any, Moments], place: Hashable, x: Tensor, z: Tensor) -> None:
    """Add the rows whose labels are known; kept one by one, the sums of 900 clips are 19 GB at a width of 576."""
    known = ~z.isnan().any(1)
    if known.any():
        more = Moments.of(x[known], z[known])
        sums[place] = sums[place] + more if place in sums else more


def at_clip(clip: LabelledClip, states: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Return the states at the clip's own positions, by layer."""
    return {layer: one[slice(*clip.prepared.span)].cpu() for layer, one in states.items()}


def prove(
    system: WhiteBoxModel,
    eraser: Eraser,
    clips: Sequence[LabelledClip],
    plain: Sequence[Mapping[int, Tensor]],
    note: str,
) -> Proof:
    """Return what fresh probes read of an eraser's concept after it, layer by layer, in every way of erasing.

    Args:
        system: whose states are erased.
        eraser: fitted on other clips.
        clips: none of whose sentences the eraser was fitted on.
        plain: the plain states at each clip's positions, by layer.
        note: which clips these are, in words.
    """
    key, groups = eraser.condition, np.array([clip.group for clip in clips])

    def read(states: Sequence[Tensor]) -> Reading:
        return read_concept(states, [clip.labels[key] for clip in clips], groups, classes=key in CLASSES)

    before = {layer: read([one[layer] for one in plain]) for layer in eraser.layers}
    settings: dict[str, dict[int, LayerProof]] = {SINGLE: {}}
    for layer in eraser.layers:
        after = (
            read([edit(one[layer]) for one in plain])
            for edit in (
                eraser.projections([layer], "affine")[layer],
                eraser.random_control([layer], "affine", CONTROL_SEED)[layer],
            )
        )
        settings[SINGLE][layer] = layer_proof(before[layer], *after)
    for scope in PROVEN_SCOPES if eraser.chained else ():
        for method, found in _states_in_run(system, eraser, clips, scope).items():
            settings[setting_name(method, scope)] = {
                layer: layer_proof(before[layer], *(read(states) for states in arms))
                for layer, arms in found.items()
            }
    logger.info("%s: proof measured on %d clips", key, len(clips))
    return Proof(MEASURES[key], note, len(clips), len(set(groups.tolist())), settings)


def _states_in_run(
    system: WhiteBoxModel, eraser: Eraser, clips: Sequence[LabelledClip], scope: Scope
) -> dict[str, dict[int, tuple[list[Tensor], list[Tensor]]]]:
    """Return method -> layer -> every clip's states in a run with all layers of the preset erased, and its control."""
    out: dict[str, dict[int, tuple[list[Tensor], list[Tensor]]]] = {}
    rows: list[Mapping[int, Projection]] = []
    for method, factors in eraser.chained.items():
        out[method] = {layer: ([], []) for layer in factors.layers}
        name: Method = "affine" if method == "affine" else "linear"
        rows += [
            eraser.projections(factors.layers, name),
            eraser.random_control(factors.layers, name, CONTROL_SEED),
        ]
    for clip in clips:
        edits = RowEdits(rows, clip.prepared.span, clip.prepared.embeddings.shape[1], scope)
        found = [at_clip(clip, states) for states in read_states(system, clip.prepared, edits)]
        for index, by_layer in enumerate(out.values()):
            for layer, arms in by_layer.items():
                for arm, states in zip(arms, found[2 * index : 2 * index + 2], strict=True):
                    arm.append(states[layer].clone())
    return out


def fit_and_prove(
    system: WhiteBoxModel,
    fit: Sequence[LabelledClip],
    held: Sequence[LabelledClip],
    targets: Mapping[str, tuple[str, ...]],
    folder: Path,
    notes: tuple[str, str],
    clips: Mapping[str, object],
    *,
    every_layer: bool = True,
) -> dict[str, Eraser]:
    """Fit every condition, prove it, write one file each, and return the erasers.

    Args:
        system: whose states are erased.
        fit: clips that erasers are fitted on.
        held: clips of other sentences, for the proof.
        targets: condition -> names of its labels' columns.
        folder: where the files go.
        notes: what is fitted on, and proven on, in words.
        clips: what lets anyone fit again, for the record.
        every_layer: see `fit_erasers`.
    """
    erasers = fit_erasers(system, fit, targets, notes[0], every_layer=every_layer)
    layers = next(iter(erasers.values())).layers
    plain = [at_clip(clip, read_states(system, clip.prepared, layers=layers)[0]) for clip in held]
    for key, eraser in erasers.items():
        erasers[key] = replace(eraser, proof=prove(system, eraser, held, plain, notes[1]), clips=clips)
        save_eraser(erasers[key], system.fingerprint, folder)
        logger.info("%s: kept rank %s", key, sorted(set(eraser.kept_rank.values())))
    return erasers
