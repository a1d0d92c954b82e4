"""The measurements of interleaved models: a clip inside a model, and what each job makes of it as JSON.

Units depend on the encoder alone, which all checkpoints share: a clip is said and encoded once in each process.
Every function `do_KIND` returns a batch's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from engine.erasure import Eraser
from engine.generate import read_states
from engine.interleaved import (
    CURRENT,
    NEXT,
    AskedWords,
    TokenKinds,
    ask_words,
    read_clip,
)
from engine.interventions import (
    ArmStates,
    choose_targets,
    fit_word_eraser,
    label_positions,
    lead_of,
    run_erased,
    run_patched,
)
from engine.lens import TOPS, EndScore, candidate_ids, log_probabilities, score_end
from engine.systems.base import Prepared, WhiteBoxModel
from engine.systems.loading import load_speech_llm
from engine.systems.loading import load_unit_checkpoint as load_checkpoint
from engine.systems.unit_lm import Interleaved, Units, mini_parts, word_positions
from engine.voice import Recipe, say_recipe
from engine.words import SpokenWord
from precompute import keys
from precompute.interleaved.plan import (
    Checkpoint,
    CheckpointPlace,
    PatchedWord,
    Phases,
    ReadClip,
    ScoredFact,
    Word,
)
from precompute.jobs import Batch, Job, Outcome, measured
from precompute.mini.corpora.facts import Fact, all_facts
from precompute.mini.fact_clips import say_fact
from precompute.mini.world import WORLD_SEED

transformers_logging.disable_progress_bar()  # its bars would break ours
INSTRUCTION = "Repeat what was said."  # of a speech LLM; the clip stands before it, and does not see it
DIGITS = 6
OUTCOME_K = 10  # of the recalls under erasure
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Listening:
    """One clip in a prompt.

    Attributes:
        prepared: the prompt; its span is the clip's.
        words, spans: the words and their positions, counted from the clip's first.
        ids: vocabulary ids at the clip's positions; None where they are no tokens.
    """

    prepared: Prepared
    words: tuple[SpokenWord, ...]
    spans: Spans
    ids: Tensor | None

    def own(self, states: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the states at the clip's positions, of states over the whole prompt."""
        return {layer: one[slice(*self.prepared.span)] for layer, one in states.items()}


@dataclass(frozen=True)
class UnitSource:
    """What makes units; equal for checkpoints whose centres are equal."""

    digest: str
    folder: Path = field(compare=False)
    models: Path = field(compare=False)


@lru_cache(maxsize=2)
def model_of(checkpoint: Checkpoint, models: Path) -> WhiteBoxModel:
    """Return a checkpoint's model; raises ModelFilesError for missing or damaged weights."""
    if checkpoint.folder is None:
        return load_speech_llm(checkpoint.model, models)
    return load_checkpoint(checkpoint.folder, models)


def kinds_of(system: WhiteBoxModel) -> TokenKinds:
    """Return which ids of a model's vocabulary are text and units; all of a speech LLM's are text."""
    if isinstance(system, Interleaved):
        return TokenKinds(system.text_ids, system.unit_ids)
    head: Any = system.unembedding
    return TokenKinds(range(int(head.weight.shape[0])), None)


def listen(checkpoint: Checkpoint, models: Path, recipe: Recipe) -> Listening:
    """Return a clip as this checkpoint is given it."""
    system: Any = model_of(checkpoint, models)
    if isinstance(system, Interleaved):
        units, words = _units(source_of(checkpoint, models), recipe)
        return listen_to_units(system, units, words)
    spoken = say_recipe(recipe)
    prepared = system.prepare(system.hear(spoken.clip), INSTRUCTION)
    start, stop = prepared.span
    ends = (np.arange(stop - start) + 1) * system.seconds_per_position
    return Listening(prepared, spoken.words, word_positions(spoken.words, ends), None)


def listen_to_units(system: Interleaved, units: Units, words: tuple[SpokenWord, ...]) -> Listening:
    """Return units as the model is given them; it goes on in speech."""
    prepared = system.prepare_speech(system.hear_units(units))
    ids = torch.from_numpy(units.ids) + system.unit_ids.start
    return Listening(prepared, words, word_positions(words, units.ends_s), ids)


def source_of(checkpoint: Checkpoint, models: Path) -> UnitSource:
    """Return what makes a unit model's units."""
    assert checkpoint.folder is not None, "a speech LLM has no units"
    return UnitSource(keys.folder_hash(checkpoint.folder / "units"), checkpoint.folder, models)


@lru_cache(maxsize=4)
def _encoder(source: UnitSource) -> Any:
    return mini_parts(source.folder, source.models).encoder


@lru_cache(maxsize=4096)
def _units(source: UnitSource, recipe: Recipe) -> tuple[Units, tuple[SpokenWord, ...]]:
    spoken = say_recipe(recipe)
    return _encoder(source).encode(spoken.clip.samples), spoken.words


