"""Tables of what was measured layer by layer over all probe clips: probes, clip by clip, and damage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.columns import PROBE_TARGETS
from precompute.ledger import Ledger
from precompute.mechanism.pitch import HOP_S
from precompute.mechanism.plan import MechanismPlan
from precompute.mechanism.units import INPUT
from precompute.mechanism.work import clips_with_pitch, layers_damaged, layers_probed
from precompute.stages.assemble import clip_row

UNITS = {"text": "1 - CER", "speaker": "accuracy", "emotion": "accuracy"}
R2 = "R2"
Row = dict[str, Any]


def found_in(ledger: Ledger, key: str, missed: dict[str, str]) -> Any:
    """Return a measurement, None where it failed or is not there."""
    row = ledger.rows.get(key)
    if row is None or row.failed:
        missed[key] = row.reason if row else "this result is missing from the ledger"
        return None
    return json.loads(row.text)


def probe_clip_rows(plan: MechanismPlan, ledger: Ledger) -> Iterator[Row]:
    """Yield the clips that probes are fitted and scored on."""
    for one, clip in clips_with_pitch(plan, ledger):
        yield clip_row(clip, None, round((len(one.pitch_hz) - 1) * HOP_S, 2))


def probe_score_rows(plan: MechanismPlan, ledger: Ledger) -> Iterator[Row]:
    """Yield each clip's own score at every layer; what failed is missing from the table of probes, too."""
    clips = [clip for _, clip in clips_with_pitch(plan, ledger)]
    for who, layers in layers_probed(plan):
        for layer in layers:
            read = None if layer == INPUT else found_in(ledger, plan.layer_key("probe", who, layer), {})
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


def probe_rows(plan: MechanismPlan, ledger: Ledger, missed: dict[str, str]) -> Iterator[Row]:
    """Yield the table of probes; `missed` gains what failed, with its reason."""
    for who, layers in layers_probed(plan):
        found = {layer: found_in(ledger, plan.layer_key("probe", who, layer), missed) for layer in layers}
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


def damage_rows(plan: MechanismPlan, ledger: Ledger, missed: dict[str, str]) -> Iterator[Row]:
    """Yield the table of damage; `missed` gains what failed, with its reason."""
    for who, layers in layers_damaged(plan):
        for layer in layers:
            for row in found_in(ledger, plan.layer_key("damage", who, layer), missed) or ():
                yield {"system": who, "layer": layer, "unit": UNITS.get(row["target"], R2), **row}
