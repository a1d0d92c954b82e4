"""The latent transcript over many clips: R of the current and the next word and the share of text, layer by layer.

Four trained models in columns (text or random start, interleaved or speech only) on one range of R, their share of
text below, and the models with a continuous encoder on a range of their own. arXiv 2606.22473.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dashboard.figures.charts import CONTROL
from dashboard.figures.panels import Line, Panel, panels_figure
from dashboard.figures.table import Pressed, table_html
from dashboard.interleaved.clips import SHARE, clips_at_layer
from dashboard.interleaved.dots import Shares, fitted
from dashboard.interleaved.measured import (
    AUDIO,
    CURRENT_COLOUR,
    FOUR,
    NEXT_COLOUR,
    UNIT_COLOUR,
    in_model_order,
    model_name,
    models_of,
    notes_of,
    number,
    rows_of,
    span,
    why_none,
)
from dashboard.mechanism.behind import sizes_of
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn, Section
from engine.columns import RECALL, TEXT_SHARE

if TYPE_CHECKING:
    import pandas as pd

CURRENT_NAME, NEXT_NAME, SHARE_NAME = "R, current word", "R, next word", "share of text"
NEVER_TAUGHT = ("never taught: R, current word", "never taught: R, next word")
NEVER_SHARE = "never taught: share of text"
PUBLISHED = (
    "Published (arXiv 2606.22473, abstract): the word being spoken is among the top candidates for up to 77 % of the "
    "data. That is a ceiling over their models, not an average, and the k behind it is not known to us, so it is no "
    "line in these panels."
)
MEANING = (
    "R is recall among the top k text tokens at the word's own positions, minus the same for the words of another "
    "clip. Bands: 95 %, resampled over groups of clips. Share of text: of the probability on text and units; models "
    "with a continuous encoder have no units, so none."
)
RANGES = (
    "The four trained models share one range of R, fitted to them and their bands; the continuous encoders have their "
    "own, so compare those by their numbers and not by height."
)


def draw(source: str, chosen: Mapping[str, str]) -> Drawn:
    """Return the small multiples at k, their table and what must be known of them.

    Raises:
        TableError: the table is damaged.
    """
    k = int(chosen["k"])
    rows = rows_of(source, "interleaved")
    if rows is None:
        return Drawn(None, "", note_html([why_none(source, "interleaved"), PUBLISHED]))
    said = [MEANING, RANGES, *_notes(rows, k), PUBLISHED]
    return Drawn(panels_figure(_grid(rows, k)), _table(rows, k), note_html(said))


def _grid(rows: pd.DataFrame, k: int) -> list[list[Panel]]:
    """Return R of the four, below each its share of text, and last the continuous encoders."""
    never = rows[rows["initialisation"] == "untrained"]
    control = _recall_lines(never, k, NEVER_TAUGHT, (CONTROL, CONTROL), ("dash", "dot"))
    four = [rows[(rows["initialisation"] == start) & (rows["data"] == data)] for start, data in FOUR]
    names = [model_name({"initialisation": start, "data": data}) for start, data in FOUR]
    in_one = _range([*four, never], k)
    grid = [
        [_recall_panel(name, here, control, k, in_one) for name, here in zip(names, four, strict=True)],
        [_share_panel(here, never) for here in four],
    ]
    audio = rows[rows["data"] == AUDIO]
    own = _range([audio, never], k)
    encoders = [
        _recall_panel(f"{model}, R on its own range", audio[audio["model"] == model], control, k, own)
        for model in models_of(audio)
    ]
    titled = zip([*grid, encoders], ("R", SHARE_NAME, "R, own range"), strict=True)
    return [[replace(panels[0], y_title=title), *panels[1:]] for panels, title in titled if panels]


def _range(several: Sequence[pd.DataFrame], k: int) -> Shares:
    """Return what holds R of these models at k, their bands, and 0."""
    ends = [
        end
        for rows in several
        for name in ("excess", "excess_low", "excess_high")
        for end in rows[(rows["measure"] == RECALL) & (rows["k"] == k)][name]
    ]
    return fitted(ends, 0.0)


def _recall_panel(
    title: str, rows: pd.DataFrame, control: tuple[Line, ...], k: int, y_range: Shares
) -> Panel:
    if not len(rows):
        return Panel(title, y_range=y_range, says="not measured")
    lines = _recall_lines(rows, k, (CURRENT_NAME, NEXT_NAME), (CURRENT_COLOUR, NEXT_COLOUR))
    return Panel(title, (*control, *lines), y_range, int(rows["layer"].max()))


def _recall_lines(
    rows: pd.DataFrame,
    k: int,
    names: Sequence[str],
    colours: Sequence[str],
    dashes: Sequence[str] = ("solid", "solid"),
) -> tuple[Line, ...]:
    """Return R of the current and of the next word."""
    at_k = rows[(rows["measure"] == RECALL) & (rows["k"] == k)]
    by_d = [at_k[at_k["d"] == d] for d in (0, 1)]
    return tuple(
        _line(name, found, "excess", colour, dash)
        for name, found, colour, dash in zip(names, by_d, colours, dashes, strict=True)
        if len(found)
    )


def _share_panel(rows: pd.DataFrame, never: pd.DataFrame) -> Panel:
    share, control = (one[one["measure"] == TEXT_SHARE] for one in (rows, never))
    if not len(share):
        return Panel("", says="not measured")
    lines = [_line(NEVER_SHARE, control, "score", CONTROL, "dashdot")] if len(control) else []
    lines.append(_line(SHARE_NAME, share, "score", UNIT_COLOUR, "solid"))
    return Panel("", tuple(lines), last_layer=int(rows["layer"].max()))


def _line(name: str, rows: pd.DataFrame, value: str, colour: str, dash: str) -> Line:
    low, high = ("low", "high") if value == "score" else ("excess_low", "excess_high")
    rows = rows.sort_values("layer")
    layers = [int(layer) for layer in rows["layer"]]
    keys = [_key(row) for row in rows.to_dict("records")] if dash == "solid" else []
    return Line(
        name, layers, list(rows[value]), list(rows[low]), list(rows[high]), keys, dash=dash, colour=colour
    )


def _key(row: Mapping[str, Any]) -> str:
    what = SHARE if row["measure"] == TEXT_SHARE else row["d"]
    return point_key(row["model"], row["step"], row["layer"], row["k"], what)


def _notes(rows: pd.DataFrame, k: int) -> list[str]:
    at_k = rows[(rows["measure"] == RECALL) & (rows["k"] == k)]
    if not len(at_k):
        return [f"Nothing was measured at k = {k}."]
    sizes = sizes_of(at_k, ("n_words", "words"), ("n_groups", "groups"), ("n_clips", "clips"))
    return [f"Behind each point: {sizes}.", *notes_of(at_k.to_dict("records"))]


def _table(rows: pd.DataFrame, k: int) -> str:
    kept = rows[((rows["measure"] == RECALL) & (rows["k"] == k)) | (rows["measure"] == TEXT_SHARE)]
    headers = (
        *("Model", "Key", "Step", "Layer", "Measure", "Score", "95 %", "Control", "R", "95 %"),
        *("Words", "Groups", "Clips"),
    )
    return table_html("As a table", headers, [_cells(row) for row in in_model_order(kept)])


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    is_share = row["measure"] == TEXT_SHARE
    r, score = (number(row[name]) for name in ("excess", "score"))
    # What is not defined has no clips behind it; a model without units has no share of text.
    opens = "score" if is_share else "excess"
    return (
        *(model_name(row), row["model"], row["step"], row["layer"]),
        SHARE_NAME if is_share else ("current word", "next word")[int(row["d"])],
        Pressed(score, "point", _key(row)) if opens == "score" and score != "–" else score,
        span(row["low"], row["high"]),
        number(row["control"]),
        Pressed(r, "point", _key(row)) if opens == "excess" and r != "–" else r,
        span(row["excess_low"], row["excess_high"]),
        *(f"{int(row[name]):,}" for name in ("n_words", "n_groups", "n_clips")),
    )


SECTION = Section(
    key="recall",
    title="Four controls, and continuous encoders",
    says="Does a model trained on interleaved units and text pass through the word being spoken, then the next word, "
    "then back to units? Beside it: random start, speech only, and models that hear through a continuous encoder.",
    tables=("interleaved", "interleaved_clips"),
    options=lambda source: (),
    draw=draw,
    clips=clips_at_layer,
)
