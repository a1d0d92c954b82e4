"""The measurements of mechanism: of one clip (pitch, lens, erasure), and of one layer over all probe clips.

Every function `do_KIND` returns a batch's rows. Probes are linear; each stands beside the same with shuffled labels, on
the untrained system, and on the input. Every erasure stands beside random controls of equal rank, and of equal change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.answers import control_transcripts
from engine.audio import AudioClip
from engine.erasure import load_eraser, match_changes
from engine.generate import all_layers, run_arms
from engine.hooks import ByGroup, Edit, Group, Projection
from engine.interventions import answer_pass, in_passes, reach_layers
from engine.lens import count_hits, lens_text, rank_words, read_lens
from engine.probes import (
    Fold,
    accuracy_score,
    classify,
    decodability,
    decodability_by_clip,
    energy_db,
    fit_ctc_probe,
    grouped_folds,
    letter_bags,
    places_for,
    r2_by_clip,
    r2_score,
    redraw,
    ridge_predictions,
    spell,
)
from engine.request import preset_layers
from engine.results import Answer, RunProof
from engine.stats.intervals import Estimate
from engine.systems.base import WhiteBoxSystem
from engine.systems.catalogue import SYSTEMS
from engine.systems.loading import load_speech_llm
from engine.systems.whisper import WhisperEars
from engine.tasks import is_right
from engine.voice import say_recipe, spoil
from engine.words import even_ends
from precompute.jobs import Batch, Job, Outcome, measured
from precompute.measure_answers import batching_of
from precompute.mechanism.grid import CHANGE_SEEDS, GRID, SEEDS, Setting
from precompute.mechanism.plan import HOP_S, INPUT, MeasuredClip, ProbeClip, ProbePlace
from precompute.pitch import pitch_octaves, track_pitch_hz

DIGITS = 6
WORDS_FROM = "reference, exact times"
PLAIN, ERASED, RANK_MATCHED, CHANGE_MATCHED = "plain", "erased", "rank_matched", "change_matched"
MEL_FRAME_S = 0.01
UNTRAINED_SEED = 72
INSTRUCTION = "Repeat what was said."  # the clip stands before it, and does not see it
SHUFFLE_SEED = 73
CLIP_DIGITS = 3  # of a single clip's score
BOOTSTRAP_SEED = 20260217
FRAMES = ("energy", "pitch", "letters")
LABELS = ("speaker", "emotion")
TARGETS = (*FRAMES, "text", *LABELS)
FEW_VOICES = "Each fold is scored on two voices it has not heard; the interval is over sentences."
TOO_FEW = "Too few clips for a split by sentence and by voice."
TEXT_SEEDS = (0, 1)  # a CTC probe takes a hundred times as long to fit as a ridge
# What is fitted anew after each erasure; its own concept is among them, as proof that it is gone.
DAMAGED = {
    "text": (*FRAMES, "text"),
    "ctc": FRAMES,
    "boc": FRAMES,
    "acoustic": (*FRAMES, "text"),
}


# --- one clip: pitch ---


def do_pitch(batch: Batch) -> Outcome:
    """Return a row for each clip: fundamental frequency in Hz every 20 ms, 0 where nothing is voiced."""
    return measured(
        batch,
        lambda job: track_pitch_hz(say_recipe(job.payload.recipe).clip.samples, HOP_S).round(2).tolist(),
    )


# --- one clip: the lens at every layer ---


def do_lens(batch: Batch) -> Outcome:
    """Return a row for each clip; the lens sees the clip's own positions, whatever is asked about it."""
    system = load_speech_llm(batch.model, batch.shared)
    return measured(batch, lambda job: _read_layers(system, job.payload))


