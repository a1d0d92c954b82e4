"""confound.csv and shared_errors.parquet: what a shared backbone adds, and the wrong answers two systems share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np

from engine.stats.agreement import Reading, answer_classes, kappa_of_counts
from engine.stats.intervals import Estimate, bootstrap, per_group
from engine.stats.scores import word_errors
from engine.systems.catalogue import is_service
from precompute.stages.cells import Cell
from precompute.stages.pairs import KindOf, MatchOf, Paired, in_order, pair_up

MATCHED = ("exact", "ancestor", "self")
_OPEN = "Not defined: open answers have no fixed set of labels."
_ONE_LABEL = "Not defined: a pair gave one and the same label throughout."


def confound_rows(
    cells: Sequence[Cell], match: MatchOf, kind_of: KindOf, *, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of confound.csv: each speech LLM with a matched and a mismatched cascade of the same ears.

    A pair that only the paper calls matched counts as mismatched: its configs differ. Two cascades that heard
    differently anywhere in the run are not compared, for then ears and backbone both differ.
    """
    of_kind = _systems_by_kind(cells, kind_of)
    rows = []
    for speech in of_kind["speech_llm"]:
        matched = {cascade for cascade in of_kind["cascade"] if match(speech, cascade) in MATCHED}
        pairs = [
            (one, other)
            for one, other in permutations(of_kind["cascade"], 2)
            # Nobody knows which backbone a service runs, so it is no example of another one.
            if one in matched
            and other not in matched
            and not is_service(other)
            and _same_ears(cells, one, other)
        ]
        found = (_confound_row(cell, speech, *pair, seed) for cell in cells for pair in pairs)
        rows += [row for row in found if row is not None]
    return rows


def _systems_by_kind(cells: Sequence[Cell], kind_of: KindOf) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for system in in_order({system for cell in cells for system in cell.systems}, kind_of):
        found[kind_of(system)].append(system)
    return found


def _same_ears(cells: Sequence[Cell], one: str, other: str) -> bool:
    """Whether two cascades heard the same words on every clip that both answered."""
    for cell in cells:
        paired = pair_up([cell], one, other)
        for a, b in zip(paired.a, paired.b, strict=True) if paired else ():
            if a.heard != b.heard and "failed" not in (a.status, b.status):
                return False
    return True


def _confound_row(cell: Cell, speech: str, matched: str, mismatched: str, seed: int) -> dict[str, Any] | None:
    with_matched = pair_up([cell], speech, matched, also=[mismatched])
    with_mismatched = pair_up([cell], speech, mismatched, also=[matched])
    if with_matched is None or with_mismatched is None:
        return None
    kappas, delta, others = _difference(with_matched, with_mismatched, seed)
    return {
        "system": speech,
        "matched": matched,
        "mismatched": mismatched,
        "task": cell.task,
        "noise": cell.noise,
        "snr_db": cell.snr_db,
        "n_items": with_matched.n_items,
        "n_groups": with_matched.n_groups,
        "n_clips": len(with_matched.clips),
        "kappa_matched": kappas[0],
        "kappa_mismatched": kappas[1],
        "delta": delta.value,
        "low": delta.low,
        "high": delta.high,
        "delta_unparsed_agree": others[0],
        "delta_both_parsed": others[1],
        "note": delta.note,
    }


def _difference(
    one: Paired, other: Paired, seed: int
) -> tuple[tuple[float, float], Estimate, tuple[float, float]]:
    """Return both kappas, their difference from paired resamples, and the difference in the two other readings."""
    nothing = (math.nan, math.nan)
    if not all(clip.offered for clip in one.clips):
        return nothing, Estimate(math.nan, math.nan, math.nan, one.n_groups, "", _OPEN), nothing
    counts = [paired.confusion() for paired in (one, other)]
    width = counts[0][0].size
    groups = per_group(one.groups, np.concatenate([c.reshape(len(c), -1) for c in counts], axis=1))

    def kappas(sums: np.ndarray, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
        first = np.moveaxis(sums, -1, 0)
        left, right = (
            kappa_of_counts(part.reshape(*of.shape[1:], *first.shape[1:]), reading)
            for part, of in zip((first[:width], first[width:]), counts, strict=True)
        )
        return left, right

    def difference(sums: np.ndarray, reading: Reading = "never") -> np.ndarray:
        left, right = kappas(sums, reading)
        return left - right

    totals = groups.sum(axis=0)
    left, right = kappas(totals, "never")
    delta = bootstrap(groups, difference, seed=seed)
    if math.isnan(delta.value):
        delta = replace(delta, note=_ONE_LABEL)
    others = (float(difference(totals, "agrees")), float(difference(totals, "left out")))
    return (float(left), float(right)), delta, others


def shared_error_rows(cells: Sequence[Cell], match: MatchOf, kind_of: KindOf) -> list[dict[str, Any]]:
    """Return the rows of shared_errors.parquet: a speech LLM and a matched cascade, both wrong with the same label.

    Pairs that are not matched are counted in agreement.csv. Other pairs are left to answers.parquet: two cascades
    have no one transcript, an oracle has none that could be wrong.
    """
    of_kind = _systems_by_kind(cells, kind_of)
    rows = []
    for cell, speech, cascade in product(cells, of_kind["speech_llm"], of_kind["cascade"]):
        kind = match(speech, cascade)
        paired = pair_up([cell], speech, cascade) if kind != "none" else None
        if paired is not None:
            rows += _shared_errors(cell, paired, kind)
    return rows


def _shared_errors(cell: Cell, paired: Paired, match: str) -> list[dict[str, Any]]:
    rows = []
    classes = answer_classes(*paired.labels)
    for clip, a, b, name in zip(paired.clips, paired.a, paired.b, classes, strict=True):
        if name != "both_wrong_same":
            continue
        errors, n_words = word_errors(clip.reference, b.heard)
        rows.append(
            {
                "task": cell.task,
                "noise": cell.noise,
                "snr_db": cell.snr_db,
                "system_a": paired.system_a,
                "system_b": paired.system_b,
                "match": match,
                "item_id": clip.item_id,
                "clip_id": clip.clip_id,
                "gold": clip.gold,
                "wrong_label": a.label,
                "transcript": b.heard,
                "wer": errors / n_words if n_words else math.nan,
                "kind": "unknown" if not n_words else "asr" if errors else "reasoning",
            }
        )
    return rows
