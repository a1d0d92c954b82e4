"""From the store to the tables of clips and of layers: what summarize sums up, and what a point of a figure opens.

A measurement that failed is left out, counted, and named in mechanism.json with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.columns import NOT_PROVEN, PROBE_TARGETS
from engine.stats.intervals import N_RESAMPLES
from engine.systems.catalogue import SystemSpec, revision_of
from engine.tables import write_table, write_whole
from engine.tasks import is_right
from precompute import keys
from precompute.clips import Clip
from precompute.mechanism.grid import CHANGE_SEEDS, GRID, SEEDS
from precompute.mechanism.plan import (
    FOLD_SEED,
    HOP_S,
    INPUT,
    MechanismPlan,
    clips_with_pitch,
    erased_clips,
    implicit_jobs,
    layers_damaged,
    layers_probed,
)
from precompute.stages.assemble import MANIFEST, clip_row
from precompute.store import ResultRow, Store

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
UNITS = {"text": "1 - CER", "speaker": "accuracy", "emotion": "accuracy"}
R2 = "R2"
Row = dict[str, Any]


def write_clip_tables(plan: MechanismPlan, store: Store, out: Path) -> tuple[int, int]:
    """Write the tables and mechanism.json; return the number of rows, and of measurements that failed.

    Raises:
        TableError: a file cannot be written.
    """
    missed: dict[str, str] = {}
    tables = {
        "lens_clips": list(_lens_rows(plan, store, missed)),
        "implicit_clips": list(_implicit_rows(plan, store)),
        "erasure_clips": list(_erasure_rows(plan, store, missed)),
        "probe_clips": list(probe_clip_rows(plan, store)),
        "probe_scores": list(probe_score_rows(plan, store)),
        "probes": list(probe_rows(plan, store, missed)),
        "damage": list(damage_rows(plan, store, missed)),
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
        "seconds": _seconds(store),
        "resamples": N_RESAMPLES,  # of the intervals of probes and damage, which are taken inside the run
        "notes": plan.notes,
        "failed": dict(sorted(missed.items())),
    }
    write_whole(out / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return sum(map(len, tables.values())), len(missed)


def _seconds(store: Store) -> dict[str, dict[str, float]]:
    """Return stage and system -> results in the store and their mean time, one process each."""
    spent: dict[str, list[float]] = {}
    for row in store.rows.values():
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


def _lens_rows(plan: MechanismPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    for spec in plan.speech_llms:
        for clip in (*plan.behaviour.clips, *plan.noisy):
            found = found_in(store, plan.lens_key(spec, clip), missed)
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


def _implicit_rows(plan: MechanismPlan, store: Store) -> Iterator[Row]:
    for spec in plan.speech_llms:
        cascade = plan.cascade_of(spec)
        if cascade is None:
            continue
        for clip in plan.behaviour.clips:
            speech = store.rows.get(plan.behaviour.listen_key(spec, clip))
            heard = plan.behaviour.heard(cascade, clip, store)
            if speech is None or speech.failed or not isinstance(heard, str):
                continue
            other = store.rows.get(plan.behaviour.read_key(cascade, clip, heard))
            if other is None or other.failed:
                continue
            for layer, job in implicit_jobs(plan, spec, clip, store).items():
                row = store.rows.get(job.key)
                if row is not None and not row.failed:
                    yield _about(spec, clip) | {
                        "layer": layer,
                        "gold": clip.gold,
                        "choices": "|".join(clip.item.question.labels),
                        "heard": job.payload.heard,
                        "label": row.label,
                        "label_status": row.status,
                        "correct": _right(clip, row),
                        "speech_label": speech.label,
                        "speech_correct": _right(clip, speech),
                        "cascade_label": other.label,
                        "cascade_correct": _right(clip, other),
                    }


def _right(clip: Clip, row: ResultRow) -> bool:
    return is_right(clip.item.question.task, row.label, clip.gold, clip.item.aliases, text=row.text)


def _erasure_rows(plan: MechanismPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    seen: set[str] = set()
    for spec, setting, clips in erased_clips(plan):
        for clip in clips:
            for arm in found_in(store, plan.erase_key(spec, clip, setting), missed) or ():
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


# --- what was measured layer by layer over all probe clips ---


def found_in(store: Store, key: str, missed: dict[str, str]) -> Any:
    """Return a measurement, None where it failed or is not there."""
    row = store.rows.get(key)
    if row is None or row.failed:
        missed[key] = row.reason if row else "this result is missing from the store"
        return None
    return json.loads(row.text)


def probe_clip_rows(plan: MechanismPlan, store: Store) -> Iterator[Row]:
    """Yield the clips that probes are fitted and scored on."""
    for one, clip in clips_with_pitch(plan, store):
        yield clip_row(clip, None, round((len(one.pitch_hz) - 1) * HOP_S, 2))


def probe_score_rows(plan: MechanismPlan, store: Store) -> Iterator[Row]:
    """Yield each clip's own score at every layer; what failed is missing from the table of probes, too."""
    clips = [clip for _, clip in clips_with_pitch(plan, store)]
    for who, layers in layers_probed(plan):
        for layer in layers:
            read = None if layer == INPUT else found_in(store, plan.layer_key("probe", who, layer), {})
            for target, reading in read["trained"].items() if read else ():
                scores = reading["by_clip"]
                for clip, score in zip(clips, scores, strict=False):  # a target that cannot be read has none
                    if score is not None:
                        yield {
                            "system": who,
                            "layer": layer,
                            "target": target,
                            "clip_id": clip.clip_id,
                            "score": score,
                        }


def probe_rows(plan: MechanismPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    """Yield the table of probes; `missed` gains what failed, with its reason."""
    for who, layers in layers_probed(plan):
        found = {layer: found_in(store, plan.layer_key("probe", who, layer), missed) for layer in layers}
        given = found.pop(INPUT) or {"trained": {}}
        for layer, read in found.items():
            for target in PROBE_TARGETS if read else ():
                trained = read["trained"][target]
                score, shuffled = trained["score"], trained["shuffled"]
                yield {
                    "system": who,
                    "layer": layer,
                    "target": target,
                    "unit": UNITS.get(target, R2),
                    **{name: trained[name] for name in ("score", "low", "high", "shuffled")},
                    "random_model": read["untrained"][target]["score"],
                    "input_features": given["trained"].get(target, {}).get("score"),
                    "selectivity": None if score is None or shuffled is None else score - shuffled,
                    **{name: trained[name] for name in ("n_groups", "n_clips", "n_frames", "note")},
                }


def damage_rows(plan: MechanismPlan, store: Store, missed: dict[str, str]) -> Iterator[Row]:
    """Yield the table of damage; `missed` gains what failed, with its reason."""
    for who, layers in layers_damaged(plan):
        for layer in layers:
            for row in found_in(store, plan.layer_key("damage", who, layer), missed) or ():
                yield {"system": who, "layer": layer, "unit": UNITS.get(row["target"], R2), **row}
