"""phase_causal.csv: what erasing or patching the current word does, beside the controls of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.stats.intervals import Estimate, bootstrap, per_group, ratio

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = {
    "current word": "R at k = 10 of the current word, at its peak: whether the erasure took.",
    "next word": "R at k = 10 of the next word, at its peak.",
    "next unit": "Mean log-probability of the unit that follows, in nats.",
    "spoken knowledge": "Share of facts whose right end is the likelier one; only the prompt's words are erased.",
    "next word follows": (
        "By how many nats the lead of the donor's next word over the clip's own grew, at the peak of the next word. "
        "Change is that of a patched word minus that of an unrelated one."
    ),
}
CONTROLS = ("rank_matched", "change_matched")
NAMES = {
    "change": "Change",
    "vs_rank_matched": "Against equal rank",
    "vs_change_matched": "Against equal change",
}
NOTHING = Estimate(math.nan, math.nan, math.nan, 0, "")
Row = dict[str, Any]


def causal_rows(clips: pd.DataFrame, models: Mapping[str, Mapping[str, str]], *, seed: int) -> Iterator[Row]:
    """Yield the rows of phase_causal.csv; differences are taken clip by clip, means over seeds first.

    Args:
        clips: the table of clips and facts under each arm.
        models: key -> initialisation and data.
        seed: of the resampling of groups.
    """
    for (model, step, outcome), rows in clips.groupby(["model", "step", "outcome"], sort=True):
        place = {"model": model, **models[model], "step": int(step), "outcome": outcome}
        by_arm = {str(arm): _by_item(mine) for arm, mine in rows.groupby("arm", sort=True)}
        for arm, mine in by_arm.items():
            single = rows[rows["arm"] == arm]
            base = by_arm.get("unrelated" if arm == "patched" else "plain")
            change = NOTHING if arm in ("plain", "same_word", "unrelated") else _gap(mine, base, seed)
            against = {
                f"vs_{control}": _gap(mine, by_arm.get(control), seed) if arm == "erased" else NOTHING
                for control in CONTROLS
            }
            gaps = {"change": change} | against
            row = _row(single, mine, seed)
            told = (f"{NAMES[name]}: {gap.note}" for name, gap in gaps.items() if gap.note)
            row["note"] = " ".join((row["note"], *told))
            yield place | {"arm": arm} | row | _named(gaps)


def _by_item(rows: pd.DataFrame) -> pd.DataFrame:
    """Return group, total and n of each item, the mean over seeds."""
    return rows.groupby("item_id", sort=True).agg({"group": "first", "total": "mean", "n": "mean"})


def _row(single: pd.DataFrame, mine: pd.DataFrame, seed: int) -> Row:
    found = bootstrap(_sums(mine, mine["total"]), ratio, seed=seed)
    moved = single["relative_change"]
    return {
        "layers": str(single["layers"].iloc[0]),
        "kept_rank": int(single["kept_rank"].max()),
        "n_seeds": int(single["seed"].nunique()),
        "relative_change": float(moved.mean()) if moved.notna().any() else math.nan,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": int(mine["n"].sum()),
        "n_groups": found.n,
        "n_clips": int(single["clip_id"].nunique()),
        "note": " ".join(filter(None, (OUTCOMES[str(single["outcome"].iloc[0])], found.note))),
    }


def _gap(mine: pd.DataFrame, other: pd.DataFrame | None, seed: int) -> Estimate:
    """Return the difference of two arms over the items that have both."""
    if other is None:
        return NOTHING
    both = mine.join(other["total"].rename("base"), how="inner")
    return bootstrap(_sums(both, both["total"] - both["base"]), ratio, seed=seed)


def _sums(rows: pd.DataFrame, totals: pd.Series[float]) -> np.ndarray:
    numbers = np.unique(rows["group"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
    return per_group(numbers, np.stack([totals.to_numpy(float), rows["n"].to_numpy(float)], axis=1))


def _named(found: Mapping[str, Estimate]) -> Row:
    out: Row = {}
    for name, one in found.items():
        out |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return out
