"""Spoken knowledge: how often the right spoken end of a statement is the likelier, and how that grew in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.figures.table import Pressed, table_html
from dashboard.interleaved.clips import POINT_PARTS, clips_at_layer, facts_of
from dashboard.interleaved.dots import DotPanel, Marks, dots, figure_of, fitted, legend_only, without_zero
from dashboard.interleaved.measured import (
    KNOWLEDGE_COLOUR,
    Row,
    at_last_step,
    in_model_order,
    model_name,
    models_of,
    notes_by,
    number,
    rows_of,
    span,
    why_none,
    with_span,
)
from dashboard.interleaved.training import training_curves
from dashboard.mechanism.behind import sizes_of
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.points import MARK, point_key
from dashboard.mechanism.section import Drawn, Listed, Section
from engine.columns import KNOWLEDGE_MEASURES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

ALL, BY_SUM, HEARD, ONLY_READ, RELATION = KNOWLEDGE_MEASURES
NAMES = {ALL: "all facts", HEARD: "facts that training said aloud", ONLY_READ: "facts that it only read"}
BEYOND = "filled: the interval excludes chance"
CHANCE = 0.5
_COLOURS = {ALL: KNOWLEDGE_COLOUR, HEARD: "#2a95b0", ONLY_READ: "#d0533f"}
_SYMBOLS = {ALL: "circle", HEARD: "diamond", ONLY_READ: "square"}
_SHIFT = {ALL: -0.25, HEARD: 0.0, ONLY_READ: 0.25}
_FACTS = {ALL: "mean", BY_SUM: "sum"}
_ROW, _ABOVE, _LEFT = 50, 40, 158  # in pixels
_LOWEST = 300  # so that the curves beside have room
_BOTH, _ALONE = (0.0, 0.44), (0.0, 1.0)
MEANING = (
    "Share of facts whose right spoken end is likelier than a counterfactual one, by mean log-probability of a unit; "
    "the dotted line is chance. Bars: 95 %, resampled over facts. Models with a continuous encoder speak no units, so "
    "they have no row."
)


def draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    """Return the scores and the training's curves, their table and what must be known of them.

    Raises:
        TableError: the table is damaged.
    """
    rows = rows_of(source, "spoken_knowledge", every_step=True)
    if rows is None:
        return Drawn(None, "", note_html([why_none(source, "spoken_knowledge")]))
    drawn, curves = _figure(source, rows, int(chosen["k"]))
    last = at_last_step(rows)
    sizes = [
        f"{name}: {sizes_of(last[last['measure'] == key], ('n', 'facts'))}" for key, name in NAMES.items()
    ]
    said = [
        MEANING,
        f"{'; '.join(sizes)}.".capitalize(),
        *curves,
        *notes_by(rows.to_dict("records"), "measure"),
    ]
    return Drawn(drawn, _table(rows), note_html(said))


def _figure(source: str, rows: pd.DataFrame, k: int) -> tuple[go.Figure, list[str]]:
    last = at_last_step(rows)
    models = models_of(last)
    height = max(_LOWEST, _ROW * len(models))
    curves = training_curves(rows, rows_of(source, "phases", every_step=True), k)
    shown = last[last["measure"].isin(list(NAMES))]
    ends = [*shown["value"], *shown["low"], *shown["high"]]
    at = {model: place for place, model in enumerate(models)}
    panel = DotPanel(
        titles=("Right end preferred, last checkpoint",),
        rows=tuple(models.values()),
        marks=tuple(_marks(last[last["measure"] == measure], measure, at) for measure in NAMES),
        across=_BOTH if curves.drawings else _ALONE,
        down=(0.0, 1.0),
        x_range=fitted(ends, CHANCE),
        x_title="share of facts",
        line=CHANCE,
    )
    drawings = [dots(panel, 1), *curves.drawings]
    keys = [legend_only(name, _SYMBOLS[one], _COLOURS[one]) for one, name in NAMES.items()]
    keys.append(legend_only(BEYOND, "circle"))
    return figure_of(drawings, height=height, above=_ABOVE, left=_LEFT, keys=keys), list(curves.said)


def _marks(rows: pd.DataFrame, measure: str, at: Mapping[str, int]) -> Marks:
    found = rows.to_dict("records")
    return Marks(
        NAMES[measure],
        _COLOURS[measure],
        [at[row["model"]] + _SHIFT[measure] for row in found],
        [row["value"] for row in found],
        [row["low"] for row in found],
        [row["high"] for row in found],
        symbol=_SYMBOLS[measure],
        told=[without_zero(row["low"] - row["chance"], row["high"] - row["chance"]) for row in found],
        keys=[_key(row) for row in found] if measure in _FACTS else [],
        words=[f"{with_span(row)} of {int(row['n']):,} facts" for row in found],
    )


def _key(row: Row) -> str:
    return point_key(row["model"], row["step"], _FACTS[row["measure"]])


def _clips(source: str, point: str) -> Listed:
    """Return the facts behind a score, or the clips behind a point of the curve of R."""
    return (clips_at_layer if len(point.split(MARK)) == POINT_PARTS else facts_of)(source, point)


def _table(rows: pd.DataFrame) -> str:
    headers = ("Model", "Key", "Step", "Measure", "Value", "95 %", "Chance", "n", "Groups")
    in_order = rows.assign(place=rows["measure"].map(KNOWLEDGE_MEASURES.index)).sort_values(
        ["step", "place"], ascending=[False, True], kind="stable"
    )
    return table_html("As a table", headers, [_cells(row) for row in in_model_order(in_order)])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    value = number(row["value"])
    is_rho = row["measure"] == RELATION
    return (
        *(model_name(row), row["model"], row["step"]),
        "Spearman's rho with R" if is_rho else row["measure"],
        Pressed(value, "point", _key(row)) if row["measure"] in _FACTS else value,
        span(row["low"], row["high"]),
        number(row["chance"], 1),
        f"{int(row['n']):,} checkpoints" if is_rho else f"{int(row['n']):,}",
        f"{int(row['n_groups']):,}",
    )


SECTION = Section(
    key="knowledge",
    title="Spoken knowledge",
    says="Does a model that reads words in its layers also know by ear what the words say? Left: each model beside "
    "chance. Right: the full model's checkpoints, in which both could have grown together.",
    tables=("spoken_knowledge", "knowledge_facts"),
    options=lambda source: (),
    draw=draw,
    clips=_clips,
)
