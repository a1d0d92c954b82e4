"""erasure.csv: every arm of the erasure beside the plain system, and beside controls of equal rank and change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.mechanism_records import NOT_PROVEN
from engine.stats.intervals import bootstrap, bootstrap_share, per_group, ratio
from precompute.mechanism.lens_tables import group_numbers, n_items

if TYPE_CHECKING:
    import pandas as pd

_PLACE = ["method", "scope", "layers", "condition"]
_CONTROLS = ("rank_matched", "change_matched")
_MEANS = ("log_likelihood_change", "right_log_likelihood_change", "relative_change")
NO_CHOICES = "Forced choice: not defined, for answers are open."


def erasure_rows(clips: pd.DataFrame, *, seed: int, note: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of erasure.csv from erasure_clips.

    Differences are taken clip by clip, so that each arm stands beside the plain system, and the eraser beside
    its controls, on the very clips that it ran on.

    Args:
        clips: one row for each system, clip, arm and seed.
        seed: of the resampling of groups.
        note: on rows of a control of equal change that an older run measured otherwise.
    """
    for (system, task), of_task in clips.groupby(["system", "task"], sort=True):
        place = {"system": system, "task": task}
        plain = of_task[of_task["arm"] == "plain"].set_index("clip_id")["correct"].astype(float)
        for where, group in of_task.groupby(_PLACE, sort=True):
            arms = {str(arm): rows for arm, rows in group.groupby("arm", sort=True)}
            for arm, rows in arms.items():
                found = _row(rows, plain, seed)
                if note and "change_matched" in arms and arm in ("erased", "change_matched"):
                    found["note"] = f"{note} {found['note']}".strip()
                yield (
                    place
                    | dict(zip(_PLACE, where, strict=True))
                    | {"arm": arm}
                    | found
                    | _against(arms if arm == "erased" else {}, rows, seed)
                )


def _row(rows: pd.DataFrame, plain: pd.Series[float], seed: int) -> dict[str, Any]:
    hits = np.stack([rows["correct"].to_numpy(float), np.ones(len(rows))], axis=1)
    accuracy = bootstrap_share(per_group(group_numbers(rows), hits), seed=seed)
    by_seed = rows.groupby("seed")
    n_seeds = len(by_seed)
    forced = rows["forced_correct"]
    is_plain = (rows["arm"] == "plain").all()
    change = _difference(rows, rows["clip_id"].map(plain).to_numpy(float), seed)
    return {
        "n_items": n_items(rows),
        "n_groups": accuracy.n,
        "n_clips": rows["clip_id"].nunique(),
        "n_seeds": n_seeds,
        "kept_rank": int(rows["kept_rank"].max()),
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "spread": float(by_seed["correct"].mean().std()) if n_seeds > 1 else np.nan,
        **dict(
            zip(("change", "change_low", "change_high"), (np.nan,) * 3 if is_plain else change, strict=True)
        ),
        "forced_choice_accuracy": float(forced.mean()),
        "forced_choice_spread": float(by_seed["forced_correct"].mean().std()) if n_seeds > 1 else np.nan,
        "unparsed_rate": float((rows["label_status"] != "parsed").mean()),
        **{name: np.nan if is_plain else float(rows[name].mean()) for name in _MEANS},
        "fitted_on": rows["fitted_on"].iloc[0],
        **(_proof(rows.iloc[0]) if (rows["arm"] == "erased").all() else NOT_PROVEN),
        "note": " ".join(filter(None, [accuracy.note, NO_CHOICES if forced.isna().all() else ""])),
    }


def _proof(row: pd.Series[Any]) -> dict[str, Any]:
    """Return the proof's columns, which are the same in every row of a way of erasing."""
    return {name: row[name] for name in NOT_PROVEN}


def _against(arms: dict[str, pd.DataFrame], erased: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return the eraser's accuracy minus that of each control, the mean over its seeds clip by clip."""
    out: dict[str, float] = {}
    for control in _CONTROLS:
        found = (np.nan, np.nan, np.nan)
        if control in arms:
            means = arms[control].groupby("clip_id")["correct"].mean()
            found = _difference(erased, erased["clip_id"].map(means).to_numpy(float), seed)
        name = f"vs_{control}"
        out |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    return out


def _difference(rows: pd.DataFrame, other: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return the mean of right (1) or wrong (0) minus another value of the same clip, with its interval."""
    gaps = np.stack([rows["correct"].to_numpy(float) - other, np.ones(len(rows))], axis=1)
    found = bootstrap(per_group(group_numbers(rows), gaps), ratio, seed=seed)
    return found.value, found.low, found.high
