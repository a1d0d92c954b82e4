"""erasure.csv: every arm of the erasure beside the plain system, and beside controls of equal rank and change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import NOT_PROVEN
from engine.stats.intervals import Estimate, bootstrap_mean, bootstrap_share, per_group
from precompute.mechanism.lens_tables import group_numbers, n_items

if TYPE_CHECKING:
    import pandas as pd

_PLACE = ["method", "scope", "layers", "condition"]
_CONTROLS = ("rank_matched", "change_matched")
AGAINST = tuple(f"vs_{control}" for control in _CONTROLS)
NAMES = {
    "change": "Change",
    "vs_rank_matched": "Against equal rank",
    "vs_change_matched": "Against equal change",
}
NOTHING = Estimate(np.nan, np.nan, np.nan, 0, "")
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
                against = _against(arms, rows, seed) if arm == "erased" else {}
                found = _row(rows, plain, against, seed)
                if note and "change_matched" in arms and arm in ("erased", "change_matched"):
                    found["note"] = f"{note} {found['note']}".strip()
                yield (place | dict(zip(_PLACE, where, strict=True)) | {"arm": arm} | found)


def _row(
    rows: pd.DataFrame, plain: pd.Series[float], against: dict[str, Estimate], seed: int
) -> dict[str, Any]:
    hits = np.stack([rows["correct"].to_numpy(float), np.ones(len(rows))], axis=1)
    accuracy = bootstrap_share(per_group(group_numbers(rows), hits), seed=seed)
    by_seed = rows.groupby("seed")
    n_seeds = len(by_seed)
    forced = rows["forced_correct"]
    is_plain = (rows["arm"] == "plain").all()
    change = NOTHING if is_plain else _difference(rows, rows["clip_id"].map(plain).to_numpy(float), seed)
    gaps = {"change": change} | {name: against.get(name, NOTHING) for name in AGAINST}
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
        **{
            f"{name}{end}": value
            for name, gap in gaps.items()
            for end, value in zip(("", "_low", "_high"), (gap.value, gap.low, gap.high), strict=True)
        },
        "forced_choice_accuracy": float(forced.mean()),
        "forced_choice_spread": float(by_seed["forced_correct"].mean().std()) if n_seeds > 1 else np.nan,
        "unparsed_rate": float((rows["label_status"] != "parsed").mean()),
        **{name: np.nan if is_plain else float(rows[name].mean()) for name in _MEANS},
        "fitted_on": rows["fitted_on"].iloc[0],
        **(_proof(rows.iloc[0]) if (rows["arm"] == "erased").all() else NOT_PROVEN),
        "note": " ".join(
            filter(
                None,
                [
                    accuracy.note,
                    *(f"{NAMES[name]}: {gap.note}" for name, gap in gaps.items() if gap.note),
                    NO_CHOICES if forced.isna().all() else "",
                ],
            )
        ),
    }


def _proof(row: pd.Series[Any]) -> dict[str, Any]:
    """Return the proof's columns, which are the same in every row of a way of erasing."""
    return {name: row[name] for name in NOT_PROVEN}


def _against(arms: dict[str, pd.DataFrame], erased: pd.DataFrame, seed: int) -> dict[str, Estimate]:
    """Return the eraser's accuracy minus that of each control, the mean over its seeds clip by clip."""
    means = {
        f"vs_{control}": arms[control].groupby("clip_id")["correct"].mean()
        for control in _CONTROLS
        if control in arms
    }
    return {
        name: _difference(erased, erased["clip_id"].map(mean).to_numpy(float), seed)
        for name, mean in means.items()
    }


def _difference(rows: pd.DataFrame, other: np.ndarray, seed: int) -> Estimate:
    """Return the mean of right (1) or wrong (0) minus another value of the same clip, with its interval."""
    gaps = np.stack([rows["correct"].to_numpy(float) - other, np.ones(len(rows))], axis=1)
    return bootstrap_mean(per_group(group_numbers(rows), gaps), seed=seed, within=(-1.0, 1.0))
