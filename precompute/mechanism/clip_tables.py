"""From the ledger to the tables of clips: what summarize sums up, and what a point of a figure opens.

A measurement that failed is left out, counted, and named in mechanism.json with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.columns import NOT_PROVEN
from engine.stats.intervals import N_RESAMPLES
from engine.systems.catalogue import SystemSpec, revision_of
from engine.tables import write_table, write_whole
from engine.tasks import is_right
from precompute import keys
from precompute.clips import Clip
from precompute.ledger import Ledger, LedgerRow
from precompute.mechanism.grid import CHANGE_SEEDS, GRID, SEEDS
from precompute.mechanism.layer_tables import (
    damage_rows,
    found_in,
    probe_clip_rows,
    probe_rows,
    probe_score_rows,
)
from precompute.mechanism.plan import FOLD_SEED, MechanismPlan
from precompute.mechanism.work import erased_clips, implicit_prompts
from precompute.stages.assemble import MANIFEST

FOLDER, RECORD = "mechanism", "mechanism.json"
# What follows keeps a run small enough to ship; no figure of the tables changes in a digit that is shown.
CHANGE_DIGITS = 3  # of nats, and of shares; batches agree to this
LONGEST_TEXT = 60  # characters of an answer under an erasure, which may ramble
_CHANGES = ("log_likelihood_change", "right_log_likelihood_change", "relative_change")
_AS_FOUND = (
    "condition",
    "layers",
    "arm",
    "seed",
    "kept_rank",
    "fitted_on",
    "label",
    "label_status",
    "correct",
)
Row = dict[str, Any]


def write_clip_tables(plan: MechanismPlan, ledger: Ledger, out: Path) -> tuple[int, int]:
    """Write the tables and mechanism.json; return the number of rows, and of measurements that failed.

    Raises:
        TableError: a file cannot be written.
    """
    missed: dict[str, str] = {}
    tables = {
        "lens_clips": list(_lens_rows(plan, ledger, missed)),
        "implicit_clips": list(_implicit_rows(plan, ledger)),
        "erasure_clips": list(_erasure_rows(plan, ledger, missed)),
        "probe_clips": list(probe_clip_rows(plan, ledger)),
        "probe_scores": list(probe_score_rows(plan, ledger)),
        "probes": list(probe_rows(plan, ledger, missed)),
        "damage": list(damage_rows(plan, ledger, missed)),
    }
    (out / MANIFEST).unlink(missing_ok=True)  # of older tables; summarize writes it anew
    for name, rows in tables.items():
        write_table(rows, out / FOLDER / f"{name}.parquet", name)
    record = {
        "items_a_task": plan.n_items,
        "probe_clips": len(plan.probed),
        "systems": {s.key: revision_of(s, plan.models) for s in plan.speech_llms},
        "control_ears": plan.ears,
        "grid": [asdict(setting) for setting in GRID.values()],
        "control_seeds": {"rank_matched": SEEDS, "change_matched": CHANGE_SEEDS},
        "fold_seed": FOLD_SEED,
        "code_versions": keys.CODE_VERSION,
        "seconds": _seconds(ledger),
        "resamples": N_RESAMPLES,  # of the intervals of probes and damage, which are taken inside the run
        "notes": plan.notes,
        "failed": dict(sorted(missed.items())),
    }
    write_whole(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return sum(map(len, tables.values())), len(missed)


def _seconds(ledger: Ledger) -> dict[str, dict[str, float]]:
    """Return stage and system -> results in the ledger and their mean time, one process each."""
    spent: dict[str, list[float]] = {}
    for row in ledger.rows.values():
        if not row.failed and row.stage in ("pitch", "lens", "erase", "probe", "damage"):
            spent.setdefault(f"{row.stage} {row.who}".strip(), []).append(row.seconds)
    return {
        name: {"results": len(times), "seconds": round(sum(times) / len(times), 4)}
        for name, times in sorted(spent.items())
    }


def _about(spec: SystemSpec, clip: Clip) -> Row:
    return {
        "system": spec.key,
        "task": clip.item.task,
        "item_id": clip.item.item_id,
        "group": clip.item.group,
        "clip_id": clip.clip_id,
    }


def _lens_rows(plan: MechanismPlan, ledger: Ledger, missed: dict[str, str]) -> Iterator[Row]:
    for spec in plan.speech_llms:
        for clip in (*plan.behaviour.clips, *plan.noisy):
            found = found_in(ledger, plan.lens_key(spec, clip), missed)
            for layer, text in (found or {"texts": {}})["texts"].items():
                yield _about(spec, clip) | {
                    "layer": int(layer),
                    "noise": clip.condition.noise,
                    "snr_db": clip.condition.snr_db,
                    "text": text,
                    "precision": found["precision"][layer],
                    "control": found["control"][layer],
                    "set_precision": found["set_precision"][layer],
                    "set_control": found["set_control"][layer],
                    **_hits("current", found["current"][layer]),
                    **_hits("next", found["following"][layer]),
                    **_hits("mismatched", found["mismatched"][layer]),
                }


def _hits(name: str, counts: list[int]) -> Row:
    return dict(zip((f"n_{name}", f"{name}_1", f"{name}_5", f"{name}_10"), counts, strict=True))


def _implicit_rows(plan: MechanismPlan, ledger: Ledger) -> Iterator[Row]:
    for spec in plan.speech_llms:
        cascade = plan.cascade_of(spec)
        if cascade is None:
            continue
        for clip in plan.behaviour.clips:
            speech = ledger.rows.get(plan.behaviour.listen_key(spec, clip))
            heard = plan.behaviour.heard(cascade, clip, ledger)
            if speech is None or speech.failed or not isinstance(heard, str):
                continue
            other = ledger.rows.get(plan.behaviour.read_key(cascade, clip, heard))
            if other is None or other.failed:
                continue
            for layer, prompt in implicit_prompts(plan, spec, clip, ledger).items():
                row = ledger.rows.get(prompt.key)
                if row is not None and not row.failed:
                    yield _about(spec, clip) | {
                        "layer": layer,
                        "gold": clip.gold,
                        "choices": "|".join(clip.item.question.labels),
                        "heard": prompt.heard,
                        "label": row.label,
                        "label_status": row.status,
                        "correct": _right(clip, row),
                        "speech_label": speech.label,
                        "speech_correct": _right(clip, speech),
                        "cascade_label": other.label,
                        "cascade_correct": _right(clip, other),
                    }


def _right(clip: Clip, row: LedgerRow) -> bool:
    return is_right(clip.item.question.task, row.label, clip.gold, clip.item.aliases, text=row.text)


def _erasure_rows(plan: MechanismPlan, ledger: Ledger, missed: dict[str, str]) -> Iterator[Row]:
    seen: set[str] = set()
    for spec, setting, clips in erased_clips(plan):
        for clip in clips:
            for arm in found_in(ledger, plan.erase_key(spec, clip, setting), missed) or ():
                plain = arm["arm"] == "plain"
                if plain and f"{spec.key} {clip.clip_id}" in seen:
                    continue
                if plain:
                    seen.add(f"{spec.key} {clip.clip_id}")
                forced = arm["forced_correct"]
                yield _about(spec, clip) | {
                    **{name: arm[name] for name in _AS_FOUND},
                    **{name: round(arm[name], CHANGE_DIGITS) for name in _CHANGES},
                    "text": arm["text"][:LONGEST_TEXT],
                    "forced_correct": None if forced is None else float(forced),
                    "method": "none" if plain else GRID[setting].method,
                    "scope": "none" if plain else GRID[setting].scope,
                    **(arm["proof"] or NOT_PROVEN),
                }