def _read_layers(system: Any, about: MeasuredClip) -> dict[str, Any]:
    """Return what `precompute.mechanism.clip_tables` writes, layer by layer.

    texts: the lens's line; precision, control, and both by the paper's reading: shares, null where undefined;
    current, following: positions that ask for a word, and hits among the top 1, 5 and 10; mismatched: the same,
    summed over the control transcripts.
    """
    spoken = say_recipe(about.recipe)
    noisy = spoil(spoken.clip, about.recipe)
    heard = system.hear(noisy.clip if noisy else spoken.clip)
    prepared = system.prepare(heard, about.question.instruction)
    passed = run_arms(system, prepared, record_layers=all_layers(system), max_new_tokens=1)
    start, stop = prepared.span
    states = {layer: recorded[0, start:stop] for layer, recorded in passed.states.items()}
    others = control_transcripts()
    lens = read_lens(
        system,
        states,
        seconds_per_position=heard.seconds_per_position,
        position_ends_s=heard.position_ends_s,
        words=spoken.words,
        words_from=WORDS_FROM,
        other_transcripts=others,
    )
    ranks = rank_words(
        system,
        states,
        spoken.words,
        seconds_per_position=heard.seconds_per_position,
        position_ends_s=heard.position_ends_s,
        other_transcripts=others,
    )
    layers = [str(layer) for layer in lens.layers]
    return {
        "texts": {layer: lens_text(lens, int(layer)) for layer in layers},
        "precision": dict(zip(layers, map(_share, lens.precision), strict=True)),
        "control": dict(zip(layers, map(_share, lens.control), strict=True)),
        "set_precision": dict(zip(layers, map(_share, lens.set_precision), strict=True)),
        "set_control": dict(zip(layers, map(_share, lens.set_control), strict=True)),
        "current": {layer: count_hits(ranks.current[n]) for n, layer in enumerate(layers)},
        "following": {layer: count_hits(ranks.following[n]) for n, layer in enumerate(layers)},
        "mismatched": {layer: count_hits(ranks.control[:, n].ravel()) for n, layer in enumerate(layers)},
    }


def _share(share: float) -> float | None:
    return round(share, DIGITS) if share == share else None


# --- one clip: its answers under every arm of a setting ---


@dataclass(frozen=True)
class Arm:
    """One row of a batch.

    Attributes:
        layers: where it is edited, in words.
        kind: erased, rank_matched or change_matched.
        seed: of a control, 0 for the eraser.
        kept_rank: directions taken out, the most over its layers.
        fitted_on: what the eraser was fitted on.
        proof: what fresh probes read of the condition in a run erased as this one; None where not measured.
        projections: of the eraser, or the random ones, whose step a control of equal change lengthens.
    """

    condition: str
    layers: str
    kind: str
    seed: int
    kept_rank: int
    fitted_on: str
    proof: RunProof | None
    projections: Mapping[int, Projection]


def do_erase(batch: Batch) -> Outcome:
    """Return a row for each clip and setting."""
    who, models = batch.model, batch.shared
    system, finding = load_speech_llm(who, models), batching_of(who, models)

    def answers(job: Job) -> list[dict[str, Any]]:
        about: MeasuredClip = job.payload
        return _answers(system, about, arms_of(who, models, about.setting), batched=finding.exact)

    return Outcome(measured(batch, answers).rows, {who: finding.sentence})


@cache
def arms_of(who: str, models: Path, setting: str) -> tuple[Arm, ...]:
    """Return the arms of a setting for one system, made once in a process."""
    return tuple(_arms(who, models, GRID[setting]))


def _arms(who: str, models: Path, setting: Setting) -> Iterator[Arm]:
    system = load_speech_llm(who, models)
    nine = preset_layers(len(system.decoder_layers))
    reach = {"nine layers": nine} if setting.reach == "nine layers" else reach_layers(setting.reach, nine)
    for condition in setting.conditions:
        eraser = load_eraser(who, condition, system.fingerprint, models)
        for name, layers in reach.items():
            erased = eraser.projections(layers, setting.method)
            about = (
                eraser.rank(layers, setting.method),
                eraser.fitted_on(layers, setting.method),
                eraser.proof.of_run(layers, setting.method, setting.scope) if eraser.proof else None,
            )
            yield Arm(condition, name, ERASED, 0, *about, erased)
            for seed in SEEDS:
                control = eraser.random_control(layers, setting.method, seed)
                yield Arm(condition, name, RANK_MATCHED, seed, *about, control)
                if setting.change_matched and seed in CHANGE_SEEDS:
                    yield Arm(condition, name, CHANGE_MATCHED, seed, *about, control)


