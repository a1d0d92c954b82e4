"""The claim about noise: babble costs a speech LLM more than its cascade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from engine.noise import BABBLES
from engine.stats.estimate import Estimate
from engine.stats.intervals import bootstrap, per_group, ratio
from precompute.claims.measured import Measured, words_only
from precompute.claims.verdict import Trial

if TYPE_CHECKING:
    import pandas as pd


def robustness(run: Measured) -> Iterator[Trial]:
    """Accuracy that the speech LLM loses from clean to the loudest babble, minus what its cascade loses."""
    answers = run.tables["answers"]
    for pairing in run.pairings():
        both = answers[answers["system"].isin((pairing.speech, pairing.cascade))]
        for task, rows in both[both["task"].map(words_only).astype(bool)].groupby("task", sort=True):
            ratios = rows.loc[rows["noise"].isin(BABBLES), "snr_db"]
            if len(ratios):
                loudest = float(ratios.min())
                seen = _extra_loss(_leads(rows, pairing.speech, pairing.cascade), loudest, run.seed)
                detail = f"{pairing.match} match, babble at {loudest:g} dB"
                yield Trial(pairing.speech, pairing.cascade, str(task), detail, seen, 0.0)


def _leads(rows: pd.DataFrame, speech: str, cascade: str) -> pd.DataFrame:
    """Return one row for each clip that both answered: its item, group and noise, and the lead of the speech LLM."""
    about = rows.drop_duplicates("clip_id").set_index("clip_id")[["item_id", "group", "noise", "snr_db"]]
    about["group"] = about["group"].where(about["group"] != "", about["item_id"])
    marks = rows.pivot(index="clip_id", columns="system", values="correct").astype(float)
    both = about.join(marks.reindex(columns=[speech, cascade])).dropna(subset=[speech, cascade])
    return both.assign(lead=both[speech] - both[cascade]).sort_index()


def _extra_loss(both: pd.DataFrame, loudest: float, seed: int) -> Estimate:
    """Return the clean lead minus the lead in noise, over items that were said both ways."""
    levels = both[both["noise"] == "clean"], both[both["noise"].isin(BABBLES) & (both["snr_db"] == loudest)]
    shared = set(levels[0]["item_id"]) & set(levels[1]["item_id"])
    if not shared:
        return Estimate(*(float("nan"),) * 3, 0, "none", "No item was said both clean and in this noise.")
    sums = []
    for level in levels:
        kept = level[level["item_id"].isin(shared)]
        # The same items stand on both sides, so the same groups do, in the same order.
        numbers = np.unique(kept["group"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)
        lead = kept["lead"].to_numpy(float)
        sums.append(per_group(numbers, np.stack([lead, np.ones_like(lead)], axis=1)))
    return bootstrap(np.concatenate(sums, axis=1), lambda s: ratio(s[..., :2]) - ratio(s[..., 2:]), seed=seed)
