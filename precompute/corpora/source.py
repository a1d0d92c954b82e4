"""What every published corpus is read through: where it comes from, and whether the files are the right ones.

Nothing is downloaded here: the files lie in a folder, laid out as they were published. Each loader names them.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from engine.errors import EngineError
from precompute.corpora.item import Item

PAPER_ITEMS = 1_000  # a text task's sample (arXiv 2602.17598v2, section 3.2)
SAMPLE_SEED = 61  # ours: the paper publishes neither its seed nor its items
# At 135 words a minute, the slowest voice here, 67 words fill the 30 s that every system can hear; figures take longer.
MAX_SPOKEN_WORDS = 60
REVISION_FILE = "revision.txt"
HIDDEN_LABEL = -1

_ROWS_AT_ONCE = 64  # clips of a Parquet file that are in memory together
_COMMIT = re.compile(r"[0-9a-f]{40}")

Row = dict[str, Any]


class CorpusError(EngineError):
    """A published corpus is not there as published; the message says what to put where."""


@dataclass(frozen=True)
class Source:
    """A publication of a corpus, as its loader was written for.

    Attributes:
        name: as a reader knows it.
        dataset: id of the publication.
        revision: its commit; "" where it has none (a GitHub file, an archive).
        split: which part; a reader of the tables must know.
        files: pattern of the split's files below the folder.
        columns: those that are read; of a table without a header all of them, in order.
        n_rows: rows of the split; 0 where parts of it are published too, and any number is read.
        licence: as the publisher states it.
        size: of the files that are read, in words.
        labels: names of the numbers in the column "label", from 0; empty where there is none.
        label_counts: label -> rows of the whole split, where that is known.
        has_header: whether the first line of a CSV or TSV names its columns.
    """

    name: str
    dataset: str
    revision: str
    split: str
    files: str
    columns: tuple[str, ...]
    n_rows: int
    licence: str
    size: str
    labels: tuple[str, ...] = ()
    label_counts: Mapping[str, int] = field(default_factory=dict)
    has_header: bool = True

    @property
    def remedy(self) -> str:
        """What to do about files that are not the right ones."""
        at = f" at revision {self.revision}" if self.revision else ""
        return f"put {self.files} of {self.dataset}{at} into the folder"


@dataclass(frozen=True)
class Sample:
    """Items of a corpus.

    Attributes:
        notes: what a reader should know of how they were chosen, one sentence each.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


def find_files(source: Source, folder: Path) -> list[Path]:
    """Return the split's files, sorted.

    Raises:
        CorpusError: no such folder or files, or the folder says that it holds another revision.
    """
    if not folder.is_dir():
        raise CorpusError(f"{source.name}: there is no such folder; make it and {source.remedy}.")
    _check_revision(source, folder)
    files = _named_as(source, folder)
    if not files:
        raise CorpusError(f"{source.name}: the folder has no {source.files}; {source.remedy}.")
    return files


def is_there(source: Source, folder: Path) -> bool:
    """Return whether the folder holds files of this publication, by their names."""
    return bool(_named_as(source, folder))


def _named_as(source: Source, folder: Path) -> list[Path]:
    """Return the files named as published, sorted; a Mac leaves "._" files beside those that it unpacks."""
    return sorted(file for file in folder.glob(source.files) if not file.name.startswith("."))


def read_rows(source: Source, folder: Path) -> Iterator[Row]:
    """Yield the split's rows, in the order of the files; numbers of rows are checked before the first.

    Raises:
        CorpusError: files or columns are missing, damaged, or not those of the pinned revision.
    """
    files = find_files(source, folder)
    try:
        yield from _READERS.get(files[0].suffix, _parquet_rows)(source, files)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CorpusError(f"{source.name}: {source.files} cannot be read; {source.remedy} anew.") from error


def check_rows(source: Source, n_found: int) -> None:
    """Raise a CorpusError unless there are as many rows as were published; a source without a number may have any."""
    if source.n_rows and n_found != source.n_rows:
        raise CorpusError(
            f"{source.name}: {n_found:,} rows are here and {source.split} has {source.n_rows:,}; "
            f"{source.remedy}, all of them."
        )


def check_columns(source: Source, found: Sequence[str]) -> None:
    """Raise a CorpusError when a column is missing."""
    missing = [name for name in source.columns if name not in found]
    if missing:
        raise CorpusError(
            f'{source.name}: the files have no column "{missing[0]}"; this is another layout, {source.remedy}.'
        )


def label_of(source: Source, value: object) -> str:
    """Return the label that a row's number stands for.

    Raises:
        CorpusError: the label is hidden (-1) or no label of this corpus.
    """
    if value == HIDDEN_LABEL:
        raise CorpusError(
            f"{source.name}: the right answers of {source.split} are hidden (label -1), so it cannot be scored; "
            "take the split that the loader names."
        )
    if not isinstance(value, int) or not 0 <= value < len(source.labels):
        raise CorpusError(
            f'{source.name}: "{str(value)[:20]}" is no label; 0 to {len(source.labels) - 1} are expected.'
        )
    return source.labels[value]


