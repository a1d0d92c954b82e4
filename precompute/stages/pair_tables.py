"""agreement.csv: how alike every two systems answer, cell by cell, and pooled over the words-only tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.stats.agreement import (
    READINGS,
    Reading,
    bootstrap_kappas,
    class_counts,
    overlap_chance,
    overlap_null,
)
from engine.stats.intervals import Estimate, bootstrap_mean, bootstrap_share, per_group
from engine.stats.significance import benjamini_hochberg, mcnemar
from precompute.stages.cells import Cell
from precompute.stages.pairs import TWO_CHOICES, KindOf, MatchOf, Paired, pair_up, pairs_in

POOLED = "all words-only"
_OPEN = "not defined, nor is overlap by chance: open answers have no labels."
_ONE_LABEL = "Not defined: both gave one and the same label throughout."
_TWO_CHOICES = "No error overlap: two choices leave one wrong answer."
_NO_JOINT_ERRORS = "Error overlap: not defined, for there is no clip on which both gave a wrong label."
_NO_NULL = "Overlap null: not defined, for no two unrelated items with one right answer were both got wrong."
_FIVE = ("both_right", "a_only", "b_only", "both_wrong_same", "both_wrong_different")


def agreement_rows(
    cells: Sequence[Cell], match: MatchOf, kind_of: KindOf, *, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of agreement.csv; p are adjusted over all of them."""
    rows = []
    for cell in cells:
        for pair in pairs_in([cell], kind_of):
            paired = pair_up([cell], *pair)
            if paired is not None:
                rows.append(_row(paired, cell.task, cell, match, seed))
    pools: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.is_words_only:
            pools[cell.noise, str(cell.snr_db)].append(cell)
    for pool in pools.values():
        for pair in pairs_in(pool, kind_of):
            paired = pair_up(pool, *pair)
            if paired is not None and len(paired.tasks) > 1:
                rows.append(_row(paired, POOLED, pool[0], match, seed))
    adjusted = {name: benjamini_hochberg([row[name] for row in rows]) for name in ("mcnemar_p", "votes_p")}
    return [
        row | {f"{name}_bh": found[place] for name, found in adjusted.items()}
        for place, row in enumerate(rows)
    ]


def kappas_with_intervals(paired: Paired, *, seed: int) -> dict[Reading, Estimate]:
    """Return kappa in every reading with its interval; NaN and the reason where answers are open or all alike."""
    if not all(clip.offered for clip in paired.clips):
        nothing = Estimate(math.nan, math.nan, math.nan, paired.n_groups, "", _OPEN)
        return dict.fromkeys(READINGS, nothing)
    found = bootstrap_kappas(paired.confusion(), paired.groups, seed=seed)
    return {reading: _with_reason(estimate) for reading, estimate in found.items()}


def _with_reason(estimate: Estimate) -> Estimate:
    return replace(estimate, note=_ONE_LABEL) if math.isnan(estimate.value) else estimate


def _row(paired: Paired, task: str, cell: Cell, match: MatchOf, seed: int) -> dict[str, Any]:
    classes = class_counts(*paired.labels)
    kappas = kappas_with_intervals(paired, seed=seed)
    kappa = kappas["never"]
    overlap = _overlap_columns(paired, seed)
    overlap_note = overlap.pop("note")
    _, _, a_right, b_right = paired.labels
    only_a = sum(a and not b for a, b in zip(a_right, b_right, strict=True))
    only_b = sum(b and not a for a, b in zip(a_right, b_right, strict=True))
    lead = _lead(paired, seed)
    votes = paired.votes()
    kappa_note = f"Kappa: {kappa.note}" if kappa.note else ""
    notes = [*_notes(paired, task), kappa_note, overlap_note]
    return {
        "system_a": paired.system_a,
        "system_b": paired.system_b,
        "match": match(paired.system_a, paired.system_b),
        "task": task,
        "noise": cell.noise,
        "snr_db": cell.snr_db,
        "n_items": paired.n_items,
        "n_groups": paired.n_groups,
        "n_clips": len(paired.clips),
        "kappa": kappa.value,
        "low": kappa.low,
        "high": kappa.high,
        "kappa_unparsed_agree": kappas["agrees"].value,
        "kappa_both_parsed": kappas["left out"].value,
        "both_unparsed": sum(a is None and b is None for a, b in zip(*paired.labels[:2], strict=True)),
        **{name: classes[name] for name in _FIVE},
        **overlap,
        "accuracy_difference": lead.value,
        "accuracy_difference_low": lead.low,
        "accuracy_difference_high": lead.high,
        "accuracy_difference_mc_error": lead.mc_error,
        "mcnemar_b": only_a,
        "mcnemar_c": only_b,
        "mcnemar_p": mcnemar(only_a, only_b),
        "votes_a": votes[0],
        "votes_b": votes[1],
        "votes_p": mcnemar(*votes),
        "note": " ".join(note for note in notes if note),
    }


