"""The measurements of interleaved models, job by job: what each writes into the ledger as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.erasure import Eraser
from engine.generate import read_states
from engine.interleaved import CURRENT, NEXT, AskedWords, ask_words, read_clip
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
from engine.systems.base import WhiteBoxModel
from engine.voice import Recipe
from precompute.interleaved.listening import (
    Listening,
    fact_units,
    kinds_of,
    listen,
    listen_to_units,
    model_of,
    source_of,
)
from precompute.interleaved.units import (
    Checkpoint,
    ClipJob,
    FactJob,
    InterleavedUnit,
    Job,
    PatchJob,
    Phases,
    Word,
)
from precompute.ledger import LedgerRow
from precompute.units import Outcome

DIGITS = 6
OUTCOME_K = 10  # of the recalls under erasure


def measure(unit: InterleavedUnit) -> Outcome:
    """Return a row for each job; raises whatever its work raises."""
    rows = []
    for job in unit.jobs:
        began = time.perf_counter()
        text = json.dumps(_measured(unit, job))
        seconds = time.perf_counter() - began
        rows.append(LedgerRow(job.key, unit.stage, unit.checkpoint.name, text=text, seconds=seconds))
    return Outcome(tuple(rows))


def _measured(unit: InterleavedUnit, job: Job) -> Any:
    if isinstance(job, PatchJob):
        return _patched(unit, job)
    if isinstance(job, FactJob):
        return _erased_fact(unit, job) if job.erased else _fact(unit, job)
    return _read(unit, job) if unit.stage == "phases" else _erased_clip(unit, job)


def _asked(system: WhiteBoxModel, heard: Listening, other: Sequence[str]) -> list[AskedWords]:
    return [ask_words(system.tokenizer, heard.words, heard.spans, other, d) for d in (CURRENT, NEXT)]


def _read(unit: InterleavedUnit, job: ClipJob) -> dict[str, Any]:
    """Return for d = 0 and 1 the words asked for, and by layer those among the top 1, 5, 10, and the control's."""
    system = model_of(unit.checkpoint, unit.models)
    heard = listen(unit.checkpoint, unit.models, job.recipe)
    (states,) = read_states(system, heard.prepared)
    found = read_clip(system, heard.own(states), kinds_of(system), _asked(system, heard, job.other))
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


def _fact(unit: InterleavedUnit, job: FactJob) -> dict[str, float]:
    """Return log-probability of the right and the wrong end, mean of a unit and sum."""
    system = model_of(unit.checkpoint, unit.models)
    scores = []
    for heard, n_begin in _ends(unit, job.fact):
        (states,) = read_states(system, heard.prepared)
        scores.append(_end_score(system, heard, states, n_begin))
    right, wrong = scores
    return {
        "right": round(right.per_unit, DIGITS),
        "wrong": round(wrong.per_unit, DIGITS),
        "right_sum": round(right.log_probability, DIGITS),
        "wrong_sum": round(wrong.log_probability, DIGITS),
    }


def _ends(unit: InterleavedUnit, fact: str) -> list[tuple[Listening, int]]:
    """Return the statement with its right and its wrong end, each with the positions before the end."""
    system: Any = model_of(unit.checkpoint, unit.models)
    said = fact_units(source_of(unit.checkpoint, unit.models), fact)
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


def _erased_clip(unit: InterleavedUnit, job: ClipJob) -> list[dict[str, Any]]:
    """Return for every arm the current word, the next word and the next unit: sum and count."""
    system, phases = model_of(unit.checkpoint, unit.models), _phases(unit)
    heard = listen(unit.checkpoint, unit.models, job.recipe)
    asked = _asked(system, heard, job.other)
    out = []
    for arm in run_erased(system, heard.prepared, _eraser(unit), phases.first, span=heard.prepared.span):
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
        out.append(_about(unit, arm) | {"outcomes": outcomes})
    return out


def _erased_fact(unit: InterleavedUnit, job: FactJob) -> list[dict[str, Any]]:
    """Return for every arm whether the right end is the likelier one; the prompt's words alone are erased."""
    system, phases = model_of(unit.checkpoint, unit.models), _phases(unit)
    by_end = []
    for heard, n_begin in _ends(unit, job.fact):
        start = heard.prepared.span[0]
        arms = run_erased(system, heard.prepared, _eraser(unit), phases.first, span=(start, start + n_begin))
        by_end.append([(arm, _end_score(system, heard, arm.states, n_begin).per_unit) for arm in arms])
    return [
        _about(unit, arm) | {"outcomes": {"spoken knowledge": [float(right > wrong), 1]}}
        for (arm, right), (_, wrong) in zip(*by_end, strict=True)
    ]


def _about(unit: InterleavedUnit, arm: ArmStates) -> dict[str, Any]:
    layers, kept = _phases(unit).first, _eraser(unit).kept_rank
    return {
        "arm": arm.arm,
        "seed": arm.seed,
        "kept_rank": 0 if arm.arm == "plain" else max(kept[layer] for layer in layers),
        "relative_change": round(arm.relative_change, DIGITS),
    }


def _phases(unit: InterleavedUnit) -> Phases:
    assert unit.phases is not None, "interventions are made where the phases lie"
    return unit.phases


def _eraser(unit: InterleavedUnit) -> Eraser:
    return _fitted(unit.checkpoint, unit.models, unit.fit, _phases(unit).first)


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


def _patched(unit: InterleavedUnit, job: PatchJob) -> list[dict[str, Any]]:
    """Return for each donor by how many nats the lead of the first donor's next word grew; [] without positions."""
    system, phases = model_of(unit.checkpoint, unit.models), _phases(unit)
    place, donors = job.recipient.place, dict(job.donors)
    heard = listen(unit.checkpoint, unit.models, job.recipient.recipe)
    (start, stop), (following, _) = heard.spans[place], heard.spans[place + 1]
    given = {arm: _word_states(unit, word, phases.current) for arm, word in donors.items()}
    given = {arm: states for arm, states in given.items() if len(states)}
    read = slice(start, min(stop, following))
    if read.start >= read.stop or "patched" not in given:
        return []
    first = heard.prepared.span[0]
    rows = run_patched(
        system, heard.prepared, (first + start, first + stop), phases.current, list(given.values())
    )
    theirs, own = (
        candidate_ids(system.tokenizer, word.following) for word in (donors["patched"], job.recipient)
    )
    text = kinds_of(system).text
    leads = [lead_of(system, heard.own(row)[phases.following][read], text, theirs, own) for row in rows]
    return [
        {"arm": arm, "total": round(lead - leads[0], DIGITS)}
        for arm, lead in zip(given, leads[1:], strict=True)
    ]


def _word_states(unit: InterleavedUnit, word: Word, layer: int) -> Tensor:
    heard = listen(unit.checkpoint, unit.models, word.recipe)
    (states,) = read_states(model_of(unit.checkpoint, unit.models), heard.prepared)
    return heard.own(states)[layer][slice(*heard.spans[word.place])]
