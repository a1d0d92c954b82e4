"""The latent transcript over many clips: R of the current and the next word and the share of text, layer by layer.

Four trained models in small multiples (text or random start, interleaved or speech only), the models with a continuous
encoder beside them, and in each panel the model that was never taught as the control. arXiv 2606.22473.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dashboard.figures.charts import CONTROL, HIT, OTHERS
from dashboard.figures.panels import Line, Panel, panels_figure
from dashboard.figures.table import table_html
from dashboard.mechanism.behind import has_table
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.section import Drawn
from dashboard.tables import folder_of, table, why_empty
from engine.interleaved_records import RECALL, TEXT_SHARE

if TYPE_CHECKING:
    import pandas as pd

Y_RANGE = (-0.15, 1.0)  # R may lie below its control
COMMAND = "python -m precompute run --stage interleaved --out DIR"
NEXT_COLOUR = "#c9822b"
CURRENT_NAME, NEXT_NAME, SHARE_NAME = "R, current word", "R, next word", "share of text"
NEVER_TAUGHT = ("never taught: R, current word", "never taught: R, next word")
FOUR = (
    ("text", "interleaved"),
    ("random", "interleaved"),
    ("text", "speech only"),
    ("random", "speech only"),
)
_STARTS = {"text": "text start", "random": "random start", "untrained": "never taught"}
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


def rows_of(source: str, name: str) -> pd.DataFrame | None:
    """Return a table of what a run measured, each model at its last checkpoint; None where it measured none.

    Raises:
        TableError: the table is damaged.
    """
    if source == "published" or not has_table(source, name):
        return None
    found = table(source, name)
    last = found.groupby("model")["step"].transform("max") if len(found) else found.get("step")
    kept = found[found["step"] == last]
    return kept if len(kept) else None


def why_none(source: str, name: str) -> str:
    """Return why there are no rows, in one sentence."""
    if folder_of(source) is None:
        return why_empty(source)
    return f"This run has no table {name} yet; measure it with {COMMAND}, then summarize the run again."


def draw(source: str, k: int) -> Drawn:
    """Return the small multiples at k, their table and what must be known of them.

    Raises:
        TableError: the table is damaged.
    """
    rows = rows_of(source, "interleaved")
    if rows is None:
        return Drawn(None, "", note_html([why_none(source, "interleaved"), PUBLISHED]))
    never = rows[rows["initialisation"] == "untrained"]
    control = _recall_lines(never, k, NEVER_TAUGHT, (CONTROL, CONTROL), ("dash", "dot"))
    four = [_panel(rows, control, k, start, data) for start, data in FOUR]
    others = [
        _panel_of(rows[rows["model"] == model], control, k, f"{model}, continuous encoder")
        for model in sorted(set(rows[rows["data"] == "audio"]["model"]))
    ]
    grid = [four, others] if others else [four]
    said = [MEANING, *_notes(rows, k), PUBLISHED]
    return Drawn(panels_figure(grid), _table(rows, k), note_html(said))


def _panel(rows: pd.DataFrame, control: tuple[Line, ...], k: int, start: str, data: str) -> Panel:
    here = rows[(rows["initialisation"] == start) & (rows["data"] == data)]
    return _panel_of(here, control, k, f"{_STARTS[start]}, {data}")


def _panel_of(rows: pd.DataFrame, control: tuple[Line, ...], k: int, title: str) -> Panel:
    if not len(rows):
        return Panel(title, y_range=Y_RANGE, says="not measured")
    share = rows[rows["measure"] == TEXT_SHARE].sort_values("layer")
    lines = [
        *control,
        *([_line(SHARE_NAME, share, "score", OTHERS, "solid")] if len(share) else []),
        *_recall_lines(rows, k, (CURRENT_NAME, NEXT_NAME), (HIT, NEXT_COLOUR), ("solid", "solid")),
    ]
    return Panel(title, tuple(lines), Y_RANGE, int(rows["layer"].max()))


def _recall_lines(
    rows: pd.DataFrame, k: int, names: Sequence[str], colours: Sequence[str], dashes: Sequence[str]
) -> tuple[Line, ...]:
    """Return R of the current and of the next word."""
    at_k = rows[(rows["measure"] == RECALL) & (rows["k"] == k)]
    by_d = [at_k[at_k["d"] == d].sort_values("layer") for d in (0, 1)]
    return tuple(
        _line(name, found, "excess", colour, dash)
        for name, found, colour, dash in zip(names, by_d, colours, dashes, strict=True)
        if len(found)
    )


def _line(name: str, rows: pd.DataFrame, value: str, colour: str, dash: str) -> Line:
    low, high = ("low", "high") if value == "score" else ("excess_low", "excess_high")
    layers = [int(layer) for layer in rows["layer"]]
    return Line(name, layers, list(rows[value]), list(rows[low]), list(rows[high]), dash=dash, colour=colour)


def _notes(rows: pd.DataFrame, k: int) -> list[str]:
    at_k = rows[(rows["measure"] == RECALL) & (rows["k"] == k)]
    if not len(at_k):
        return [f"Nothing was measured at k = {k}."]
    sizes = [
        f"{int(at_k[column].min()):,} to {int(at_k[column].max()):,} {noun}"
        if at_k[column].min() != at_k[column].max()
        else f"{int(at_k[column].max()):,} {noun}"
        for column, noun in (("n_words", "words"), ("n_groups", "groups"), ("n_clips", "clips"))
    ]
    return [f"Behind each point: {', '.join(sizes)}.", *dict.fromkeys(filter(None, at_k["note"]))]


def _table(rows: pd.DataFrame, k: int) -> str:
    kept = rows[((rows["measure"] == RECALL) & (rows["k"] == k)) | (rows["measure"] == TEXT_SHARE)]
    headers = (
        *("Model", "Start", "Data", "Step", "Layer", "Measure", "Score", "95 %", "Control", "R", "95 %"),
        *("Words", "Groups", "Clips"),
    )
    return table_html("As a table", headers, [_cells(row) for row in kept.to_dict("records")])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    what = SHARE_NAME if row["measure"] == TEXT_SHARE else ("current word", "next word")[int(row["d"])]
    return (
        *(str(row[name]) for name in ("model", "initialisation", "data", "step", "layer")),
        what,
        number(row["score"]),
        span(row["low"], row["high"]),
        number(row["control"]),
        number(row["excess"]),
        span(row["excess_low"], row["excess_high"]),
        *(f"{int(row[name]):,}" for name in ("n_words", "n_groups", "n_clips")),
    )


def number(value: float, digits: int = 2) -> str:
    """Return a number, "–" where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def span(low: float, high: float, digits: int = 2) -> str:
    """Return an interval, "–" where it is not defined."""
    if math.isnan(low) or math.isnan(high):
        return "–"
    return f"{number(low, digits)} to {number(high, digits)}"