def _lead(paired: Paired, seed: int) -> Estimate:
    """Return the accuracy of the first system minus that of the second on the clips that both answered."""
    _, _, a_right, b_right = paired.labels
    gaps = np.array(a_right, np.float64) - np.array(b_right, np.float64)
    groups = per_group(paired.groups, np.stack([gaps, np.ones_like(gaps)], axis=1))
    return bootstrap_mean(groups, seed=seed, within=(-1.0, 1.0))


def _overlap_columns(paired: Paired, seed: int) -> dict[str, Any]:
    """Return the five columns of the error overlap, and why one is not defined."""
    telling = paired.telling_errors()
    a, b, _, _ = paired.labels
    wrong = np.flatnonzero(telling).tolist()
    same = np.array([telling[n] and a[n] == b[n] for n in range(len(a))], dtype=np.float64)
    counts = np.stack([same, telling.astype(np.float64)], axis=1)
    overlap = bootstrap_share(per_group(paired.groups, counts), seed=seed)
    offered = [len(paired.clips[n].offered) for n in (wrong or range(len(a)))]
    golds = [(int(paired.strata[n]), paired.clips[n].gold_class, len(paired.clips[n].offered)) for n in wrong]
    groups = paired.groups[wrong].tolist()
    # Open questions that happen to share a right answer are too few to say what chance would do.
    is_open = not all(clip.offered for clip in paired.clips)
    a_wrong, b_wrong = ([str(labels[n]) for n in wrong] for labels in (a, b))
    null = math.nan if is_open else overlap_null(a_wrong, b_wrong, golds, groups)
    return {
        "error_overlap": overlap.value,
        "error_overlap_low": overlap.low,
        "error_overlap_high": overlap.high,
        "overlap_chance": overlap_chance(offered) if not is_open and _settled(paired, wrong) else math.nan,
        "overlap_null": null,
        "note": " ".join(_overlap_notes(paired, len(wrong), null, overlap.note)),
    }


def _settled(paired: Paired, wrong: list[int]) -> bool:
    """Whether chance is known: there are joint errors, or every clip has equally many choices."""
    return bool(wrong) or len({len(clip.offered) for clip in paired.clips}) == 1


def _overlap_notes(paired: Paired, n_wrong: int, null: float, of_interval: str) -> Iterable[str]:
    if all(len(clip.offered) == TWO_CHOICES for clip in paired.clips):
        yield _TWO_CHOICES
    elif not n_wrong:
        yield _NO_JOINT_ERRORS
    else:
        if of_interval:
            yield f"Error overlap: {of_interval}"
        if math.isnan(null) and all(clip.offered for clip in paired.clips):
            yield _NO_NULL


def _notes(paired: Paired, task: str) -> Iterable[str]:
    if task == POOLED:
        yield f"Pools {', '.join(paired.tasks)}; chance is taken within each task."
    n_two = sum(len(clip.offered) == TWO_CHOICES for clip in paired.clips)
    if 0 < n_two < len(paired.clips):
        yield f"Error overlap leaves out {n_two:,} clips with two choices."
    n_failed = sum("failed" in (a.status, b.status) for a, b in zip(paired.a, paired.b, strict=True))
    if n_failed:
        yield f"{n_failed:,} clips on which a system failed count as wrong."
