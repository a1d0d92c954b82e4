"""interleaved.csv and phases.csv from the tables of clips, and the door to the other tables; loads no model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import RECALL, TEXT_SHARE
from engine.errors import TableError
from engine.stats.boundaries import Boundaries, excess_of, phase_boundaries
from engine.stats.intervals import Estimate, bootstrap, bootstrap_mean, bootstrap_share, per_group, ratio
from engine.tables import read_table
from precompute.interleaved.causal_tables import causal_rows
from precompute.interleaved.knowledge_tables import knowledge_rows

if TYPE_CHECKING:
    import pandas as pd

TOPS = (1, 5, 10)
FOLDER, RECORD = "interleaved", "interleaved.json"  # of the tables of clips
INPUTS = ("interleaved_clips", "knowledge_facts", "causal_clips")
NO_UNITS = "All of the model's head is text, so there is no share of it."
EVERY_UNIT_HEARS = "The encoder hears the whole clip, the next word too."
Row = dict[str, Any]


def interleaved_tables(out: Path, *, seed: int) -> dict[str, list[Row]]:
    """Return name -> rows of every table of interleaved models, {} where no run of it has left its clips.

    Args:
        out: results folder.
        seed: of the resampling of groups.

    Raises:
        TableError: a table of clips is missing, half-written or foreign.
    """
    if not (out / RECORD).exists():
        return {}
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        models, heard = record["models"], record["facts_heard"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{RECORD} is damaged; run the stage again, which writes it anew.") from error
    given = {name: read_table(out / FOLDER / f"{name}.parquet", name) for name in INPUTS}
    layers = list(layer_rows(given["interleaved_clips"], models, seed=seed))
    tables: Mapping[str, Iterable[Row]] = {
        "interleaved": layers,
        "phases": phase_rows(given["interleaved_clips"], models, seed=seed),
        "spoken_knowledge": knowledge_rows(given["knowledge_facts"], layers, models, heard, seed=seed),
        "phase_causal": causal_rows(given["causal_clips"], models, seed=seed),
    }
    return {name: list(rows) for name, rows in tables.items()}


def interleaved_files() -> tuple[str, ...]:
    """Return the files that a run of interleaved models leaves, below the results folder."""
    return (RECORD, *(f"{FOLDER}/{name}.parquet" for name in INPUTS))


def about(models: Mapping[str, Mapping[str, str]], model: str, step: int) -> Row:
    """Return the columns that say which checkpoint a row is of."""
    return {"model": model, **models[model], "step": int(step)}


def layer_rows(clips: pd.DataFrame, models: Mapping[str, Mapping[str, str]], *, seed: int) -> Iterator[Row]:
    """Yield the rows of interleaved.csv: recall at every k of both words, and the text share, layer by layer."""
    for (model, step, layer), rows in clips.groupby(["model", "step", "layer"], sort=True):
        place = about(models, model, step) | {"layer": int(layer)}
        for d, of_word in rows.groupby("d", sort=True):
            for k in TOPS:
                yield place | {"measure": RECALL, "k": k, "d": int(d)} | _recall(of_word, k, seed)
        yield place | {"measure": TEXT_SHARE, "k": 0, "d": 0} | _share(rows[rows["d"] == 0], seed)


def _recall(rows: pd.DataFrame, k: int, seed: int) -> Row:
    sums = _word_sums(rows, k)
    score = bootstrap_share(sums[:, [0, 2]], seed=seed)
    above = np.stack([sums[:, 0] - sums[:, 1], sums[:, 2]], axis=1)
    excess = bootstrap_mean(above, seed=seed, within=(-1.0, 1.0))
    n_words = int(sums[:, 2].sum())
    note = EVERY_UNIT_HEARS if (rows["d"] == 1).all() else ""
    return (
        _interval("score", score)
        | _excess(excess)
        | {
            "control": float(sums[:, 1].sum() / n_words) if n_words else math.nan,
            "n_words": n_words,
            "n_groups": score.n,
            "n_clips": len(rows),
            "note": " ".join(filter(None, (score.note, f"R: {excess.note}" if excess.note else "", note))),
        }
    )


def _share(rows: pd.DataFrame, seed: int) -> Row:
    known = rows[rows["text_share"].notna()]
    nothing = Estimate(math.nan, math.nan, math.nan, 0, "", NO_UNITS)
    share = bootstrap(_share_sums(known), ratio, seed=seed) if len(known) else nothing
    return (
        _interval("score", share)
        | _excess(nothing)
        | {
            "control": math.nan,
            "n_words": int(known["n_positions"].sum()),
            "n_groups": share.n,
            "n_clips": len(known),
            "note": share.note,
        }
    )


def _share_sums(rows: pd.DataFrame) -> np.ndarray:
    positions = rows["n_positions"].to_numpy(float)
    return per_group(_groups(rows), np.stack([rows["text_share"].to_numpy(float) * positions, positions], 1))


def _interval(name: str, found: Estimate) -> Row:
    return {name: found.value, "low": found.low, "high": found.high}


def _excess(found: Estimate) -> Row:
    return {"excess": found.value, "excess_low": found.low, "excess_high": found.high}


def _groups(rows: pd.DataFrame) -> np.ndarray:
    return np.unique(rows["group"].to_numpy(str), return_inverse=True)[1].astype(np.int64)


def phase_rows(clips: pd.DataFrame, models: Mapping[str, Mapping[str, str]], *, seed: int) -> Iterator[Row]:
    """Yield the rows of phases.csv: the boundaries of every checkpoint at every k."""
    for (model, step), rows in clips.groupby(["model", "step"], sort=True):
        first = rows[rows["d"] == 0]
        units = bool(first["text_share"].notna().all())
        share = _by_layer(first, _share_sums) if units else None
        for k in TOPS:
            sums = partial(_word_sums, k=k)
            words = [_by_layer(rows[rows["d"] == d], sums) for d in (0, 1)]
            found = phase_boundaries(words[0], words[1], share, seed=seed)
            place = about(models, model, step) | {"k": k, "n_clips": int(first["clip_id"].nunique())}
            for row in _boundary_rows(found, words, share, seed):
                yield place | row


def _word_sums(rows: pd.DataFrame, k: int) -> np.ndarray:
    """Return hits, the control's hits and words of each group."""
    return per_group(_groups(rows), rows[[f"hits_{k}", f"control_{k}", "n_words"]].to_numpy(float))


