"""The lens over one clip at every layer: the line of text, its precision, and how often words are held."""

from __future__ import annotations

import json
import time
from typing import Any

from engine.answers import control_transcripts
from engine.generate import all_layers, run_arms
from engine.lens import count_hits, lens_text, rank_words, read_lens
from engine.voice import say_recipe, spoil
from precompute.ledger import LedgerRow
from precompute.mechanism.units import ClipJob, MechanismUnit
from precompute.stages.loaded import speech_llm
from precompute.units import Outcome

DIGITS = 6
WORDS_FROM = "reference, exact times"


def read_layers(unit: MechanismUnit) -> Outcome:
    """Return a row for each clip; the lens sees the clip's own positions, whatever is asked about it."""
    system = speech_llm(unit.who, unit.models)
    rows = []
    for job in unit.jobs:
        assert isinstance(job, ClipJob)
        began = time.perf_counter()
        found = _read(system, job)
        seconds = time.perf_counter() - began
        rows.append(LedgerRow(job.key, "lens", unit.who, text=json.dumps(found), seconds=seconds))
    return Outcome(tuple(rows))


def _read(system: Any, job: ClipJob) -> dict[str, Any]:
    """Return what `precompute.mechanism.clip_tables` writes, layer by layer.

    texts: the lens's line; precision, control, and both by the paper's reading: shares, null where undefined;
    current, following: positions that ask for a word, and hits among the top 1, 5 and 10; mismatched: the same,
    summed over the control transcripts.
    """
    spoken = say_recipe(job.recipe)
    noisy = spoil(spoken.clip, job.recipe)
    heard = system.hear(noisy.clip if noisy else spoken.clip)
    prepared = system.prepare(heard, job.question.instruction)
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
        "precision": dict(zip(layers, map(_rounded, lens.precision), strict=True)),
        "control": dict(zip(layers, map(_rounded, lens.control), strict=True)),
        "set_precision": dict(zip(layers, map(_rounded, lens.set_precision), strict=True)),
        "set_control": dict(zip(layers, map(_rounded, lens.set_control), strict=True)),
        "current": {layer: count_hits(ranks.current[n]) for n, layer in enumerate(layers)},
        "following": {layer: count_hits(ranks.following[n]) for n, layer in enumerate(layers)},
        "mismatched": {layer: count_hits(ranks.control[:, n].ravel()) for n, layer in enumerate(layers)},
    }


def _rounded(share: float) -> float | None:
    return round(share, DIGITS) if share == share else None