def _passes(arms: Sequence[Arm]) -> Iterator[Sequence[Arm]]:
    """Yield the arms of each pass, one kind at a time: where erasing makes a system ramble, controls need not wait."""
    for kind in (ERASED, RANK_MATCHED, CHANGE_MATCHED):
        yield from in_passes([arm for arm in arms if arm.kind == kind])


def _answers(
    system: WhiteBoxSystem, job: MeasuredClip, arms: tuple[Arm, ...], *, batched: bool
) -> list[dict[str, Any]]:
    """Return the plain answer, then each arm's, as `precompute.mechanism.clip_tables` writes them."""
    setting = GRID[job.setting]
    prepared = system.prepare(system.hear(say_recipe(job.recipe).clip), job.question.instruction)
    out: list[dict[str, Any]] = []
    # How far each eraser moved the states of this clip, by layer and group of positions.
    shares: dict[tuple[str, str], dict[int, dict[Group, float]]] = {}
    for part in _passes(arms):
        found, edits = answer_pass(
            system,
            prepared,
            job.question,
            [_edit(arm, shares) for arm in part],
            gold=job.gold,
            scope=setting.scope,
            batched=batched,
        )
        for row, arm in enumerate(part, 1):
            if arm.kind == ERASED:
                shares[arm.condition, arm.layers] = edits.change_by_group(row)
        for row, result in enumerate(found):
            if row == 0 and out:
                continue  # the plain row of a later pass is the first pass's again
            right = result.right_log_likelihood_change
            assert right is not None, "every clip of the mini world has a right answer"
            numbers = {
                "log_likelihood_change": result.log_likelihood_change,
                "right_log_likelihood_change": right,
                "relative_change": result.relative_change_of_state,
            }
            out.append(
                _about(part[row - 1] if row else None)
                | _answered(job, result.answer)
                | {name: round(number, DIGITS) for name, number in numbers.items()}
            )
    return out


def _edit(
    arm: Arm, shares: Mapping[tuple[str, str], Mapping[int, Mapping[Group, float]]]
) -> Mapping[int, Edit | ByGroup]:
    if arm.kind != CHANGE_MATCHED:
        return arm.projections
    return match_changes(arm.projections, shares[arm.condition, arm.layers])


def _about(arm: Arm | None) -> dict[str, Any]:
    if arm is None:
        nothing = {"condition": "none", "layers": "none", "arm": PLAIN, "seed": 0, "kept_rank": 0}
        return nothing | {"fitted_on": "none", "proof": None}
    return {
        "condition": arm.condition,
        "layers": arm.layers,
        "arm": arm.kind,
        "seed": arm.seed,
        "kept_rank": arm.kept_rank,
        "fitted_on": arm.fitted_on,
        "proof": _proof(arm.proof) if arm.kind == ERASED and arm.proof else None,
    }


def _proof(proof: RunProof) -> dict[str, Any]:
    """Return the columns of the proof, as `engine.mechanism_records` names them: of the layer where most is left."""
    one = proof.layers[proof.worst]
    numbers = {
        "probe_erased": one.erased,
        "probe_low": one.low,
        "probe_high": one.high,
        "probe_plain": one.plain,
        "probe_random": one.random,
        "probe_chance": one.chance,
    }
    return {name: round(number, DIGITS) for name, number in numbers.items()} | {
        "probe_verdict": proof.verdict
    }


def _answered(job: MeasuredClip, answer: Answer) -> dict[str, Any]:
    task, forced = job.question.task, answer.forced_choice
    chosen = max(forced, key=forced.__getitem__) if forced else None
    return {
        "label": answer.label,
        "label_status": answer.status,
        "text": answer.text,
        "correct": is_right(task, answer.label, job.gold, job.aliases, text=answer.text),
        "forced_correct": None if chosen is None else is_right(task, chosen, job.gold, job.aliases),
    }


