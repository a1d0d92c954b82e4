"""Fitting the erasers of a speech LLM on its own states: LEACE in float64, probes before and after.

Clips are of training sentences in training voices; the probes that prove the erasure are scored on held-out
sentences. Labels follow the word times of the synthesiser (see `engine.concepts`).
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.audio import clip_from_samples
from engine.concepts import LETTERS, OTHER_WORD, energy_db, first_word, letter_bags
from engine.conditions import FORMAT
from engine.decode import run_arms
from engine.leace import fit_leace
from engine.moments import Moments
from engine.systems.base import Heard, SpeechLLM
from precompute.mini.ctc_head import CtcHead, position_characters
from precompute.mini.sentence import Sentence
from precompute.mini.synth import render
from precompute.mini.transcriber import CHARACTERS
from precompute.mini.voices import Voice, draw_prosody
from precompute.pitch import pitch_octaves, track_pitch_hz

logger = logging.getLogger(__name__)

ERASER_SEED = 11
N_FIRST_WORDS = 31
FRAMES_PER_POSITION = 8  # in which pitch is tracked
UNEVEN_FRAME_S = 0.02  # the same, where positions are of many widths
RIDGE = 1e-3
TARGETS = {
    "ctc": ("(blank)", *CHARACTERS),
    "boc": LETTERS,
    "acoustic": ("pitch", "energy"),
}
MEASURES = {
    "text": "accuracy of the clip's first word",
    "ctc": "accuracy of the character",
    "boc": "R2 of the letters",
    "acoustic": "R2 of pitch and energy",
}


@dataclass(frozen=True)
class States:
    """States at audio positions of many clips, with every condition's labels.

    Attributes:
        by_layer: layer -> [positions, d_model] float32, clips after one another.
        labels: condition -> [positions, targets] float64; one-hot rows for classes; nan rows are left out.
        targets: condition -> names of the targets.
    """

    by_layer: dict[int, Tensor]
    labels: dict[str, Tensor]
    targets: dict[str, tuple[str, ...]]


def collect_states(
    system: SpeechLLM,
    ctc_head: CtcHead,
    sentences: Sequence[Sentence],
    voices: Sequence[Voice],
    first_words: tuple[str, ...],
    seed: int,
) -> States:
    """Say each sentence once, run the speech LLM over it and label every audio position."""
    rng = random.Random(seed)
    states: dict[int, list[Tensor]] = {}
    rows: dict[str, list[np.ndarray]] = {"text": [], "ctc": [], "boc": [], "acoustic": []}
    for index, sentence in enumerate(sentences):
        voice = rng.choice(list(voices))
        feeling = sentence.label if sentence.task in ("emotion", "sarcasm") else ""
        rendering = render(sentence.text, voice, draw_prosody(rng, feeling))
        clip = clip_from_samples(rendering.samples, rendering.rate_hz, "fit")
        received = system.hear(clip)
        prepared = system.prepare(received, "Repeat what was said.")
        n_layers = len(system.decoder_layers)
        passed = run_arms(system, prepared, record_layers=range(n_layers + 1), max_new_tokens=1)
        start, stop = prepared.span
        for layer, recorded in passed.states.items():
            states.setdefault(layer, []).append(recorded[0, start:stop].clone().cpu())
        word_class = first_word(rendering.words, first_words)
        rows["text"].append(np.eye(len(first_words))[[word_class] * (stop - start)])
        rows["boc"].append(letter_bags(rendering.words, received.ends_s))
        heard = ctc_head(system.frames(clip.samples).float().cpu())
        rows["ctc"].append(position_characters(heard, received.ends_s))
        rows["acoustic"].append(_pitch_and_energy(clip.samples, received))
        if (index + 1) % 100 == 0:
            logger.info("states of %d of %d clips", index + 1, len(sentences))
    return States(
        by_layer={layer: torch.cat(parts) for layer, parts in states.items()},
        labels={key: torch.tensor(np.concatenate(parts)) for key, parts in rows.items()},
        targets={"text": first_words, **TARGETS},
    )


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


@dataclass(frozen=True)
class Fitted:
    """One condition at one layer: the eraser's factors and the probe's scores around it."""

    left: Tensor
    right: Tensor
    mean: Tensor
    probe_weight: Tensor
    probe_bias: Tensor
    before: float
    after: float
    chance: float


def fit_condition(x: Tensor, z: Tensor, held_x: Tensor, held_z: Tensor, *, classes: bool) -> Fitted:
    """Fit LEACE and a linear probe in float64.

    Args:
        x: states [n, d_model] to fit on.
        z: their labels [n, targets]; no nan.
        held_x: states of held-out sentences, for the scores.
        held_z: their labels.
        classes: labels are one-hot: score is accuracy against the commonest class, else R2 against 0.
    """
    x, z, held_x, held_z = (t.double() for t in (x, z, held_x, held_z))
    eraser = fit_leace(x, z)
    weight, bias = fit_probe(x, z)
    after_weight, after_bias = fit_probe(eraser(x), z)
    return Fitted(
        eraser.left,
        eraser.right,
        eraser.mean,
        weight,
        bias,
        before=score_probe(held_x @ weight.T + bias, held_z, classes),
        after=score_probe(eraser(held_x) @ after_weight.T + after_bias, held_z, classes),
        chance=float(held_z[:, z.mean(0).argmax()].mean()) if classes else 0.0,
    )


def fit_probe(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [targets, d_model] and bias of a ridge probe of these rows, in their own dtype."""
    weight, bias = probe_of(Moments.of(x, z))
    return weight.to(x.dtype), bias.to(x.dtype)


