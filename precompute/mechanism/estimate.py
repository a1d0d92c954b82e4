"""What a run of mechanism would take, said before anything runs."""

from __future__ import annotations

from collections import defaultdict

from precompute.estimate import GUESSED_S as BEHAVIOUR_S
from precompute.estimate import START_S, duration
from precompute.ledger import Ledger
from precompute.mechanism.plan import MechanismPlan
from precompute.mechanism.work import (
    damage_units,
    erase_units,
    lens_units,
    pitch_units,
    probe_units,
    sufficiency_units,
)
from precompute.plan import listen_units, read_units

# Seconds on one core of a common machine, for the minis: of a clip, of a clip and setting, or of a layer.
GUESSED_S = {"pitch": 0.05, "lens": 0.24, "erase": 1.5, "probe": 30.0, "damage": 90.0}
NEW_TEXTS_SHARE = 0.9  # of layers' texts that are not read yet: the rest will repeat one


def format_mechanism_plan(plan: MechanismPlan, ledger: Ledger, n_workers: int) -> str:
    """Return what is left to do, stage by stage, and about how long it will take."""
    left = {
        "pitch": sum(len(unit.keys) for unit in pitch_units(plan, ledger)),
        "lens": sum(len(unit.keys) for unit in lens_units(plan, ledger)),
        "erase": sum(len(unit.keys) for unit in erase_units(plan, ledger)),
        "probe": sum(len(unit.keys) for unit in probe_units(plan, ledger)),
        "damage": sum(len(unit.keys) for unit in damage_units(plan, ledger)),
    }
    means = _measured(ledger)
    guessed = [stage for stage, count in left.items() if count and stage not in means]
    seconds = sum(count * means.get(stage, GUESSED_S[stage]) for stage, count in left.items())
    behaviour = plan.behaviour
    n_heard = sum(len(unit.keys) for unit in listen_units(behaviour, ledger))
    n_texts = len(behaviour.clips) * sum(plan.n_layers(spec.key) + 1 for spec in plan.speech_llms)
    n_read = sum(
        len(unit.keys) for unit in (*read_units(behaviour, ledger), *sufficiency_units(plan, ledger))
    )
    n_read = max(n_read, round(NEW_TEXTS_SHARE * n_texts) if left["lens"] else 0)
    seconds += n_heard * BEHAVIOUR_S["listen"] + n_read * BEHAVIOUR_S["read"]
    systems = ", ".join([spec.key for spec in plan.speech_llms] + ([plan.ears] if plan.ears else []))
    lines = [
        f"{plan.n_items} items a task: {len(behaviour.clips):,} clean clips, {len(plan.noisy):,} noisy ones, "
        f"{len(plan.probed):,} for probes, of {systems}.",
        *plan.notes,
    ]
    counts = [f"{count:,} to {stage}" for stage, count in left.items() if count]
    if n_heard or n_read:
        counts.append(f"about {n_heard + n_read:,} answers")
    if not counts:
        return "\n".join([*lines, "Everything is done; run only writes the tables again."])
    basis = f"guessed for {', '.join(guessed)}" if guessed else "from what is done"
    took = duration(START_S + seconds / n_workers)
    return "\n".join(
        [*lines, f"Left: {', '.join(counts)}.", f"About {took} with {n_workers} workers; {basis}."]
    )


def _measured(ledger: Ledger) -> dict[str, float]:
    spent: dict[str, list[float]] = defaultdict(list)
    for row in ledger.rows.values():
        if row.stage in GUESSED_S and not row.failed:
            spent[row.stage].append(row.seconds)
    return {stage: sum(times) / len(times) for stage, times in spent.items()}