# --- all probe clips: states, kept in the process beside what the probes are to read ---


@dataclass(frozen=True)
class ProbeStates:
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
class _Encoder:
    """How states come out of a clip: layer -> [positions, d_model], and when each position ends in seconds."""

    states: Callable[[AudioClip], tuple[dict[int, np.ndarray], np.ndarray]]


@lru_cache(maxsize=2)
def hear_all(
    who: str, models: Path, clips: tuple[ProbeClip, ...], untrained: bool
) -> tuple[ProbeStates, ...]:
    """Return every clip as a system hears it, or as the same system with its weights drawn anew does.

    Args:
        who: key of a speech LLM, or folder of a transcriber.
        models: folder of the models.
        clips: with their pitch.
        untrained: draw the weights anew.
    """
    ears = (
        _of_transcriber(models / who, untrained)
        if who not in SYSTEMS
        else _of_speech_llm(who, models, untrained)
    )
    return tuple(_heard(ears, clip) for clip in clips)


def _heard(ears: _Encoder, clip: ProbeClip) -> ProbeStates:
    spoken = say_recipe(clip.recipe)
    by_layer, ends_s = ears.states(spoken.clip)
    pitch = pitch_octaves(np.array(clip.pitch_hz), ends_s, HOP_S)
    energy = energy_db(spoken.clip.samples, ends_s)
    return ProbeStates(
        by_layer,
        float(ends_s[-1]),
        {
            "energy": np.where(np.isnan(pitch), np.nan, energy)[:, None],
            "pitch": pitch[:, None],
            "letters": letter_bags(spoken.words, ends_s),
        },
        spell(" ".join(word.text for word in spoken.words)),
    )


def _of_speech_llm(who: str, models: Path, untrained: bool) -> _Encoder:
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
            stacked(heard, stop - start, received.seconds_per_position)
            if is_even
            else _averaged(heard, received.ends_s)
        )
        return found, received.ends_s

    return _Encoder(states)


def _of_transcriber(folder: Path, untrained: bool) -> _Encoder:
    ears = WhisperEars(folder)
    if untrained:
        redraw(ears.encoder, seed=UNTRAINED_SEED)

    def states(clip: AudioClip) -> tuple[dict[int, np.ndarray], np.ndarray]:
        found = {layer: heard.numpy() for layer, heard in ears.layer_states(clip.samples).items()}
        mel, n_frames = ears.features(clip.samples)
        found[INPUT] = stacked(mel[:, :n_frames].numpy(), len(found[0]), ears.seconds_per_position)
        return found, even_ends(len(found[0]), ears.seconds_per_position)

    return _Encoder(states)


def stacked(mel: np.ndarray, n_positions: int, width_s: float) -> np.ndarray:
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


# --- all probe clips: what linear probes read at one layer ---


@dataclass(frozen=True)
class ProbeReading:
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
    heard: tuple[ProbeStates, ...]
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


def do_probe(batch: Batch) -> Outcome:
    """Return a row for each layer: target -> what is read from the trained and from the untrained system.

    `INPUT` in a layer's place reads the log-mel features: they are the same for both.
    """
    place: ProbePlace = batch.shared

    def read(job: Job) -> dict[str, Any]:
        layer: int = job.payload
        bench = make_bench(batch.model, place.models, place.clips)
        found = {"trained": read_targets(bench, bench.at(layer), shuffle=layer != INPUT)}
        if layer != INPUT:
            untrained = make_bench(batch.model, place.models, place.clips, untrained=True)
            found["untrained"] = read_targets(untrained, untrained.at(layer), shuffle=False)
        return _jsonable(found)

    return measured(batch, read)