def probe_of(moments: Moments) -> tuple[Tensor, Tensor]:
    """Return weight [targets, d_model] and bias of a ridge probe; the penalty is relative to the mean variance."""
    gram = moments.xx
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + penalty, moments.xz).T
    return weight, moments.mean_z - weight @ moments.mean_x


def score_probe(predicted: Tensor, z: Tensor, classes: bool) -> float:
    """Return accuracy for classes, else R2 over all targets (mean over targets, each against its own mean)."""
    if classes:
        return float((predicted.argmax(1) == z.argmax(1)).double().mean())
    residual = ((z - predicted) ** 2).sum(0)
    total = ((z - z.mean(0)) ** 2).sum(0)
    known = total > 1e-9
    return float((1 - residual[known] / total[known]).mean())


def fit_erasers(fit: States, held: States, fingerprint: str, folder: Path, note: str) -> dict[str, dict]:
    """Fit every condition at every layer, write one file each, and return their records."""
    folder.mkdir(parents=True, exist_ok=True)
    records = {}
    for condition, names in fit.targets.items():
        classes = condition in ("text", "ctc")
        rows, held_rows = (~s.labels[condition].isnan().any(1) for s in (fit, held))
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, dict[int, float]] = {
            key: {} for key in ("kept_rank", "probe_before", "probe_after", "probe_chance")
        }
        for layer in sorted(fit.by_layer):
            fitted = fit_condition(
                fit.by_layer[layer][rows],
                fit.labels[condition][rows],
                held.by_layer[layer][held_rows],
                held.labels[condition][held_rows],
                classes=classes,
            )
            for key in ("left", "right", "mean", "probe_weight", "probe_bias"):
                tensors[f"{key}.{layer}"] = getattr(fitted, key).float().contiguous()
            numbers["kept_rank"][layer] = fitted.right.shape[0]
            numbers["probe_before"][layer] = fitted.before
            numbers["probe_after"][layer] = fitted.after
            numbers["probe_chance"][layer] = fitted.chance
        record = {
            "condition": condition,
            "layers": sorted(fit.by_layer),
            "targets": names,
            "measure": MEASURES[condition],
            "fit": note,
            "scope": "audio positions",
            **numbers,
        }
        metadata = {"format": FORMAT, "fingerprint": fingerprint, "record": json.dumps(record)}
        part = folder / f"{condition}.part"
        save_file(tensors, part, metadata=metadata)
        part.replace(folder / f"{condition}.safetensors")
        records[condition] = record
        logger.info("%s: kept rank %s", condition, sorted(set(numbers["kept_rank"].values())))
    return records
