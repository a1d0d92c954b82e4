"""The clips behind a point of the charts of interleaved models, most telling first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import figure, signed
from dashboard.interleaved.measured import model_name, rows_of
from dashboard.mechanism.clip_tables import Filters, mechanism_clips
from dashboard.mechanism.points import layer_of, parts_of
from dashboard.mechanism.section import Listed, ListedClip
from engine.errors import UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

SHARE = "share"
POINT_PARTS = 5  # of a point at a layer
_TOPS = (1, 5, 10)
_WORDS = {"0": "the word being spoken", "1": "the next word"}
_NO_POINT = "This link names a point that this chart does not have; choose one in the chart."
_NO_CLIP = "Not opened: its two ends were said for this measurement alone."
_KNOWLEDGE = "spoken knowledge"
FOLLOWS = "next word follows"


def clips_at_layer(source: str, point: str) -> Listed:
    """Return the clips behind R, or behind the share of text, of a model at a layer.

    Args:
        source: of the numbers.
        point: model, step, layer, k, and 0, 1 or SHARE.

    Raises:
        UnknownKeyError: no chart here made this key.
        TableError: the source has no single clips.
    """
    model, step, layer, k, what = parts_of(point, POINT_PARTS)
    where: Filters = [
        *_of(model, step),
        ("layer", (layer_of(layer),)),
        ("d", (int(what) if what in _WORDS else 0,)),
    ]
    if what != SHARE and (what not in _WORDS or layer_of(k) not in _TOPS):
        raise UnknownKeyError(_NO_POINT)
    rows = mechanism_clips(source, "interleaved_clips", where).to_dict("records")
    name = f"{name_of_model(source, model)}, layer {layer}"
    if what == SHARE:
        shares = _ranked(rows, [float(row["text_share"]) for row in rows])
        cells = [(figure(share), str(row["n_positions"])) for row, share in shares]
        return _listed(f"{name}: share of text", ("Share of text", "Positions"), shares, cells)
    hits, control = f"hits_{k}", f"control_{k}"
    excess = _ranked(
        rows, [(row[hits] - row[control]) / row["n_words"] if row["n_words"] else math.nan for row in rows]
    )
    found = [
        (signed(one, 2), f"{row[hits]} of {row['n_words']}", f"{row[control]} of {row['n_words']}")
        for row, one in excess
    ]
    headers = ("R", "Words found", "Words of another clip found")
    return _listed(f"{name}: {_WORDS[what]} among the top {k}", headers, excess, found)


def clips_of_arm(source: str, point: str) -> Listed:
    """Return the clips behind an arm of the causal chart, those that changed most first.

    Args:
        source: of the numbers.
        point: model, step, arm, outcome.

    Raises:
        UnknownKeyError: no chart here made this key.
        TableError: the source has no single clips.
    """
    model, step, arm, outcome = parts_of(point, 4)
    listed = _of_arm(source, model, step, arm, outcome)
    return _facts(listed) if outcome == _KNOWLEDGE else listed


def _of_arm(source: str, model: str, step: str, arm: str, outcome: str) -> Listed:
    against = "unrelated" if outcome == FOLLOWS else "plain"
    where: Filters = [*_of(model, step), ("outcome", (outcome,)), ("arm", (arm, against))]
    rows = mechanism_clips(source, "causal_clips", where)
    own, other = (_by_clip(rows[rows["arm"] == name]) for name in (arm, against))
    title = f"{name_of_model(source, model)}: {outcome}, {arm.replace('_', ' ')}"
    if arm == against:
        ranked = _ranked(list(own.values()), [one["mean"] for one in own.values()])
        scored = [(signed(one, 2), str(row["n"])) for row, one in ranked]
        return _listed(title, (f"{arm.capitalize()}, mean", "Scored"), ranked, scored)
    changes = [one["mean"] - other[clip]["mean"] if clip in other else math.nan for clip, one in own.items()]
    by_size = sorted(
        zip(own.values(), changes, strict=True), key=lambda pair: (pair[1] != pair[1], -abs(pair[1]))
    )
    cells = [
        (signed(change, 2), figure(row["mean"]), figure(row["mean"] - change), str(row["n"]))
        for row, change in by_size
    ]
    return _listed(
        title, ("Change", arm.replace("_", " ").capitalize(), against.capitalize(), "Scored"), by_size, cells
    )


def facts_of(source: str, point: str) -> Listed:
    """Return the facts behind spoken knowledge, those first whose right end is the likelier one by most.

    Args:
        source: of the numbers.
        point: model, step, "mean" or "sum".

    Raises:
        UnknownKeyError: no chart here made this key.
        TableError: the source has no single facts.
    """
    model, step, how = parts_of(point, 3)
    if how not in ("mean", "sum"):
        raise UnknownKeyError(_NO_POINT)
    ends = ("right", "wrong") if how == "mean" else ("right_sum", "wrong_sum")
    rows = mechanism_clips(source, "knowledge_facts", _of(model, step)).to_dict("records")
    for row in rows:
        row["clip_id"] = row["item_id"]
    ranked = _ranked(rows, [row[ends[0]] - row[ends[1]] for row in rows])
    cells = [(signed(one, 2), figure(row[ends[0]]), figure(row[ends[1]])) for row, one in ranked]
    unit = "nats per unit" if how == "mean" else "nats"
    headers = (f"Right minus counterfactual, {unit}", "Right end", "Counterfactual end")
    return _facts(_listed(f"{name_of_model(source, model)}, step {step}: each fact", headers, ranked, cells))


def name_of_model(source: str, model: str) -> str:
    """Return a model's name on the page; raises UnknownKeyError where the source has no such model."""
    rows = rows_of(source, "interleaved")
    found = [] if rows is None else rows[rows["model"] == model].head(1).to_dict("records")
    if not found:
        raise UnknownKeyError(_NO_POINT)
    return f"{model} ({model_name(found[0])})"


def _of(model: str, step: str) -> Filters:
    if not (step.isascii() and step.isdigit() and len(step) < 10):
        raise UnknownKeyError(_NO_POINT)
    return [("model", (model,)), ("step", (int(step),))]


def _by_clip(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return each clip's mean of what was scored in it, over the seeds of a random arm and over its words."""
    sums = rows.groupby("clip_id", sort=True)[["total", "n"]].sum()
    seeds = max(1, rows["seed"].nunique())
    return {
        str(clip): {
            "clip_id": str(clip),
            "mean": row["total"] / row["n"] if row["n"] else math.nan,
            "n": int(row["n"] / seeds),
        }
        for clip, row in sums.iterrows()
    }


def _ranked(
    rows: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> list[tuple[Mapping[str, Any], float]]:
    """Return rows and their values, the highest first, those without one last."""
    pairs = zip(rows, values, strict=True)
    return sorted(
        pairs,
        key=lambda pair: (
            pair[1] != pair[1],
            -pair[1] if pair[1] == pair[1] else 0.0,
            str(pair[0]["clip_id"]),
        ),
    )


def _facts(listed: Listed) -> Listed:
    """Return a list of facts: they were said for the measurement and are no clips of the run."""
    return replace(listed, noun="fact", closed=_NO_CLIP)


def _listed(
    title: str,
    headers: tuple[str, ...],
    ranked: Sequence[tuple[Mapping[str, Any], float]],
    cells: Sequence[tuple[str, ...]],
) -> Listed:
    rows = zip(ranked, cells, strict=True)
    return Listed(title, headers, tuple(ListedClip(str(row["clip_id"]), cell) for (row, _), cell in rows))
