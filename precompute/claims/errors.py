"""Claims about errors: shared beyond chance, and despite a right transcript."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from engine.stats.estimate import Estimate
from engine.stats.intervals import bootstrap_share, per_group
from precompute.claims.measured import Measured
from precompute.claims.verdict import Trial

NEWS = ("topic", "ag_news")  # the paper counted transcripts on AG News; in the mini world topics stand for it
BY_CHANCE = {"overlap_chance": "against chance", "overlap_null": "against dealt answers"}


def shared_errors(run: Measured) -> Iterator[Trial]:
    """P(same wrong label | both wrong) against blind guessing."""
    yield from _overlap(run, "overlap_chance")


def shared_errors_null(run: Measured) -> Iterator[Trial]:
    """The same against the wrong answers of the second system dealt anew."""
    yield from _overlap(run, "overlap_null")


def _overlap(run: Measured, line: str) -> Iterator[Trial]:
    for pairing in run.pairings():
        for task, row in run.agreement(pairing.speech, pairing.cascade).items():
            chance = float(getattr(row, line))
            # Open answers have no chance; the pool would count its tasks twice.
            if task.startswith("all ") or np.isnan(chance) or np.isnan(row.error_overlap):
                continue
            seen = Estimate(
                row.error_overlap, row.error_overlap_low, row.error_overlap_high, int(row.n_groups),
                "bootstrap of groups",
            )  # fmt: skip
            joint = row.both_wrong_same + row.both_wrong_different
            note = f"{joint:,} clips on which both are wrong."
            yield Trial(
                pairing.speech, pairing.cascade, task, f"{pairing.match} match, {BY_CHANCE[line]}",
                seen, chance, note=note,
            )  # fmt: skip


def reasoning_errors(run: Measured) -> Iterator[Trial]:
    """Of the wrong answers that a frozen-backbone model shares with its cascade, those heard rightly."""
    if not run.has("shared_errors"):
        return
    rows = run.clean("shared_errors")
    groups = run.tables["clips"].drop_duplicates("item_id").set_index("item_id")["group"]
    for pairing, task in product(run.pairings("exact"), NEWS):
        mine = rows[
            (rows["system_a"] == pairing.speech)
            & (rows["system_b"] == pairing.cascade)
            & (rows["task"] == task)
            & (rows["kind"] != "unknown")
        ]
        if not len(mine):
            continue
        group = mine["item_id"].map(groups).where(lambda found: found.fillna("") != "", mine["item_id"])
        numbers = np.unique(group.to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)
        heard = (mine["kind"] == "reasoning").to_numpy(float)
        counts = per_group(numbers, np.stack([heard, np.ones_like(heard)], axis=1))
        seen = bootstrap_share(counts, seed=run.seed)
        note = f"{len(mine):,} clips with one and the same wrong answer."
        yield Trial(pairing.speech, pairing.cascade, task, "", seen, 0.5, note=note)