def _by_layer(rows: pd.DataFrame, sums: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
    """Return each group's sums [groups, layers, columns]; every layer has the same groups."""
    return np.stack([sums(part) for _, part in rows.groupby("layer", sort=True)], axis=1)


def _boundary_rows(
    found: Boundaries, words: list[np.ndarray], share: np.ndarray | None, seed: int
) -> Iterator[Row]:
    def at(layer: float, sums: np.ndarray | None, statistic: Any) -> Estimate:
        if sums is None or math.isnan(layer):
            return Estimate(math.nan, math.nan, math.nan, 0, "")
        return bootstrap(sums[:, int(layer)], statistic, seed=seed)

    in_order = Estimate(found.in_order, math.nan, math.nan, 0, "")
    for name, boundary, there, undefined in (
        ("current word", found.current, at(found.current.value, words[0], excess_of), 0.0),
        ("next word", found.following, at(found.following.value, words[1], excess_of), 0.0),
        ("speech", found.speech, at(found.speech.value, share, ratio), found.without_speech),
        ("current to next", found.apart, in_order, 0.0),
    ):
        yield _interval("layer", boundary) | {
            "boundary": name,
            "score": there.value,
            "score_low": there.low,
            "score_high": there.high,
            "undefined": undefined,
            "n_groups": boundary.n,
            "note": boundary.note,
        }