def check_labels(source: Source, golds: Sequence[str]) -> None:
    """Raise a CorpusError when the labels are not distributed as published."""
    found = Counter(golds)
    for label, n_rows in source.label_counts.items():
        if found[label] != n_rows:
            raise CorpusError(
                f'{source.name}: {found[label]:,} rows are labelled "{label}" and {n_rows:,} should be; '
                f"these are other labels, {source.remedy}."
            )


def draw(source: Source, task: str, items: Sequence[Item], limit: int) -> Sample:
    """Return up to `limit` items in a seeded order; a smaller limit gives the first ones of a greater.

    The order depends on the items alone, not on their places in the files. Of equal items the first counts.
    Items too long to be spoken within 30 s are not drawn, and the notes say how many there are.
    """
    unique: dict[str, Item] = {}
    for item in items:
        unique.setdefault(item.item_id, item)
    short = [item for item in unique.values() if len(item.text.split()) <= MAX_SPOKEN_WORDS]
    order = in_seeded_order(task, short)
    notes = [f"{source.name}: {min(limit, len(order)):,} of the {len(unique):,} items of {source.split}."]
    if len(short) < len(unique):
        notes.append(
            f"{source.name}: {len(unique) - len(short):,} items have more than {MAX_SPOKEN_WORDS} words, too long "
            "for 30 s of speech, and are not drawn from."
        )
    if len(order) < limit:
        notes.append(f"{source.name} has {len(order):,} items to draw from, not {limit:,}: all are taken.")
    return Sample(tuple(order[:limit]), tuple(notes))


def in_seeded_order(task: str, items: Sequence[Item]) -> list[Item]:
    """Return the items in an order of the task's own that does not depend on the one they come in."""
    order = sorted(items, key=lambda item: item.item_id)
    random.Random(f"corpus|{SAMPLE_SEED}|{task}").shuffle(order)
    return order


def _check_revision(source: Source, folder: Path) -> None:
    """Compare what the folder says of itself: `revision.txt`, or the name of a Hub cache's snapshot."""
    if not source.revision:
        return
    file = folder / REVISION_FILE
    found = file.read_text(encoding="utf-8").strip() if file.is_file() else folder.resolve().name
    if (file.is_file() or _COMMIT.fullmatch(found)) and found != source.revision:
        raise CorpusError(
            f"{source.name}: the folder holds revision {found[:40]}, and {source.revision} is pinned; {source.remedy}."
        )


def _json_rows(source: Source, files: Sequence[Path]) -> Iterator[Row]:
    rows = [json.loads(line) for file in files for line in lines_of(file)]
    check_columns(source, sorted(set.intersection(*(set(row) for row in rows))) if rows else ())
    check_rows(source, len(rows))
    yield from rows


def lines_of(file: Path) -> list[str]:
    r"""Return the lines of a text that hold something, split at "\n" alone: a row may hold U+2028 or U+0085.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read, or is no UTF-8 (a byte-order mark is no fault).
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        lines = stream.read().split("\n")
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _separated_rows(source: Source, files: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of CSV files, or of TSV files as GLUE writes them: without any quoting."""
    rows: list[Row] = []
    for file in files:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            if file.suffix == ".tsv":
                table = [line.split("\t") for line in lines_of(file)]
            else:
                table = [row for row in csv.reader(stream, strict=True) if any(row)]
        header = table.pop(0) if source.has_header and table else list(source.columns)
        check_columns(source, header)
        uneven = next((row for row in table if len(row) != len(header)), None)
        if uneven is not None:
            raise ValueError(f"a row of {len(uneven)} cells below {len(header)} columns")
        rows += [dict(zip(header, row, strict=True)) for row in table]
    check_rows(source, len(rows))
    yield from rows


def _parquet_rows(source: Source, files: Sequence[Path]) -> Iterator[Row]:
    opened = [pyarrow.parquet.ParquetFile(file) for file in files]
    for file in opened:
        check_columns(source, file.schema_arrow.names)
        _check_class_names(source, file.schema_arrow.metadata or {})
    check_rows(source, sum(file.metadata.num_rows for file in opened))
    for file in opened:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(source.columns)):
            yield from batch.to_pylist()


def _check_class_names(source: Source, metadata: Mapping[bytes, bytes]) -> None:
    """Compare what the files themselves say that the numbers of the label mean, where they say it."""
    about = json.loads(metadata.get(b"huggingface", b"{}"))
    found = about.get("info", {}).get("features", {}).get("label", {}).get("names")
    if source.labels and found is not None and tuple(found) != source.labels:
        raise CorpusError(
            f"{source.name}: the labels are {', '.join(map(str, found))} here and should be "
            f"{', '.join(source.labels)}; {source.remedy}."
        )


def _listed_rows(source: Source, files: Sequence[Path]) -> Iterator[Row]:
    """Yield the objects in the list "Data" of JSON files, as TriviaQA's authors publish it."""
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8-sig"))["Data"]]
    check_columns(source, sorted(set.intersection(*(set(row) for row in rows))) if rows else ())
    check_rows(source, len(rows))
    yield from rows


_READERS = {".json": _listed_rows, ".jsonl": _json_rows, ".csv": _separated_rows, ".tsv": _separated_rows}
