"""Tables as files of declared columns: Parquet and CSV, read strictly and written whole or not at all.

`engine.columns` says which tables there are; here is how any of them goes to and from a file. `precompute` writes
them and the dashboard reads them. A table that is half-written or of another making is refused with one sentence; but
for columns that came later, nothing is guessed or filled in. Pandas comes at first use.
"""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.columns import ALLOWED, FILES, KEYS, TABLES, Column, DType
from engine.errors import TableError, UnknownKeyError

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT_DIGITS = 7  # of a number in a CSV; more than any figure here is known to
_IN_MEMORY = {"str": "object", "int": "int64", "float": "float64", "bool": "bool"}
_IN_WORDS = {"str": "words", "int": "whole numbers", "float": "numbers", "bool": "true or false"}
_LOGICAL = {"True": True, "False": False}


def as_declared(frame: pd.DataFrame, columns: Sequence[Column], file: str) -> pd.DataFrame:
    """Return the declared columns, in order and each with its type; None becomes NaN among numbers.

    A column that is declared `later` may be missing.

    Raises:
        TableError: a column is missing or left over, or a value is not of its column's type.
    """
    import pandas as pd

    names = [column.name for column in columns]
    later = {c.name: "" if c.dtype == "str" else None for c in columns if c.later and c.name not in frame}
    frame = frame.assign(**later)
    if sorted(frame.columns) != sorted(names):
        missing = [name for name in names if name not in set(frame.columns)]
        what = f"lacks the column {missing[0]}" if missing else "has columns that do not belong to it"
        raise TableError(f"{file} {what}; its columns are {', '.join(names)}.")
    cast: dict[str, pd.Series[Any]] = {}
    for column in columns:
        try:
            cast[column.name] = _as_type(frame[column.name], column.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            kind = _IN_WORDS[column.dtype]
            raise TableError(f"{file} has something else than {kind} in the column {column.name}.") from error
    return pd.DataFrame(cast, columns=names)


def _as_type(values: pd.Series[Any], dtype: DType) -> pd.Series[Any]:
    if dtype == "str":
        return values.astype(object).where(values.notna(), None)
    if dtype == "bool" and not values.map(lambda value: value in (True, False)).all():
        raise ValueError("neither true nor false")
    if dtype == "int" and (values.astype("float64") % 1 != 0).any():
        raise ValueError("a count with a fraction, or none")
    return values.astype(_IN_MEMORY[dtype])


def check_columns(frame: pd.DataFrame, columns: Sequence[Column], file: str) -> None:
    """Check names, types, and that nothing is absent where it may not be.

    Raises:
        TableError: the first column that is wrong.
    """
    if list(frame.columns) != [column.name for column in columns]:
        raise TableError(f"{file} does not have the columns {', '.join(c.name for c in columns)}.")
    for column in columns:
        values, place = frame[column.name], f"in the column {column.name}"
        if str(values.dtype) != _IN_MEMORY[column.dtype]:
            raise TableError(f"{file} has {values.dtype} instead of {column.dtype} {place}.")
        if not column.optional and values.isna().any():
            raise TableError(f"{file} has an empty cell {place}.")
        if column.dtype == "str" and not all(isinstance(value, str) for value in values if value is not None):
            raise TableError(f"{file} has something else than words {place}.")
        if column.dtype == "float" and values.abs().eq(float("inf")).any():
            raise TableError(f"{file} has an infinite number {place}.")


def read_parquet(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Return the table in a Parquet file.

    Raises:
        TableError: the file is missing, cut off, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _require(path)
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path.name} is damaged or is not a Parquet file; make it again.") from error
    frame = table.to_pandas(ignore_metadata=True)
    return as_declared(frame, columns, path.name)


def read_csv(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Return the table in a CSV file that `write_csv` wrote; words stay words, even "NA" and "001".

    Raises:
        TableError: the file is missing, cut off, or has other columns.
    """
    import pandas as pd

    _require(path)
    try:
        text = path.read_bytes().decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path.name} is damaged or is not a CSV file; make it again.") from error
    # The writer ends every row; a number that was cut in two could still be read as another number.
    if not text.endswith("\n"):
        raise TableError(f"{path.name} ends in the middle of a row; make it again.")
    header, cells = rows[0], rows[1:]
    wrong = next((number for number, row in enumerate(cells, 1) if len(row) != len(header)), None)
    if wrong is not None:
        raise TableError(f"{path.name}, row {wrong}, has too few or too many cells; make it again.")
    frame = pd.DataFrame(cells, columns=header, dtype=object)
    for column in columns:
        if column.name in frame:
            frame[column.name] = frame[column.name].map(_reader(column))
    return as_declared(frame, columns, path.name)


def _reader(column: Column) -> Callable[[str], Any]:
    """Return how a cell's text becomes a value; what cannot be read stays text and is refused later."""
    if column.dtype == "bool":
        return lambda cell: _LOGICAL.get(cell, cell)
    if column.optional:
        return lambda cell: cell or None
    return lambda cell: cell


def write_csv(frame: pd.DataFrame, path: Path, columns: Sequence[Column]) -> None:
    """Write a checked table as UTF-8 CSV; NaN and None are empty cells.

    Raises:
        TableError: the file cannot be written.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(frame.columns)
    texts = [[_cell(value) for value in frame[column.name].tolist()] for column in columns]
    writer.writerows(zip(*texts, strict=True))
    write_whole(path, buffer.getvalue().encode("utf-8"))


def _cell(value: str | float | int | bool | None) -> str:
    if value is None or value != value:  # NaN is the one number that is not itself
        return ""
    # Adding zero turns -0.0 into 0.0.
    return f"{value + 0.0:.{SIGNIFICANT_DIGITS}g}" if isinstance(value, float) else str(value)


def write_parquet(frame: pd.DataFrame, path: Path, columns: Sequence[Column]) -> None:
    """Write a checked table as Parquet; equal tables give equal bytes with one version of pyarrow.

    Raises:
        TableError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([pa.field(c.name, types[c.dtype]) for c in columns])
    arrays = [pa.array(frame[field.name].to_numpy(), field.type, from_pandas=False) for field in schema]
    buffer = pa.BufferOutputStream()
    # Brotli packs these tables a twentieth smaller than zstd; every byte counts in what ships.
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema), buffer, compression="brotli", compression_level=11
    )
    write_whole(path, buffer.getvalue().to_pybytes())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename it: it is there whole or not at all.

    Raises:
        TableError: there is no room, or no right to write there.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise TableError(
            f"{path.name} could not be written ({error.strerror}); what stood there before is unchanged."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _require(path: Path) -> None:
    if not path.is_file():
        raise TableError(f"There is no {path.name} in the results folder; make it first.")


def columns_of(name: str) -> tuple[Column, ...]:
    """Return the columns of a table.

    Raises:
        UnknownKeyError: there is no such table; the message lists those there are.
    """
    if name not in TABLES:
        raise UnknownKeyError(f'There is no table "{name[:40]}". Choose one of: {", ".join(TABLES)}.')
    return TABLES[name]


def file_of(folder: Path, name: str) -> Path:
    """Return where a results folder keeps this table."""
    return folder / FILES.get(name, f"tables/{name}.csv")


def validate(frame: pd.DataFrame, name: str, *, file: str = "") -> None:
    """Check a table: its columns and their types, words where they must be, and no row twice.

    Args:
        frame: the table.
        name: key in TABLES.
        file: name for the message; the table's own name by default.

    Raises:
        TableError: the first thing that is wrong, in one sentence.
    """
    file = file or f"The table {name}"
    check_columns(frame, columns_of(name), file)
    if frame.duplicated(list(KEYS[name])).any():
        raise TableError(f"{file} has the same row twice; make it again.")
    if name in ALLOWED:
        column, allowed = ALLOWED[name]
        strange = sorted(set(frame[column]) - set(allowed))
        if strange:
            raise TableError(f'{file} has "{strange[0][:40]}" as {column}; allowed: {", ".join(allowed)}.')
    if name == "answers" and (frame["label"].notna() != (frame["label_status"] == "parsed")).any():
        raise TableError(f"{file} has a label that was not parsed, or a parsed answer without one.")


def read_table(path: Path, name: str) -> pd.DataFrame:
    """Return a table that was written by `write_table`, as Parquet or CSV by the file's ending.

    Words are `str` objects, None where optional and absent; numbers are int64, float64 (NaN where not
    defined) or bool.

    Raises:
        TableError: the file is missing, half-written, or not this table.
    """
    columns = columns_of(name)
    frame = read_csv(path, columns) if path.suffix == ".csv" else read_parquet(path, columns)
    validate(frame, name, file=path.name)
    return frame


def write_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]], path: Path, name: str) -> None:
    """Write a table, sorted by its key, under a temporary name and then rename it.

    The same rows in any order give the same bytes.

    Raises:
        TableError: the rows are not this table's, or the file cannot be written.
    """
    import pandas as pd

    columns = columns_of(name)
    if not isinstance(rows, pd.DataFrame):
        rows = list(rows)
        rows = pd.DataFrame(rows, columns=None if rows else [column.name for column in columns], dtype=object)
    frame = as_declared(rows, columns, path.name)
    validate(frame, name, file=path.name)
    frame = frame.sort_values(list(KEYS[name]), kind="stable", ignore_index=True)
    (write_csv if path.suffix == ".csv" else write_parquet)(frame, path, columns)
