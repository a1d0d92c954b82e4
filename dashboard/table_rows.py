"""Tables for programs: which there are in which source, and their rows by filters, as plain JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.components.take_card import MEANINGS, names_of
from dashboard.published import published
from dashboard.tables import SOURCES, folder_of, table, why_empty
from engine.columns import TABLES
from engine.errors import TableError, UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000


def list_tables() -> list[dict[str, Any]]:
    """Return every table of every source that is here: source, name, meaning, number of rows, columns."""
    return [
        {
            "source": source,
            "name": name,
            "meaning": MEANINGS.get(name, ""),
            "n_rows": len(frame),
            "columns": _columns(name, frame),
        }
        for source in SOURCES
        if folder_of(source) is not None
        for name in names_of(source)
        for frame in [frame_of(source, name)]
    ]


def _columns(name: str, frame: pd.DataFrame) -> list[dict[str, str]]:
    declared = {column.name: column for column in TABLES.get(name, ())}
    return [
        {
            "name": str(column),
            "unit": declared[column].unit if column in declared else "",
            "meaning": declared[column].meaning if column in declared else "",
        }
        for column in frame.columns
    ]


def rows_of_table(source: str, name: str, filters: dict[str, Any], first: int, limit: int) -> dict[str, Any]:
    """Return rows of one table.

    Args:
        source: measured, published or own.
        name: of the table.
        filters: column -> value, or a list of values; null stands for an empty cell.
        first: number of the first row to return, from 0.
        limit: most rows to return, at most MOST_ROWS.

    Returns:
        source, name, n_rows (of all that pass the filters) and rows; an undefined number is null.

    Raises:
        UnknownKeyError: there is no such source, table or column.
        TableError: the source is not here, or the numbers make no sense.
    """
    if folder_of(source) is None:
        raise TableError(why_empty(source))
    if name not in names_of(source):
        known = ", ".join(names_of(source))
        raise UnknownKeyError(f'There is no table "{name[:40]}" in this source. Choose one of: {known}.')
    if first < 0 or not 0 < limit <= MOST_ROWS:
        raise TableError(f"first must be 0 or more and limit from 1 to {MOST_ROWS:,}.")
    frame = frame_of(source, name)
    for column, value in filters.items():
        if column not in frame:
            raise UnknownKeyError(
                f'There is no column "{str(column)[:40]}". Choose from: {", ".join(frame)}.'
            )
        frame = frame[_passes(frame[column], value)]
    shown = frame.iloc[first : first + limit]
    return {"source": source, "name": name, "n_rows": len(frame), "rows": _plain(shown)}


def _passes(values: pd.Series[Any], wanted: Any) -> pd.Series[bool]:
    listed = wanted if isinstance(wanted, list) else [wanted]
    found = values.isin([one for one in listed if one is not None])
    return found | values.isna() if None in listed else found


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    cells = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in cells.to_dict("records")]


def frame_of(source: str, name: str) -> pd.DataFrame:
    """Return a table as its file has it.

    Raises:
        TableError: the source is not here, or the file cannot be read.
    """
    return published(name) if source == "published" else table(source, name)
