"""lens.csv and noise_lens.csv: what each layer holds of the words, beside the words of other clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import ALL_TASKS
from engine.stats.intervals import bootstrap_mean, bootstrap_share, per_group, ratio

if TYPE_CHECKING:
    import pandas as pd

CLEAN = "clean"
PRECISIONS = {"precision": "control", "set_precision": "set_control"}  # measure -> its control
NO_TOKEN = "{} clips on which the layer reads nothing but marks are left out."


def lens_rows(clips: pd.DataFrame, *, seed: int, note: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of lens.csv from lens_clips: clean clips, each task and all of them together.

    Args:
        clips: the table of clips.
        seed: of the resampling of groups.
        note: on rows of precision, of a control that an older run measured otherwise.
    """
    clean = clips[clips["noise"] == CLEAN]
    for task, of_task in [(ALL_TASKS, clean), *clean.groupby("task", sort=True)]:
        for (system, layer), group in of_task.groupby(["system", "layer"], sort=True):
            place = {"system": system, "task": task, "layer": int(layer)}
            for measure, control in PRECISIONS.items():
                if measure == "set_precision" and group[measure].isna().all():
                    continue  # a run from before it was measured
                found = _precision(group, measure, control, seed, note)
                yield place | {"measure": measure, "n_positions": 0, "score": found.pop(measure)} | found
            for name in ("current", "next"):
                for top in (1, 5, 10):
                    yield place | {"measure": f"{name}_{top}"} | _recall(group, name, top, seed)


def noise_lens_rows(clips: pd.DataFrame, *, seed: int, note: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of noise_lens.csv: items that were heard under noise, clean ones of them included."""
    noisy = set(clips.loc[clips["noise"] != CLEAN, "item_id"])
    chosen = clips[clips["item_id"].isin(noisy)]
    cells = chosen.groupby(["system", "noise", "snr_db", "layer"], sort=True, dropna=False)
    for (system, noise, snr_db, layer), group in cells:
        place = {"system": system, "noise": noise, "snr_db": snr_db, "layer": int(layer)}
        yield place | _precision(group, "precision", "control", seed, note)


def _precision(group: pd.DataFrame, measure: str, control: str, seed: int, note: str) -> dict[str, Any]:
    """Return the mean over clips; the control is the mean over the same clips."""
    read = group[group[measure].notna()]
    values = np.stack([read[measure].to_numpy(float), np.ones(len(read))], axis=1)
    estimate = bootstrap_mean(per_group(group_numbers(read), values), seed=seed)
    lost = len(group) - len(read)
    return {
        measure: estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "control": float(read[control].mean()) if len(read) else np.nan,
        "n_items": n_items(read),
        "n_groups": estimate.n,
        "n_clips": len(read),
        "note": " ".join(filter(None, [note, estimate.note, NO_TOKEN.format(f"{lost:,}") if lost else ""])),
    }


def _recall(group: pd.DataFrame, name: str, top: int, seed: int) -> dict[str, Any]:
    """Return the share of positions; the control asks for other transcripts' words at the same places."""
    hits = group[[f"{name}_{top}", f"n_{name}"]].to_numpy(float)
    estimate = bootstrap_share(per_group(group_numbers(group), hits), seed=seed)
    others = group[[f"mismatched_{top}", "n_mismatched"]].to_numpy(float).sum(axis=0)
    return {
        "score": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "control": float(ratio(others)),
        "n_items": n_items(group),
        "n_groups": estimate.n,
        "n_clips": len(group),
        "n_positions": int(hits[:, 1].sum()),
        "note": estimate.note,
    }


def group_numbers(rows: pd.DataFrame) -> np.ndarray:
    """Return the number of each row's group of related items, the item's own where it has no relatives.

    Groups of two tasks are two, even where they say the same.
    """
    keys = rows["task"] + "|" + rows["group"].where(rows["group"] != "", rows["item_id"])
    _, numbers = np.unique(keys.to_numpy(str), return_inverse=True)
    return numbers.astype(np.int64)


def n_items(rows: pd.DataFrame) -> int:
    """Return the number of items; items of two tasks are two."""
    return len(rows[["task", "item_id"]].drop_duplicates())