@dataclass(frozen=True)
class FactUnits:
    """A fact's two statements: right first, then wrong.

    Attributes:
        n_prompt_words: words that both begin with.
    """

    units: tuple[Units, Units]
    words: tuple[tuple[SpokenWord, ...], tuple[SpokenWord, ...]]
    n_prompt_words: int


@lru_cache(maxsize=1024)
def fact_units(source: UnitSource, key: str) -> FactUnits:
    """Return a fact, by its key, said with either end."""
    said = say_fact(_facts()[key])
    encoder = _encoder(source)
    units = (encoder.encode(said.right.samples), encoder.encode(said.wrong.samples))
    return FactUnits(units, (said.right_words, said.wrong_words), said.n_prompt_words)


@lru_cache(maxsize=1)
def _facts() -> dict[str, Fact]:
    return {fact.key: fact for fact in all_facts(WORLD_SEED)}


# --- the measurements, job by job ---


def do_phases(batch: Batch) -> Outcome:
    """Return by clip, for d = 0 and 1, the words asked for, and by layer those among the top 1, 5, 10."""
    return measured(batch, lambda job: _read(batch.shared, job.payload))


def do_knowledge(batch: Batch) -> Outcome:
    """Return by fact the log-probability of the right and the wrong end."""
    return measured(batch, lambda job: _fact(batch.shared, job.payload))


def do_erase_word(batch: Batch) -> Outcome:
    """Return by clip or fact what every arm of the erasure leaves."""

    def erased(job: Job) -> list[dict[str, Any]]:
        about: ReadClip | ScoredFact = job.payload
        if isinstance(about, ScoredFact):
            return _erased_fact(batch.shared, about)
        return _erased_clip(batch.shared, about)

    return measured(batch, erased)


def do_patch_word(batch: Batch) -> Outcome:
    """Return by word how each donor moves the lead of the first donor's next word."""
    return measured(batch, lambda job: _patched(batch.shared, job.payload))


def _asked(system: WhiteBoxModel, heard: Listening, other: Sequence[str]) -> list[AskedWords]:
    return [ask_words(system.tokenizer, heard.words, heard.spans, other, d) for d in (CURRENT, NEXT)]


def _read(place: CheckpointPlace, about: ReadClip) -> dict[str, Any]:
    """Return for d = 0 and 1 the words asked for, and by layer those among the top 1, 5, 10, and the control's."""
    system = model_of(place.checkpoint, place.models)
    heard = listen(place.checkpoint, place.models, about.recipe)
    (states,) = read_states(system, heard.prepared)
    found = read_clip(system, heard.own(states), kinds_of(system), _asked(system, heard, about.other))
    share = found.text_share
    return {
        "d": {
            str(d): {
                "n": int(ranks.shape[-1]),
                "hits": [[int((layer[0] <= k).sum()) for k in TOPS] for layer in ranks],
                "control": [[int((layer[1] <= k).sum()) for k in TOPS] for layer in ranks],
            }
            for d, ranks in found.ranks.items()
        },
        "share": None if share is None else [round(float(one), DIGITS) for one in share],
        "n_positions": heard.prepared.span[1] - heard.prepared.span[0],
    }


def _fact(place: CheckpointPlace, about: ScoredFact) -> dict[str, float]:
    """Return log-probability of the right and the wrong end, mean of a unit and sum."""
    system = model_of(place.checkpoint, place.models)
    scores = []
    for heard, n_begin in _ends(place, about.fact):
        (states,) = read_states(system, heard.prepared)
        scores.append(_end_score(system, heard, states, n_begin))
    right, wrong = scores
    return {
        "right": round(right.per_unit, DIGITS),
        "wrong": round(wrong.per_unit, DIGITS),
        "right_sum": round(right.log_probability, DIGITS),
        "wrong_sum": round(wrong.log_probability, DIGITS),
    }


def _ends(place: CheckpointPlace, fact: str) -> list[tuple[Listening, int]]:
    """Return the statement with its right and its wrong end, each with the positions before the end."""
    system: Any = model_of(place.checkpoint, place.models)
    said = fact_units(source_of(place.checkpoint, place.models), fact)
    heard = [
        listen_to_units(system, units, words) for units, words in zip(said.units, said.words, strict=True)
    ]
    return [(one, one.spans[said.n_prompt_words][0]) for one in heard]


def _end_score(
    system: WhiteBoxModel, heard: Listening, states: Mapping[int, Tensor], n_begin: int
) -> EndScore:
    assert heard.ids is not None, "only units have probabilities"
    last = heard.own({0: states[max(states)]})[0]
    return score_end(log_probabilities(system, last, heard.ids), n_begin)