def _jsonable(found: dict[str, dict[str, ProbeReading]]) -> dict[str, Any]:
    """Return the readings without NaN; the untrained twin's are kept as a whole, not clip by clip."""
    out: dict[str, Any] = {}
    for model, readings in found.items():
        for target, reading in readings.items():
            numbers = {name: _number(value) for name, value in asdict(reading).items()}
            numbers["by_clip"] = [_number(round(score, CLIP_DIGITS)) for score in reading.by_clip]
            if model != "trained":
                del numbers["by_clip"]
            out.setdefault(model, {})[target] = numbers
    return out


def _number(value: Any) -> Any:
    return None if value != value else value


def read_targets(
    bench: Bench, states: Sequence[np.ndarray], *, shuffle: bool, targets: Sequence[str] = TARGETS
) -> dict[str, ProbeReading]:
    """Return target -> what a probe fitted on these states reads.

    Args:
        bench: clips and their split.
        states: of every clip, perhaps erased.
        shuffle: whether the control with shuffled labels is fitted, too.
        targets: which ones.
    """
    return {target: _read_target(bench, states, target, shuffle) for target in targets}


def _read_target(bench: Bench, states: Sequence[np.ndarray], target: str, shuffle: bool) -> ProbeReading:
    fit = _frames if target in FRAMES else _text if target == "text" else _labels
    if target in LABELS and _has_one_class(bench, target):
        return ProbeReading(math.nan, math.nan, math.nan, math.nan, 0, 0, 0, (), TOO_FEW)
    score, by_clip, n_frames = fit(bench, states, target, None)
    shuffled = fit(bench, states, target, SHUFFLE_SEED)[0].value if shuffle else math.nan
    note = " ".join(filter(None, [score.note, FEW_VOICES if target == "speaker" else ""]))
    n_clips = int((~np.isnan(by_clip)).sum())
    return ProbeReading(
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


# --- all probe clips: what erasing one thing does to the probes of another ---


def do_damage(batch: Batch) -> Outcome:
    """Return a row for each layer: what is read before, after each erasure, and after random ones."""
    who, place = batch.model, batch.shared
    return measured(
        batch,
        lambda job: _damage(who, place.models, make_bench(who, place.models, place.clips), job.payload),
    )


def _damage(who: str, models: Path, bench: Bench, layer: int) -> list[dict[str, Any]]:
    states, fingerprint = bench.at(layer), load_speech_llm(who, models).fingerprint
    plain = read_targets(bench, states, shuffle=False, targets=(*FRAMES, "text"))
    out = []
    for condition, targets in DAMAGED.items():
        eraser = load_eraser(who, condition, fingerprint, models)
        erased = read_targets(
            bench,
            erase_states(states, eraser.projections([layer], "affine")[layer]),
            shuffle=False,
            targets=targets,
        )
        controls = {
            seed: read_targets(
                bench,
                erase_states(states, eraser.random_control([layer], "affine", seed)[layer]),
                shuffle=False,
                targets=[t for t in targets if t != "text" or seed in TEXT_SEEDS],
            )
            for seed in SEEDS
        }
        for target in targets:
            random = [read[target].score for read in controls.values() if target in read]
            out.append(
                {"condition": condition, "target": target, "kept_rank": eraser.kept_rank[layer]}
                | _numbers(plain[target], erased[target], random)
            )
    return out


def _numbers(plain: ProbeReading, erased: ProbeReading, random: Sequence[float]) -> dict[str, Any]:
    numbers = {
        "plain": plain.score,
        "plain_low": plain.low,
        "plain_high": plain.high,
        "erased": erased.score,
        "low": erased.low,
        "high": erased.high,
        "random": float(np.mean(random)),
        "random_spread": float(np.std(random, ddof=1)),
    }
    counts = {"n_seeds": len(random), "n_clips": erased.n_clips, "n_frames": erased.n_frames}
    note = " ".join(dict.fromkeys(filter(None, [plain.note, erased.note])))
    return (
        {name: None if value != value else value for name, value in numbers.items()} | counts | {"note": note}
    )


def erase_states(states: Sequence[np.ndarray], projection: Projection) -> list[np.ndarray]:
    """Return every clip's states after the projection."""
    return [projection(torch.from_numpy(one)).numpy() for one in states]
