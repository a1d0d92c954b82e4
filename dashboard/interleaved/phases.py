"""Where the phases lie: the layers at which R peaks, and the first at which units outweigh text, a row a model.

The definitions are ours. A boundary that does not exist is said at its row and never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dashboard.figures.charts import TEXT
from dashboard.figures.table import Pressed, table_html
from dashboard.interleaved.clips import SHARE, clips_at_layer
from dashboard.interleaved.dots import DotPanel, Marks, dots, figure_of, legend_only, without_zero
from dashboard.interleaved.measured import (
    CURRENT_COLOUR,
    NEXT_COLOUR,
    UNIT_COLOUR,
    Row,
    in_model_order,
    model_name,
    models_of,
    notes_of,
    number,
    percent_of,
    rows_of,
    span,
    why_none,
    with_span,
)
from dashboard.mechanism.behind import sizes_of
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn, Section
from engine.columns import BOUNDARIES

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

CURRENT, NEXT, SPEECH, APART = BOUNDARIES
NAMES = {
    CURRENT: "R of the current word peaks",
    NEXT: "R of the next word peaks",
    SPEECH: "first layer of speech",
}
STROKE = "line-ns-open"
LAST_NAME = "the model's last layer"
NOT_ZERO = "open: the interval of R at the peak holds 0"
_COLOURS = {CURRENT: CURRENT_COLOUR, NEXT: NEXT_COLOUR, SPEECH: UNIT_COLOUR}
_SHIFT = {CURRENT: -0.25, NEXT: 0.0, SPEECH: 0.25}
_SYMBOLS = {CURRENT: "circle", NEXT: "diamond", SPEECH: "square"}
_WHAT = {CURRENT: "0", NEXT: "1", SPEECH: SHARE}
_ROW, _ABOVE, _LEFT = 50, 10, 178  # in pixels
_ACROSS = (0.0, 0.6)
MEANING = (
    "The layer at which R is largest for the current word, the one for the next word, and the first layer after that "
    "at which units outweigh text. Bars: 95 %, resampled over groups of clips. Models differ in depth: layers are "
    "numbered from 0, what the first block receives, and a stroke marks each model's last one."
)
LARGEST = (
    "A peak is the largest of all layers, so R there leans upwards and a model that reads nothing has a peak too: "
    "the one never taught shows how far."
)


def draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    """Return the boundaries at k, their table and what must be known of them.

    Raises:
        TableError: the table is damaged.
    """
    k = int(chosen["k"])
    rows = rows_of(source, "phases")
    if rows is None:
        return Drawn(None, "", note_html([why_none(source, "phases")]))
    rows = rows[rows["k"] == k]
    if not len(rows):
        return Drawn(None, "", note_html([f"Nothing was measured at k = {k}."]))
    sizes = sizes_of(rows, ("n_groups", "groups"), ("n_clips", "clips"))
    said = [MEANING, LARGEST, f"Behind each mark: {sizes}.", *notes_of(rows.to_dict("records"))]
    return Drawn(_figure(rows, _last_layers(source)), _table(rows), note_html(said))


def _last_layers(source: str) -> dict[str, int]:
    rows = rows_of(source, "interleaved")
    return (
        {}
        if rows is None
        else {str(one): int(last) for one, last in rows.groupby("model")["layer"].max().items()}
    )


def _figure(rows: pd.DataFrame, last: Mapping[str, int]) -> go.Figure:
    models = models_of(rows)
    deepest = max([*last.values(), *(int(one) for one in rows["high"].dropna())], default=1)
    at = {model: place for place, model in enumerate(models)}
    ends = Marks(
        LAST_NAME,
        TEXT,
        [at[model] for model in models if model in last],
        [last[model] for model in models if model in last],
        symbol=STROKE,
        words=[f"{models[model]}: the last layer is {last[model]}" for model in models if model in last],
    )
    marks = [_marks(rows[rows["boundary"] == name], name, at) for name in (CURRENT, NEXT, SPEECH)]
    panel = DotPanel(
        titles=(),
        rows=tuple(models.values()),
        marks=(ends, *marks),
        across=_ACROSS,
        down=(0.0, 1.0),
        x_range=(-0.4, deepest + 0.4),
        x_title="layer",
        whole=True,
        said={at[model]: _said(rows[rows["model"] == model]) for model in models},
    )
    keys = [legend_only(name, _SYMBOLS[one], _COLOURS[one]) for one, name in NAMES.items()]
    keys += [legend_only(LAST_NAME, STROKE, TEXT), legend_only(NOT_ZERO, "circle-open")]
    return figure_of([dots(panel, 1)], height=_ROW * len(models), above=_ABOVE, left=_LEFT, keys=keys)


def _marks(rows: pd.DataFrame, name: str, at: Mapping[str, int]) -> Marks:
    found = [row for row in rows.to_dict("records") if not math.isnan(row["layer"])]
    return Marks(
        NAMES[name],
        _COLOURS[name],
        [at[row["model"]] + _SHIFT[name] for row in found],
        [row["layer"] for row in found],
        [row["low"] for row in found],
        [row["high"] for row in found],
        symbol=_SYMBOLS[name],
        told=[name == SPEECH or without_zero(row["score_low"], row["score_high"]) for row in found],
        keys=[_key(row) for row in found],
        words=[_words(row) for row in found],
    )


def _key(row: Row) -> str:
    return point_key(row["model"], row["step"], int(row["layer"]), row["k"], _WHAT[row["boundary"]])


def _words(row: Row) -> str:
    there = "share of text" if row["boundary"] == SPEECH else "R"
    return f"layer {with_span(row, 'layer', 0)}; {there} there {with_span(row, 'score')}"


def _said(rows: pd.DataFrame) -> str:
    """Return what stands at a model's row: how far the peaks lie apart, and what is undefined."""
    by_name = {row["boundary"]: row for row in rows.to_dict("records")}
    lines = []
    apart = by_name.get(APART)
    if apart and not math.isnan(apart["layer"]):
        order = (
            f"; next after current in {percent_of(apart['score'])} of resamples"
            if not math.isnan(apart["score"])
            else ""
        )
        lines.append(f"peaks {with_span(apart, 'layer', 0)} apart{order}")
    lines += [
        said
        for name in (CURRENT, NEXT, SPEECH)
        if name in by_name
        for said in [undefined(by_name[name])]
        if said
    ]
    return "<br>".join(lines)


