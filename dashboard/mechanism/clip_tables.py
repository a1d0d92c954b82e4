"""Single clips of the mechanism's measurements, read with filters so that only what a chart needs is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.tables import changed_ns, folder_of
from engine.errors import TableError
from engine.tables import file_of

if TYPE_CHECKING:
    import pandas as pd

_NOT_PUBLISHED = "There are no single clips to show here: only totals were published."

# column -> values that are kept
Filters = Sequence[tuple[str, tuple[str | int, ...]]]


def mechanism_clips(
    source: str, name: str, filters: Filters, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return these columns of the rows of a clip table that pass all filters.

    Args:
        source: as `dashboard.tables.SOURCES` has it.
        name: lens_clips, implicit_clips, erasure_clips or probe_scores.
        filters: column and the values of it that are kept.
        columns: to read; all by default.

    Raises:
        TableError: the source has no single clips, or the file is missing or damaged.
    """
    folder = folder_of(source)
    if folder is None or source == "published":
        raise TableError(_NOT_PUBLISHED)
    path = file_of(folder, name)
    kept = tuple((column, tuple(values)) for column, values in filters)
    return _read(path, kept, None if columns is None else tuple(columns), changed_ns(path))


@lru_cache(maxsize=6)
def _read(
    path: Path,
    filters: tuple[tuple[str, tuple[str | int, ...]], ...],
    columns: tuple[str, ...] | None,
    changed: int,
) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet as parquet

    del changed
    kept = [(column, "in", list(values)) for column, values in filters]
    try:
        return parquet.read_table(
            path, columns=None if columns is None else list(columns), filters=kept or None
        ).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(
            f"{path.name} is missing or damaged, so single clips and intervals over them are not shown; "
            "make the run's tables again."
        ) from error
