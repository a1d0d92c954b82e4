"""effects.parquet: what an erasure and its random controls change, task by task and pooled, and what can be said.

Every arm ran on the same clips as the eraser, so differences are taken on each clip and then averaged; pooled over
tasks, each clip counts once. All figures of one place share their resamples of groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import ALL_TASKS, CONTROLS, EFFECT_MEASURES, FEWEST_GROUPS, LEVEL, EffectMeasure, Verdict
from engine.request import CONDITIONS
from engine.stats.intervals import Estimate, bootstrap_means, per_group
from precompute.mechanism.lens_tables import group_numbers

if TYPE_CHECKING:
    import pandas as pd

_PLACE = ["method", "scope", "layers", "condition"]
# What is compared with what.
COMPARED = (
    *((arm, LEVEL) for arm in ("plain", "erased", *CONTROLS)),
    *((arm, "plain") for arm in ("erased", *CONTROLS)),
    *(("erased", control) for control in CONTROLS),
)
_SAID: dict[Verdict, str] = {
    "exceeds": "more harm than",
    "below": "less harm than",
    "within": "not told from",
    "too few groups": "too few groups of items to compare with",
    "": "",
}


def effect_rows(clips: pd.DataFrame, *, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of effects from erasure_clips.

    Args:
        clips: one row for each system, clip, arm and seed.
        seed: of the resampling of groups.
    """
    clips = clips.assign(unparsed=(clips["label_status"] != "parsed").astype(float))
    for system, of_system in clips.groupby("system", sort=True):
        plain = _by_clip(of_system[of_system["arm"] == "plain"])
        for where, rows in of_system[of_system["arm"] != "plain"].groupby(_PLACE, sort=True):
            place = {"system": system, **dict(zip(_PLACE, where, strict=True))}
            erased = rows[rows["arm"] == "erased"].drop_duplicates("clip_id")
            if not len(erased):
                continue
            arms = {"plain": plain} | {
                str(arm): _by_clip(of_arm) for arm, of_arm in rows.groupby("arm", sort=True)
            }
            values = {arm: found.reindex(erased["clip_id"]) for arm, found in arms.items()}
            groups = group_numbers(erased)
            tasks = erased["task"].to_numpy(str)
            for task in (ALL_TASKS, *dict.fromkeys(tasks)):
                chosen = np.full(len(tasks), True) if task == ALL_TASKS else tasks == task
                yield from _rows_of(
                    place | {"task": task},
                    {arm: one[chosen] for arm, one in values.items()},
                    groups[chosen],
                    seed,
                )


def _by_clip(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each clip's measures, the mean over the seeds of an arm."""
    columns = [measure.column for measure in EFFECT_MEASURES.values()]
    return rows[columns].astype(float).groupby(rows["clip_id"]).mean()


def _rows_of(
    place: dict[str, Any], values: dict[str, pd.DataFrame], groups: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a place's rows of one task: one for each measure and comparison that has a clip."""
    asked: list[tuple[str, EffectMeasure, str, str]] = []
    columns, ranges = [], []
    for key, measure in EFFECT_MEASURES.items():
        for arm, against in COMPARED:
            if not {arm, against} <= {*values, LEVEL}:
                continue
            first, second = (_column(values, one, measure) for one in (arm, against))
            gaps = first - second
            known = ~np.isnan(gaps)
            if known.any():
                asked.append((key, measure, arm, against))
                columns.append(np.stack([np.where(known, gaps, 0.0), known.astype(float)], axis=1))
                ranges.append(None if measure.is_change else (0.0 if against == LEVEL else -1.0, 1.0))
    if not asked:
        return
    stacked = np.stack(columns, axis=1)
    sums = per_group(groups, stacked.reshape(len(groups), -1)).reshape(-1, *stacked.shape[1:])
    found = bootstrap_means(sums, seed=seed, within=ranges)
    for index, (key, measure, arm, against) in enumerate(asked):
        # A group none of whose clips has this measure is no evidence.
        estimate = replace(found[index], n=int((sums[:, index, 1] > 0).sum()))
        verdict = "" if against == LEVEL else verdict_of(estimate, measure)
        yield {
            **place,
            "measure": key,
            "arm": arm,
            "against": against,
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "mc_error": estimate.mc_error,
            "n_groups": estimate.n,
            "n_clips": int(sums[:, index, 1].sum()),
            "verdict": verdict,
            "reading": _reading(place, measure, arm, against, estimate, verdict)
            if place["task"] == ALL_TASKS and against != LEVEL
            else "",
            "note": estimate.note,
        }


def _column(values: dict[str, pd.DataFrame], arm: str, measure: EffectMeasure) -> np.ndarray:
    """Return an arm's value of each clip; the plain system has no change, and nothing is 0."""
    n = len(next(iter(values.values())))
    if arm == LEVEL or (arm == "plain" and measure.is_change):
        return np.zeros(n)
    found: np.ndarray = values[arm][measure.column].to_numpy(float)
    return found


def verdict_of(found: Estimate, measure: EffectMeasure) -> Verdict:
    """Return whether the harm exceeds what it is compared with: its interval must exclude 0, over enough groups.

    An end within its Monte-Carlo error of 0 excludes nothing: other resamples could turn it.
    """
    if found.n < FEWEST_GROUPS or np.isnan(found.low):
        return "too few groups"
    error = 0.0 if np.isnan(found.mc_error) else found.mc_error
    if found.low <= error and found.high >= -error:
        return "within"
    return "exceeds" if np.sign(found.value) == measure.harm else "below"


def _reading(
    place: dict[str, Any], measure: EffectMeasure, arm: str, against: str, found: Estimate, verdict: Verdict
) -> str:
    """Return one sentence: what was erased where, and what of it can be said."""
    name = CONDITIONS[place["condition"]].name if place["condition"] in CONDITIONS else place["condition"]
    subject = f"{name} erased" if arm == "erased" else f"Random directions {CONTROLS[arm]} with {name}"
    other = "the plain system" if against == "plain" else f"random directions {CONTROLS[against]}"
    value, low, high = (measure.scale * one for one in (found.value, found.low, found.high))
    return (
        f"{subject} at {place['layers']} ({place['method']}, {place['scope']} positions): {_SAID[verdict]} {other}, "
        f"{value:+.{measure.digits}f} {measure.unit} [{low:.{measure.digits}f}, {high:.{measure.digits}f}] in "
        f"{measure.name}, {found.n:,} groups."
    )