def undefined(row: Row) -> str:
    """Return in how many resamples a boundary does not exist; "" where it always does."""
    name = {SPEECH: "speech"}.get(row["boundary"], row["boundary"])
    share = row["undefined"]
    if math.isnan(row["layer"]) and share < 1:
        return f"{name}: no such layer; there is one in {percent_of(1 - share)} of resamples"
    if math.isnan(row["layer"]) and math.isnan(share):
        return f"{name}: no such layer"
    return f"{name}: no such layer in {percent_of(share)} of resamples" if share > 0 else ""


def _table(rows: pd.DataFrame) -> str:
    headers = ("Model", "Key", "Boundary", "Layer", "95 %", "There", "95 %", "No such layer", "Groups")
    return table_html("As a table", headers, [_cells(row) for row in _listed(rows)])


def _listed(rows: pd.DataFrame) -> list[dict[str, Any]]:
    in_order = rows.assign(place=rows["boundary"].map(BOUNDARIES.index)).sort_values("place", kind="stable")
    return in_model_order(in_order)


def _cells(row: Row) -> tuple[object, ...]:
    layer, share = number(row["layer"], 0), row["undefined"]
    opens = row["boundary"] in _WHAT and layer != "–"
    return (
        *(model_name(row), row["model"], row["boundary"]),
        Pressed(layer, "point", _key(row)) if opens else layer,
        span(row["low"], row["high"], 0),
        number(row["score"]),
        span(row["score_low"], row["score_high"]),
        "–" if math.isnan(share) else percent_of(share),
        f"{int(row['n_groups']):,}",
    )


SECTION = Section(
    key="phases",
    title="Where the phases lie",
    says="Three phases would stand from left to right: the current word's peak, then the next word's, then speech.",
    tables=("phases", "interleaved_clips"),
    options=lambda source: (),
    draw=draw,
    clips=clips_at_layer,
)
