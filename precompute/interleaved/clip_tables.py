"""From the store to the tables of clips and facts: what summarize sums up.

A measurement that failed is left out, counted, and named in interleaved.json with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.interleaved import PAIRING_SEED
from engine.interventions import SEEDS
from engine.lens import TOPS
from engine.tables import write_table, write_whole
from precompute import keys
from precompute.clips import Clip
from precompute.interleaved.plan import (
    PATCH_SEED,
    Checkpoint,
    InterleavedPlan,
    Phases,
    ReadClip,
    ScoredFact,
    erase_jobs,
    interventions,
)
from precompute.interleaved.tables import FOLDER, RECORD
from precompute.mechanism.clip_tables import found_in
from precompute.stages.assemble import MANIFEST
from precompute.store import Store

FOLLOWS = "next word follows"
Row = dict[str, Any]


def write_interleaved_clips(plan: InterleavedPlan, store: Store, out: Path) -> tuple[int, int]:
    """Write the tables and interleaved.json; return the number of rows, and of measurements that failed.

    Raises:
        TableError: a file cannot be written.
    """
    missed: dict[str, str] = {}
    found = list(interventions(plan, store))
    tables = {
        "interleaved_clips": list(_reading_rows(plan, store, missed)),
        "knowledge_facts": list(_fact_rows(plan, store, missed)),
        "causal_clips": [
            row
            for checkpoint, phases in found
            for rows in (_erased_rows, _patched_rows)
            for row in rows(plan, checkpoint, phases, store, missed)
        ],
    }
    (out / MANIFEST).unlink(missing_ok=True)  # of older tables; summarize writes it anew
    for name, rows in tables.items():
        write_table(rows, out / FOLDER / f"{name}.parquet", name)
    record = {
        "models": {
            one.model: {"initialisation": one.initialisation, "data": one.data} for one in plan.checkpoints
        },
        "checkpoints": {
            one.name: [keys.folder_hash(folder)[:12] for folder in plan.folders_of(one)]
            for one in plan.checkpoints
        },
        "facts_heard": {fact.key: fact.is_heard for fact in plan.facts},
        "clips": len(plan.clips),
        "fit_clips": len(plan.fit),
        "interventions": {one.name: asdict(phases) for one, phases in found},
        "seeds": {"pairing": PAIRING_SEED, "patching": PATCH_SEED, "controls": SEEDS},
        "code_versions": keys.CODE_VERSION,
        "notes": plan.notes,
        "failed": dict(sorted(missed.items())),
    }
    write_whole(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return sum(map(len, tables.values())), len(missed)


def _about(checkpoint: Checkpoint, clip: Clip) -> Row:
    item = clip.item
    return {
        "model": checkpoint.model,
        "step": checkpoint.step,
        "item_id": item.item_id,
        # Groups of two tasks are two, even where they say the same.
        "group": f"{item.task}|{item.group or item.item_id}",
        "clip_id": clip.clip_id,
    }


def _reading_rows(plan: InterleavedPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    for checkpoint in plan.checkpoints:
        for number, clip in enumerate(plan.clips):
            found = found_in(store, plan.read_key(checkpoint, number), missed)
            for d, read in (found or {"d": {}})["d"].items():
                for layer, (hits, control) in enumerate(zip(read["hits"], read["control"], strict=True)):
                    yield _about(checkpoint, clip) | {
                        "layer": layer,
                        "d": int(d),
                        "n_words": read["n"],
                        **{f"hits_{k}": hits[place] for place, k in enumerate(TOPS)},
                        **{f"control_{k}": control[place] for place, k in enumerate(TOPS)},
                        "text_share": None if found["share"] is None else found["share"][layer],
                        "n_positions": found["n_positions"],
                    }


def _fact_rows(plan: InterleavedPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    for checkpoint in plan.unit_models:
        for fact in plan.facts:
            found = found_in(store, plan.fact_key(checkpoint, fact), missed)
            if found is not None:
                about = {"model": checkpoint.model, "step": checkpoint.step}
                yield about | {"item_id": fact.key, "group": fact.key} | found


def _erased_rows(
    plan: InterleavedPlan, checkpoint: Checkpoint, phases: Phases, store: Store, missed: dict[str, str]
) -> Iterator[Row]:
    clips = {clip.recipe: clip for clip in plan.clips}
    for job in erase_jobs(plan, checkpoint, phases):
        for arm in found_in(store, job.key, missed) or ():
            for outcome, (total, n) in arm["outcomes"].items():
                yield (
                    _about_erased(checkpoint, job.payload, clips)
                    | {name: arm[name] for name in ("arm", "seed", "kept_rank", "relative_change")}
                    | {"outcome": outcome, "layers": _named(phases.first), "total": total, "n": n}
                )


def _about_erased(checkpoint: Checkpoint, about: ReadClip | ScoredFact, clips: dict[Any, Clip]) -> Row:
    if isinstance(about, ReadClip):
        return _about(checkpoint, clips[about.recipe])
    names = dict.fromkeys(("item_id", "group", "clip_id"), about.fact)
    return {"model": checkpoint.model, "step": checkpoint.step, **names}


def _patched_rows(
    plan: InterleavedPlan, checkpoint: Checkpoint, phases: Phases, store: Store, missed: dict[str, str]
) -> Iterator[Row]:
    clips = {clip.recipe: clip for clip in plan.clips}
    for job in plan.patches(checkpoint, phases):
        recipient = job.payload.recipient
        about = _about(checkpoint, clips[recipient.recipe])
        for arm in found_in(store, job.key, missed) or ():
            yield about | {
                "arm": arm["arm"],
                "outcome": FOLLOWS,
                "item_id": f"{about['item_id']} word {recipient.place}",
                "seed": 0,
                "layers": _named((phases.current,)),
                "kept_rank": 0,
                "relative_change": None,
                "total": arm["total"],
                "n": 1,
            }


def _named(layers: tuple[int, ...]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
