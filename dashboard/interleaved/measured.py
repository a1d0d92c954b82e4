"""What the charts of interleaved models share: their rows, the models in order and by name, numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dashboard.figures.charts import HIT, OTHERS
from dashboard.mechanism.behind import has_table
from dashboard.tables import folder_of, table, why_empty

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

COMMAND = "python -m precompute run --stage interleaved --out DIR"
# As the live view has them, so that one legend is learnt once; each reads on white and on the dark card.
CURRENT_COLOUR, NEXT_COLOUR, UNIT_COLOUR, KNOWLEDGE_COLOUR = HIT, "#c9822b", OTHERS, "#8a6fd1"
FOUR = (
    ("text", "interleaved"),
    ("random", "interleaved"),
    ("text", "speech only"),
    ("random", "speech only"),
)
_STARTS = {"text": "text start", "random": "random start"}
AUDIO = "audio"


def rows_of(source: str, name: str, *, every_step: bool = False) -> pd.DataFrame | None:
    """Return a table of what a run measured; None where it measured none.

    Args:
        source: of the numbers.
        name: of the table.
        every_step: all checkpoints of a training; else each model at its last one.

    Raises:
        TableError: the table is damaged.
    """
    if source == "published" or not has_table(source, name):
        return None
    found = table(source, name)
    if not len(found):
        return None
    return found if every_step else at_last_step(found)


def at_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each model's last checkpoint."""
    return rows[rows["step"] == rows.groupby("model")["step"].transform("max")]


def why_none(source: str, name: str) -> str:
    """Return why there are no rows, in one sentence."""
    if source == "published":
        return "The paper published no such numbers; its one figure stands under the first chart."
    if folder_of(source) is None:
        return why_empty(source)
    return f"This run has no table {name} yet; measure it with {COMMAND}, then summarize the run again."


def model_name(row: Row) -> str:
    """Return what a model is: its start and data, or its key where it hears through a continuous encoder."""
    if row["initialisation"] == "untrained":
        return "never taught"
    if row["data"] == AUDIO:
        return f"{row['model']}, continuous"
    return f"{_STARTS.get(row['initialisation'], row['initialisation'])}, {row['data']}"


def models_of(rows: pd.DataFrame) -> dict[str, str]:
    """Return key -> name of the models: the four that were trained, the one never taught, continuous encoders."""
    found = rows.drop_duplicates("model").to_dict("records")
    return {str(row["model"]): model_name(row) for row in sorted(found, key=_place)}


def _place(row: Row) -> tuple[int, str]:
    kind = (row["initialisation"], row["data"])
    if kind in FOUR:
        return FOUR.index(kind), str(row["model"])
    return len(FOUR) + (row["data"] == AUDIO), str(row["model"])


def in_model_order(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as values: models in their order, and each one's rows as they stood."""
    order = list(models_of(rows))
    return sorted(rows.to_dict("records"), key=lambda row: order.index(row["model"]))


def notes_of(rows: Iterable[Row]) -> list[str]:
    """Return the sentences of the rows' notes, each once: the same ones stand at many rows."""
    sentences = [
        f"{part.strip().rstrip('.')}."
        for row in rows
        if isinstance(row["note"], str)
        for part in row["note"].split(". ")
        if part.strip()
    ]
    return list(dict.fromkeys(sentences))


def notes_by(rows: Iterable[Row], column: str) -> list[str]:
    """Return each note once, after the values of the column at whose rows it stands."""
    where: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row["note"], str) and row["note"]:
            where.setdefault(row["note"], []).append(str(row[column]))
    said = (f"{', '.join(dict.fromkeys(values))}: {note}" for note, values in where.items())
    return [one[0].upper() + one[1:] for one in said]


def number(value: float, digits: int = 2) -> str:
    """Return a number, "–" where it is not defined."""
    return "–" if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def span(low: float, high: float, digits: int = 2) -> str:
    """Return an interval, "–" where it is not defined."""
    if math.isnan(low) or math.isnan(high):
        return "–"
    return f"{number(low, digits)} to {number(high, digits)}"


def with_span(row: Row, name: str = "value", digits: int = 2) -> str:
    """Return a number of a row with its interval in brackets where it has one; "–" where it is not defined.

    Args:
        row: of a table.
        name: of the column; the ends of "value" and "layer" are low and high, of others they bear its name.
        digits: after the point.
    """
    low, high = ends_of(row, name)
    found = span(low, high, digits)
    return number(row[name], digits) + (f" ({found})" if found != "–" else "")


def ends_of(row: Row, name: str) -> tuple[float, float]:
    """Return the ends of a number's interval."""
    prefix = "" if name in ("value", "layer") else f"{name}_"
    return float(row[f"{prefix}low"]), float(row[f"{prefix}high"])


def percent_of(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.0f} %"
