"""sufficiency.csv: whether a layer's text is enough to answer as the speech LLM does (the implicit cascade)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.stats.agreement import Reading, bootstrap_kappas, cohen_kappa, confusion
from engine.stats.intervals import Estimate, bootstrap_share, per_group
from engine.words import normalise
from precompute.mechanism.lens_tables import group_numbers, n_items
from precompute.stages.cells import class_of_label

if TYPE_CHECKING:
    import pandas as pd

OPEN = "Kappa: not defined, for open answers have no fixed set of labels."
ONE_LABEL = "Kappa: not defined, for both gave one and the same label throughout."
BY_PLACE = "Choices differ by clip and count by their place."


def sufficiency_rows(clips: pd.DataFrame, *, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of sufficiency.csv from implicit_clips.

    Args:
        clips: one row for each system, layer and clip.
        seed: of the resampling of groups.
    """
    for (system, task), of_task in clips.groupby(["system", "task"], sort=True):
        by_place = of_task["choices"].nunique() > 1
        for layer, group in of_task.groupby("layer", sort=True):
            yield {"system": system, "task": task, "layer": int(layer)} | _row(
                group.sort_values(["item_id", "clip_id"]), by_place=by_place, seed=seed
            )


def _row(group: pd.DataFrame, *, by_place: bool, seed: int) -> dict[str, Any]:
    groups = group_numbers(group)
    implicit, speech, cascade = classes_of(group, by_place=by_place).values()
    is_open = not all(group["choices"])
    kappas, of_cascade = (
        _kappas(other, speech, groups, is_open=is_open, seed=seed) for other in (implicit, cascade)
    )
    kappa, by_cascade = kappas["never"], of_cascade["never"]
    accuracy = bootstrap_share(per_group(groups, _hits(group["correct"])), seed=seed)
    notes = [
        kappa.note,
        f"Whisper's transcript: {by_cascade.note}"
        if by_cascade.note != kappa.note and by_cascade.note
        else "",
        BY_PLACE if by_place else "",
        accuracy.note,
    ]
    return {
        "n_items": n_items(group),
        "n_groups": accuracy.n,
        "n_clips": len(group),
        "kappa": kappa.value,
        "low": kappa.low,
        "high": kappa.high,
        "kappa_unparsed_agree": kappas["agrees"].value,
        "kappa_both_parsed": kappas["left out"].value,
        "kappa_cascade": by_cascade.value,
        "cascade_low": by_cascade.low,
        "cascade_high": by_cascade.high,
        "kappa_mismatched": np.nan if is_open else _mismatched_kappa(implicit, speech),
        "agreement": float(
            np.mean([a is not None and a == b for a, b in zip(implicit, speech, strict=True)])
        ),
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "speech_accuracy": float(group["speech_correct"].mean()),
        "cascade_accuracy": float(group["cascade_correct"].mean()),
        "note": " ".join(filter(None, dict.fromkeys(notes))),
    }


def classes_of(group: pd.DataFrame, *, by_place: bool) -> dict[str, list[str | None]]:
    """Return what each answer of implicit_clips is counted as, None without a label, by column of the label."""
    return {
        column: [
            _class_of(label, offered, by_place)
            for label, offered in zip(group[column], group["choices"], strict=True)
        ]
        for column in ("label", "speech_label", "cascade_label")
    }


def _hits(correct: pd.Series[bool]) -> np.ndarray:
    return np.stack([correct.to_numpy(float), np.ones(len(correct))], axis=1)


def _class_of(label: str | None, choices: str, by_place: bool) -> str | None:
    """Return what an answer is counted as; None for one without a label."""
    if label is None:
        return None
    offered = [normalise(choice) for choice in choices.split("|")] if choices else []
    return class_of_label(label, offered, by_place=by_place)


def _mismatched_kappa(a: list[str | None], b: list[str | None]) -> float:
    """Return the mean kappa over all pairings of each clip with the answer to another one's text; NaN for one clip."""
    found = [cohen_kappa([*a[n:], *a[:n]], b) for n in range(1, len(a))]
    return float(np.mean(found)) if found else np.nan


def _kappas(
    a: list[str | None], b: list[str | None], groups: np.ndarray, *, is_open: bool, seed: int
) -> dict[Reading, Estimate]:
    """Return Cohen's kappa in every reading with its interval over groups."""
    if is_open:
        nothing = Estimate(np.nan, np.nan, np.nan, len(np.unique(groups)), "", OPEN)
        return {"never": nothing, "agrees": nothing, "left out": nothing}
    found = bootstrap_kappas(confusion(a, b), groups, seed=seed)
    return {
        reading: replace(one, note=ONE_LABEL) if np.isnan(one.value) else one
        for reading, one in found.items()
    }
