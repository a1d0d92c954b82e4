"""The paper's own figures, as assets/published has them, alone or in the columns of a measured table."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.columns import TABLES
from engine.errors import UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = Path(__file__).resolve().parents[1] / "assets" / "published"


def published_names() -> tuple[str, ...]:
    """Return the names of the published tables, those of behaviour first."""
    found = sorted(file.stem for file in PUBLISHED.glob("*.csv"))
    return tuple(sorted(found, key=lambda name: (name not in TABLES, name)))


@lru_cache(maxsize=16)
def published(name: str) -> pd.DataFrame:
    """Return a published table as its file has it: words are str, "" where there are none.

    Raises:
        UnknownKeyError: there is no such published table.
    """
    import pandas as pd

    if name not in published_names():
        known = ", ".join(published_names())
        raise UnknownKeyError(f'There is no published table "{name[:40]}". Choose one of: {known}.')
    frame = pd.read_csv(PUBLISHED / f"{name}.csv")
    words = [column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column])]
    return frame.astype(dict.fromkeys(words, object)).fillna(dict.fromkeys(words, ""))


@lru_cache(maxsize=8)
def published_as_declared(name: str) -> pd.DataFrame:
    """Return a published table with the columns of a measured one, empty where nothing was published, and its own."""
    import pandas as pd

    declared = TABLES[name]
    found = published(name) if name in published_names() else pd.DataFrame()
    extra = [column for column in found.columns if column not in {column.name for column in declared}]
    empty: dict[str, Any] = {"str": "", "int": float("nan"), "float": float("nan"), "bool": False}
    columns = {
        column.name: found[column.name]
        if column.name in found
        else pd.Series([empty[column.dtype]] * len(found), index=found.index, dtype=object)
        for column in declared
    }
    frame = pd.DataFrame(columns | {column: found[column] for column in extra})
    numbers = [column.name for column in declared if column.dtype in ("int", "float")]
    return frame.astype(dict.fromkeys(numbers, "float64"))