def _erased_clip(place: CheckpointPlace, about: ReadClip) -> list[dict[str, Any]]:
    """Return for every arm the current word, the next word and the next unit: sum and count."""
    system, phases = model_of(place.checkpoint, place.models), _phases(place)
    heard = listen(place.checkpoint, place.models, about.recipe)
    asked = _asked(system, heard, about.other)
    out = []
    for arm in run_erased(system, heard.prepared, _eraser(place), phases.first, span=heard.prepared.span):
        own = heard.own(dict(arm.states))
        at = {layer: own[layer] for layer in {phases.current, phases.following}}
        ranks = read_clip(system, at, kinds_of(system), asked).ranks
        outcomes: dict[str, list[float]] = {}
        for name, d, layer in (
            ("current word", CURRENT, phases.current),
            ("next word", NEXT, phases.following),
        ):
            hits = ranks[d][sorted(at).index(layer)] <= OUTCOME_K
            outcomes[name] = [int(hits[0].sum()) - int(hits[1].sum()), int(hits.shape[-1])]
        assert heard.ids is not None, "only units are erased"
        units = log_probabilities(system, own[max(own)], heard.ids)
        outcomes["next unit"] = [round(float(units.sum()), DIGITS), len(units)]
        out.append(_about(place, arm) | {"outcomes": outcomes})
    return out


def _erased_fact(place: CheckpointPlace, about: ScoredFact) -> list[dict[str, Any]]:
    """Return for every arm whether the right end is the likelier one; the prompt's words alone are erased."""
    system, phases = model_of(place.checkpoint, place.models), _phases(place)
    by_end = []
    for heard, n_begin in _ends(place, about.fact):
        start = heard.prepared.span[0]
        arms = run_erased(system, heard.prepared, _eraser(place), phases.first, span=(start, start + n_begin))
        by_end.append([(arm, _end_score(system, heard, arm.states, n_begin).per_unit) for arm in arms])
    return [
        _about(place, arm) | {"outcomes": {"spoken knowledge": [float(right > wrong), 1]}}
        for (arm, right), (_, wrong) in zip(*by_end, strict=True)
    ]


def _about(place: CheckpointPlace, arm: ArmStates) -> dict[str, Any]:
    layers, kept = _phases(place).first, _eraser(place).kept_rank
    return {
        "arm": arm.arm,
        "seed": arm.seed,
        "kept_rank": 0 if arm.arm == "plain" else max(kept[layer] for layer in layers),
        "relative_change": round(arm.relative_change, DIGITS),
    }


def _phases(place: CheckpointPlace) -> Phases:
    assert place.phases is not None, "interventions are made where the phases lie"
    return place.phases


def _eraser(place: CheckpointPlace) -> Eraser:
    return _fitted(place.checkpoint, place.models, place.fit, _phases(place).first)


@lru_cache(maxsize=1)
def _fitted(checkpoint: Checkpoint, models: Path, fit: tuple[Recipe, ...], layers: tuple[int, ...]) -> Eraser:
    """Return the eraser of the word being spoken, fitted once in each process."""
    system = model_of(checkpoint, models)
    targets = choose_targets(recipe.text for recipe in fit)
    states: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    labels = []
    for recipe in fit:
        heard = listen(checkpoint, models, recipe)
        (recorded,) = read_states(system, heard.prepared)
        own = heard.own(recorded)
        for layer in layers:
            states[layer].append(own[layer])
        labels.append(label_positions(heard.words, heard.spans, len(own[layers[0]]), targets))
    stacked = {layer: torch.cat(parts) for layer, parts in states.items()}
    return fit_word_eraser(stacked, torch.cat(labels), targets, f"{len(fit)} clips")


def _patched(place: CheckpointPlace, about: PatchedWord) -> list[dict[str, Any]]:
    """Return for each donor by how many nats the lead of the first donor's next word grew; [] without positions."""
    system, phases = model_of(place.checkpoint, place.models), _phases(place)
    at, donors = about.recipient.place, dict(about.donors)
    heard = listen(place.checkpoint, place.models, about.recipient.recipe)
    (start, stop), (following, _) = heard.spans[at], heard.spans[at + 1]
    given = {arm: _word_states(place, word, phases.current) for arm, word in donors.items()}
    given = {arm: states for arm, states in given.items() if len(states)}
    read = slice(start, min(stop, following))
    if read.start >= read.stop or "patched" not in given:
        return []
    first = heard.prepared.span[0]
    rows = run_patched(
        system, heard.prepared, (first + start, first + stop), phases.current, list(given.values())
    )
    theirs, own = (
        candidate_ids(system.tokenizer, word.following) for word in (donors["patched"], about.recipient)
    )
    text = kinds_of(system).text
    leads = [lead_of(system, heard.own(row)[phases.following][read], text, theirs, own) for row in rows]
    return [
        {"arm": arm, "total": round(lead - leads[0], DIGITS)}
        for arm, lead in zip(given, leads[1:], strict=True)
    ]


def _word_states(place: CheckpointPlace, word: Word, layer: int) -> Tensor:
    heard = listen(place.checkpoint, place.models, word.recipe)
    (states,) = read_states(model_of(place.checkpoint, place.models), heard.prepared)
    return heard.own(states)[layer][slice(*heard.spans[word.place])]
