"""The units of the plan that are not done yet; the interventions wait until it is read where the phases lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from engine.interleaved import CURRENT, NEXT
from engine.lens import TOPS
from engine.stats.boundaries import excess_of, first_phase
from precompute.interleaved.plan import InterleavedPlan
from precompute.interleaved.units import (
    Checkpoint,
    ClipJob,
    FactJob,
    InterleavedUnit,
    Job,
    Phases,
    Stage,
)
from precompute.ledger import Ledger

JOBS_IN_UNIT = {"phases": 32, "knowledge": 64, "erase_word": 8, "patch_word": 16}
PHASES_K = 10  # at which the interventions find the phases


def phase_units(plan: InterleavedPlan, ledger: Ledger) -> list[InterleavedUnit]:
    """Return the clips that are not read layer by layer yet, checkpoint by checkpoint."""
    units = []
    for checkpoint in plan.checkpoints:
        jobs = [
            ClipJob(plan.read_key(checkpoint, number), clip.recipe, plan.others[number])
            for number, clip in enumerate(plan.clips)
        ]
        units += _units(plan, "phases", checkpoint, jobs, ledger)
    return units


def knowledge_units(plan: InterleavedPlan, ledger: Ledger) -> list[InterleavedUnit]:
    """Return the facts that are not scored yet, checkpoint by checkpoint."""
    units = []
    for checkpoint in plan.unit_models:
        jobs = [FactJob(plan.fact_key(checkpoint, fact), fact.key) for fact in plan.facts]
        units += _units(plan, "knowledge", checkpoint, jobs, ledger)
    return units


def erase_units(plan: InterleavedPlan, ledger: Ledger) -> list[InterleavedUnit]:
    """Return the clips and facts that are not measured under erasure yet; the full model must be read."""
    return [
        unit
        for checkpoint, phases in interventions(plan, ledger)
        for unit in _units(
            plan, "erase_word", checkpoint, erase_jobs(plan, checkpoint, phases), ledger, phases
        )
    ]


def erase_jobs(plan: InterleavedPlan, checkpoint: Checkpoint, phases: Phases) -> list[ClipJob | FactJob]:
    """Return every clip and every second fact, to be measured under erasure."""
    clips = [
        ClipJob(
            plan.erase_key(checkpoint, plan.read_key(checkpoint, number), phases),
            clip.recipe,
            plan.others[number],
        )
        for number, clip in enumerate(plan.clips)
    ]
    facts = [
        FactJob(plan.erase_key(checkpoint, plan.fact_key(checkpoint, fact), phases), fact.key, erased=True)
        for fact in plan.erased_facts
    ]
    return [*clips, *facts]


def patch_units(plan: InterleavedPlan, ledger: Ledger) -> list[InterleavedUnit]:
    """Return the words whose states are not replaced yet; the full model must be read."""
    return [
        unit
        for checkpoint, phases in interventions(plan, ledger)
        for unit in _units(
            plan, "patch_word", checkpoint, list(plan.patches(checkpoint, phases)), ledger, phases
        )
    ]


def interventions(plan: InterleavedPlan, ledger: Ledger) -> Iterator[tuple[Checkpoint, Phases]]:
    """Yield the full model with its phases; nothing where it is not here, or nothing can be read in it."""
    if plan.main is not None:
        phases = phases_of(plan, plan.main, ledger)
        if phases is not None:
            yield plan.main, phases


def phases_of(plan: InterleavedPlan, checkpoint: Checkpoint, ledger: Ledger) -> Phases | None:
    """Return where a checkpoint's phases lie at k = 10, over all clips; None where R is nowhere above 0."""
    sums: dict[int, list[np.ndarray]] = {CURRENT: [], NEXT: []}
    for number in range(len(plan.clips)):
        row = ledger.rows.get(plan.read_key(checkpoint, number))
        if row is not None and not row.failed:
            found = json.loads(row.text)["d"]
            for d in sums:
                sums[d].append(layer_sums(found[str(d)], TOPS.index(PHASES_K)))
    if not sums[CURRENT]:
        return None
    current, following = (excess_of(np.sum(sums[d], axis=0)) for d in (CURRENT, NEXT))
    first = first_phase(current)
    return Phases(first, first[-1], int(np.argmax(following))) if first else None


def layer_sums(found: dict[str, object], top: int) -> np.ndarray:
    """Return hits, the control's hits and words, [layers, 3], of one clip's reading at one k."""
    hits, control = (np.array(found[name], dtype=np.float64)[:, top] for name in ("hits", "control"))
    return np.stack([hits, control, np.full(len(hits), float(str(found["n"])))], axis=-1)


def _units(
    plan: InterleavedPlan,
    stage: Stage,
    checkpoint: Checkpoint,
    jobs: Sequence[Job],
    ledger: Ledger,
    phases: Phases | None = None,
) -> list[InterleavedUnit]:
    left = [job for job in dict.fromkeys(jobs) if not ledger.is_done(job.key)]
    size = JOBS_IN_UNIT[stage]
    fit = plan.fit if stage == "erase_word" else ()
    return [
        InterleavedUnit(stage, checkpoint, tuple(left[start : start + size]), plan.models, phases, fit)
        for start in range(0, len(left), size)
    ]
