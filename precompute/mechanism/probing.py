"""What linear probes read at one layer: trained and untrained, with shuffled labels, and from the input."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.probes import (
    Fold,
    accuracy_score,
    classify,
    decodability,
    decodability_by_clip,
    fit_ctc_probe,
    grouped_folds,
    places_for,
    r2_by_clip,
    r2_score,
    ridge_predictions,
)
from engine.stats.intervals import Estimate
from precompute.ledger import LedgerRow
from precompute.mechanism.states import Heard, hear_all
from precompute.mechanism.units import INPUT, LayerJob, MechanismUnit, ProbeClip
from precompute.units import Outcome

SHUFFLE_SEED = 73
DIGITS = 3  # of a single clip's score
BOOTSTRAP_SEED = 20260217
FRAMES = ("energy", "pitch", "letters")
LABELS = ("speaker", "emotion")
TARGETS = (*FRAMES, "text", *LABELS)
FEW_VOICES = "Each fold is scored on two voices it has not heard; the interval is over sentences."
TOO_FEW = "Too few clips for a split by sentence and by voice."


@dataclass(frozen=True)
class Reading:
    """One probe's score.

    Attributes:
        shuffled: the same with labels dealt anew; NaN where it was not asked for.
        n_clips: scored.
        n_frames: scored rows; 0 where a clip is read whole.
        n_groups: sentences, which the interval resamples.
        by_clip: each clip's own score, NaN where it is not scored; their weighted mean is `score`.
    """

    score: float
    low: float
    high: float
    shuffled: float
    n_clips: int
    n_frames: int
    n_groups: int
    by_clip: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class Bench:
    """The clips and how they are split.

    Attributes:
        groups: number of each clip's sentence.
        places: of the CTC probe, for each position.
    """

    clips: tuple[ProbeClip, ...]
    heard: tuple[Heard, ...]
    folds: tuple[Fold, ...]
    groups: np.ndarray
    places: int

    def at(self, layer: int) -> list[np.ndarray]:
        """Return the states of every clip at a layer."""
        return [heard.by_layer[layer] for heard in self.heard]


def make_bench(who: str, models: Path, clips: tuple[ProbeClip, ...], *, untrained: bool = False) -> Bench:
    """Return the clips as a system hears them, split by sentence and voice."""
    heard = hear_all(who, models, clips, untrained)
    numbers = np.array([clip.fold for clip in clips])
    texts = {text: number for number, text in enumerate(dict.fromkeys(clip.recipe.text for clip in clips))}
    return Bench(
        clips,
        heard,
        tuple(grouped_folds(numbers, numbers)),
        np.array([texts[clip.recipe.text] for clip in clips]),
        places_for(sum(one.seconds for one in heard) / sum(len(one.by_layer[0]) for one in heard)),
    )


def probe(unit: MechanismUnit) -> Outcome:
    """Return a row for each layer: target -> what is read from the trained and from the untrained system.

    `INPUT` in a layer's place reads the log-mel features: they are the same for both.
    """
    rows = []
    for job in unit.jobs:
        assert isinstance(job, LayerJob)
        began = time.perf_counter()
        bench = make_bench(unit.who, unit.models, unit.clips)
        found = {"trained": read_targets(bench, bench.at(job.layer), shuffle=job.layer != INPUT)}
        if job.layer != INPUT:
            untrained = make_bench(unit.who, unit.models, unit.clips, untrained=True)
            found["untrained"] = read_targets(untrained, untrained.at(job.layer), shuffle=False)
        text = json.dumps(_jsonable(found))
        rows.append(LedgerRow(job.key, "probe", unit.who, text=text, seconds=time.perf_counter() - began))
    return Outcome(tuple(rows))


def _jsonable(found: dict[str, dict[str, Reading]]) -> dict[str, Any]:
    """Return the readings without NaN; the untrained twin's are kept as a whole, not clip by clip."""
    out: dict[str, Any] = {}
    for model, readings in found.items():
        for target, reading in readings.items():
            numbers = {name: _number(value) for name, value in asdict(reading).items()}
            numbers["by_clip"] = [_number(round(score, DIGITS)) for score in reading.by_clip]
            if model != "trained":
                del numbers["by_clip"]
            out.setdefault(model, {})[target] = numbers
    return out


