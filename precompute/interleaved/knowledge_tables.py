"""spoken_knowledge.csv: how often the right end is the likelier one, and whether that rises with R."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import RECALL
from engine.stats.intervals import bootstrap_share
from engine.stats.significance import spearman

if TYPE_CHECKING:
    import pandas as pd

RELATION_K = 10
HOW = "The end with the higher mean log-probability of a unit; the whole statement is said, so ends may be heard early."
BY_SUM = "The end with the higher log-probability as a whole; ends differ in length."
HALVES = {
    True: "Facts that training said aloud in other forms.",
    False: (
        "Facts that training gave as text only, or not at all where it gave speech only. Their wrong ends are other "
        "facts' right ones and may have been said aloud, so a model that knows sounds alone falls below chance."
    ),
}
ONE_TRAINING = (
    "Checkpoints of one training: both figures change with the steps, so this says nothing of cause."
)
Row = dict[str, Any]


def knowledge_rows(
    facts: pd.DataFrame,
    layers: Sequence[Mapping[str, Any]],
    models: Mapping[str, Mapping[str, str]],
    heard: Mapping[str, bool],
    *,
    seed: int,
) -> Iterator[Row]:
    """Yield the rows of spoken_knowledge.csv.

    Args:
        facts: the table of facts.
        layers: rows of interleaved.csv, for the relation.
        models: key -> initialisation and data.
        heard: fact -> whether training said it aloud.
        seed: of the resampling of facts.
    """
    scores: dict[str, dict[int, float]] = {}
    for (model, step), rows in facts.groupby(["model", "step"], sort=True):
        place = {"model": model, **models[model], "step": int(step)}
        by_mean, by_sum = (
            (rows[f"right{end}"] > rows[f"wrong{end}"]).to_numpy(float) for end in ("", "_sum")
        )
        of_half = rows["item_id"].map(heard).to_numpy(bool)
        every = np.ones(len(rows), dtype=bool)
        for measure, preferred, chosen, note in (
            ("preferred", by_mean, every, HOW),
            ("preferred by sum", by_sum, every, BY_SUM),
            ("preferred, heard", by_mean, of_half, HALVES[True]),
            ("preferred, only read", by_mean, ~of_half, HALVES[False]),
        ):
            row = place | {"measure": measure} | _share(preferred[chosen], note, seed)
            if measure == "preferred":
                scores.setdefault(model, {})[int(step)] = row["value"]
            yield row
    for model, by_step in scores.items():
        if len(by_step) > 1:
            yield {"model": model, **models[model], "measure": "relation"} | _relation(by_step, model, layers)


def _share(preferred: np.ndarray, note: str, seed: int) -> Row:
    found = bootstrap_share(np.stack([preferred, np.ones(len(preferred))], axis=1), seed=seed)
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "chance": 0.5,
        "n": len(preferred),
        "n_groups": found.n,
        "note": " ".join(filter(None, (note, found.note))),
    }


def _relation(by_step: Mapping[int, float], model: str, layers: Sequence[Mapping[str, Any]]) -> Row:
    """Return Spearman's rho of peak R with the score over the checkpoints that have both."""
    peaks: dict[int, float] = {}
    for row in layers:
        if (row["model"], row["measure"], row["k"], row["d"]) == (model, RECALL, RELATION_K, 0):
            peaks[row["step"]] = max(peaks.get(row["step"], -1.0), row["excess"])
    steps = sorted(by_step.keys() & peaks.keys())
    found = spearman([peaks[step] for step in steps], [by_step[step] for step in steps])
    return {
        "step": max(by_step),
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "chance": 0.0,
        "n": found.n,
        "n_groups": found.n,
        "note": " ".join(filter(None, (ONE_TRAINING, found.note))),
    }
