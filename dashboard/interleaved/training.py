"""The checkpoints of a training: peak R of the current word, and spoken knowledge below it, on one axis of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from dashboard.figures.charts import GRID, TEXT
from dashboard.interleaved.dots import Drawing, Shares, beside, fitted
from dashboard.interleaved.measured import CURRENT_COLOUR, KNOWLEDGE_COLOUR, Row, model_name, with_span
from dashboard.mechanism.charts import interval_bars
from dashboard.mechanism.points import point_key
from engine.columns import BOUNDARIES, KNOWLEDGE_MEASURES

if TYPE_CHECKING:
    import pandas as pd

PEAK_NAME, SCORE_NAME = "peak R of the current word", "all facts"
RELATION_K = 10  # of the tables: rho is that of R at this k
_ACROSS = (0.55, 1.0)
_DOWN: tuple[Shares, Shares] = ((0.0, 0.37), (0.63, 1.0))
_CURRENT, _ALL, _RELATION = BOUNDARIES[0], KNOWLEDGE_MEASURES[0], KNOWLEDGE_MEASURES[-1]


class Curves(NamedTuple):
    """The two panels, none where no training was followed; and what must be known of them."""

    drawings: tuple[Drawing, ...] = ()
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Curve:
    """One panel: a value at each step, on even places; `level` is that of chance."""

    name: str
    colour: str
    title: str
    rows: Sequence[Row]
    columns: tuple[str, str, str]
    keys: Sequence[str]
    level: float


def training_curves(knowledge: pd.DataFrame, phases: pd.DataFrame | None, k: int) -> Curves:
    """Return the curves of the model whose checkpoints were measured.

    Args:
        knowledge: rows of spoken_knowledge.csv, of every step.
        phases: rows of phases.csv, of every step; None where there are none.
        k: of R.
    """
    scored = knowledge[knowledge["measure"] == _ALL]
    several = [model for model, rows in scored.groupby("model") if rows["step"].nunique() > 1]
    if phases is None or not several:
        return Curves()
    model = several[0]
    peaks = phases[(phases["model"] == model) & (phases["k"] == k) & (phases["boundary"] == _CURRENT)]
    known = [row for row in peaks.sort_values("step").to_dict("records") if not math.isnan(row["layer"])]
    scores = scored[scored["model"] == model].sort_values("step").to_dict("records")
    if not known:
        return Curves()
    steps = sorted({int(row["step"]) for row in (*known, *scores)})
    curves = (
        _Curve(
            PEAK_NAME, CURRENT_COLOUR, f"Peak R of the current word, k = {k}", known,
            ("score", "score_low", "score_high"),
            [point_key(model, row["step"], int(row["layer"]), k, 0) for row in known], 0.0,
        ),
        _Curve(
            SCORE_NAME, KNOWLEDGE_COLOUR, "Right end preferred, all facts", scores, ("value", "low", "high"),
            [point_key(model, row["step"], "mean") for row in scores], 0.5,
        ),
    )  # fmt: skip
    rho = knowledge[(knowledge["model"] == model) & (knowledge["measure"] == _RELATION)].to_dict("records")
    said = [relation_of(row) for row in rho]
    drawings = [
        _drawn(curve, steps, number, down)
        for number, (curve, down) in enumerate(zip(curves, _DOWN, strict=True), 2)
    ]
    drawings[1].texts.extend(_between(line) for line in said)
    return Curves(tuple(drawings), (f"Curves: {model_name(scores[0])} ({model}), {len(steps)} checkpoints.",))


def relation_of(row: Row) -> str:
    """Return the rank correlation of both curves, with its interval and n; lines are parted by "|"."""
    return f"Spearman's rho of both {with_span(row)},|n = {int(row['n'])} checkpoints, R at k = {RELATION_K}"


def _between(text: str) -> dict[str, Any]:
    """Return the lines between the two panels, of which they speak."""
    html = "<br>".join(escape(part, quote=False) for part in text.split("|"))
    return beside(
        html, x=_ACROSS[0], y=1 - _DOWN[0][1], yref="paper", xanchor="left", yanchor="top", yshift=-10
    )


def _drawn(curve: _Curve, steps: Sequence[int], number: int, down: Shares) -> Drawing:
    at = {step: place for place, step in enumerate(steps)}
    values, low, high = ([row[column] for row in curve.rows] for column in curve.columns)
    trace = {
        **{"type": "scatter", "mode": "lines+markers", "xaxis": f"x{number}", "yaxis": f"y{number}"},
        **{"x": [at[int(row["step"])] for row in curve.rows], "y": values},
        "error_y": interval_bars(values, low, high, curve.colour),
        **{"name": curve.name, "showlegend": False, "customdata": list(curve.keys)},
        "line": {"color": curve.colour, "width": 2},
        "marker": {"color": curve.colour, "size": 7},
        "text": [_words(row, curve) for row in curve.rows],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
    }
    level = {
        **{"type": "scatter", "mode": "lines", "xaxis": f"x{number}", "yaxis": f"y{number}"},
        **{"x": [-0.4, len(steps) - 0.6], "y": [curve.level] * 2, "hoverinfo": "skip", "showlegend": False},
        "line": {"color": TEXT, "width": 1.2, "dash": "dot"},
    }
    return Drawing(
        [level, trace], _axes(curve, steps, number, down, [*values, *low, *high]), [_title(curve, down)]
    )


def _words(row: Row, curve: _Curve) -> str:
    name = curve.columns[0]
    return f"step {int(row['step']):,}: {with_span(row, name)}"


def _axes(
    curve: _Curve, steps: Sequence[int], number: int, down: Shares, ends: Sequence[float]
) -> dict[str, Any]:
    look = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID}
    above, below = (1 - share for share in down)
    is_last = down[1] == 1.0
    return {
        f"xaxis{number}": {
            **{"domain": _ACROSS, "anchor": f"y{number}", "range": [-0.4, len(steps) - 0.6], **look},
            **{"tickvals": list(range(len(steps))), "ticktext": [f"{step:,}" for step in steps]},
            "showticklabels": is_last,
            "title": {
                "text": "step of the training, checkpoints evenly spaced" if is_last else "",
                **{"standoff": 4, "font": {"size": 11}},
            },
        },
        f"yaxis{number}": {
            **{"domain": (below, above), "anchor": f"x{number}", "nticks": 4, **look},
            "range": list(fitted(ends, curve.level)),
        },
    }


def _title(curve: _Curve, down: Shares) -> dict[str, Any]:
    text = f"<b>{escape(curve.title, quote=False)}</b>"
    return beside(text, x=_ACROSS[0], y=1 - down[0], yref="paper", xanchor="left", yanchor="bottom")