def _number(value: Any) -> Any:
    return None if value != value else value


def read_targets(
    bench: Bench, states: Sequence[np.ndarray], *, shuffle: bool, targets: Sequence[str] = TARGETS
) -> dict[str, Reading]:
    """Return target -> what a probe fitted on these states reads.

    Args:
        bench: clips and their split.
        states: of every clip, perhaps erased.
        shuffle: whether the control with shuffled labels is fitted, too.
        targets: which ones.
    """
    return {target: _read_target(bench, states, target, shuffle) for target in targets}


def _read_target(bench: Bench, states: Sequence[np.ndarray], target: str, shuffle: bool) -> Reading:
    fit = _frames if target in FRAMES else _text if target == "text" else _labels
    if target in LABELS and _has_one_class(bench, target):
        return Reading(math.nan, math.nan, math.nan, math.nan, 0, 0, 0, (), TOO_FEW)
    score, by_clip, n_frames = fit(bench, states, target, None)
    shuffled = fit(bench, states, target, SHUFFLE_SEED)[0].value if shuffle else math.nan
    note = " ".join(filter(None, [score.note, FEW_VOICES if target == "speaker" else ""]))
    n_clips = int((~np.isnan(by_clip)).sum())
    return Reading(
        score.value,
        score.low,
        score.high,
        shuffled,
        n_clips,
        n_frames,
        score.n,
        tuple(by_clip.tolist()),
        note,
    )


Fitted = tuple[Estimate, np.ndarray, int]  # score, each clip's own, scored rows


def _frames(bench: Bench, states: Sequence[np.ndarray], target: str, seed: int | None) -> Fitted:
    wanted = [heard.targets[target] for heard in bench.heard]
    read = ridge_predictions(states, wanted, bench.folds, shuffle_seed=seed)
    n_rows = sum(
        int((~np.isnan(z) & ~np.isnan(r)).all(axis=1).sum()) for z, r in zip(wanted, read, strict=True)
    )
    score = r2_score(wanted, read, bench.groups, seed=BOOTSTRAP_SEED)
    return score, r2_by_clip(wanted, read), n_rows


def _labels_of(bench: Bench, target: str) -> list[str]:
    return [clip.sex if target == "speaker" else clip.emotion for clip in bench.clips]


def _has_one_class(bench: Bench, target: str) -> bool:
    """Say whether some fold would be fitted on one class only, or on none."""
    labels = np.array(_labels_of(bench, target))
    return any(len(set(labels[fold.train]) - {""}) < 2 or not any(labels[fold.test]) for fold in bench.folds)


def _labels(bench: Bench, states: Sequence[np.ndarray], target: str, seed: int | None) -> Fitted:
    labels = _labels_of(bench, target)
    known = np.array([bool(label) for label in labels])
    pooled = np.stack([clip_states.mean(axis=0) for clip_states in states])[known]
    named = [label for label in labels if label]
    folds = [replace(fold, train=fold.train[known], test=fold.test[known]) for fold in bench.folds]
    read = classify(pooled, named, folds, shuffle_seed=seed)
    score = accuracy_score(named, read, bench.groups[known], seed=BOOTSTRAP_SEED)
    by_clip = np.full(len(labels), math.nan)
    by_clip[known] = [math.nan if b is None else float(a == b) for a, b in zip(named, read, strict=True)]
    return score, by_clip, 0


def _text(bench: Bench, states: Sequence[np.ndarray], target: str, seed: int | None) -> Fitted:
    said = [heard.text for heard in bench.heard]
    read: list[str | None] = [None] * len(said)
    for number, fold in enumerate(bench.folds):
        chosen = np.flatnonzero(fold.train).tolist()
        given = chosen
        if seed is not None:
            given = np.random.default_rng((seed, number)).permutation(chosen).tolist()
        fitted = fit_ctc_probe([states[n] for n in chosen], [said[n] for n in given], bench.places)
        for clip in np.flatnonzero(fold.test).tolist():
            read[clip] = fitted.read(states[clip])
    n_scored = [n for n, text in enumerate(read) if text is not None]
    score = decodability(said, read, bench.groups, seed=BOOTSTRAP_SEED)
    return score, decodability_by_clip(said, read), sum(len(states[n]) for n in n_scored)
