"""How often a system mishears people: the table that its evaluation on human recordings left in its folder.

`python -m precompute evaluate --speech DIR` writes it; measures nothing itself. A system without one has no such
figure.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from engine.errors import ModelFilesError
from engine.systems.weights import MODELS

FILE_NAME = "human.csv"
SLICE_KINDS = ("corpus", "accent", "sex", "all")
REMEDY = 'restore it, or run "python -m precompute evaluate" with --speech again'


@dataclass(frozen=True)
class HumanError:
    """One row of the table.

    Attributes:
        system: key of the system.
        measure: such as "wer", word error rate after Whisper's English normaliser.
        corpus: whose recordings; "all" for the mean of the corpora.
        slice_kind: one of SLICE_KINDS; `slice` names the part, such as an accent.
        value, low, high: with the 95 % interval over speakers, None where it is not defined.
        n_clips, n_speakers: behind it.
    """

    system: str
    measure: str
    corpus: str
    slice_kind: str
    slice: str
    value: float
    low: float | None
    high: float | None
    n_clips: int
    n_speakers: int

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of the corpora's word error rates, the one figure that stands for a system."""
        return (self.measure, self.corpus, self.slice_kind) == ("wer", "all", "all")


def human_errors(key: str, models: Path = MODELS) -> tuple[HumanError, ...]:
    """Return the rows of a system's table, in order; none where it was not evaluated on people.

    Raises:
        ModelFilesError: the table is damaged or has other columns.
    """
    file = models / key / FILE_NAME
    return _read(file, file.stat().st_mtime_ns) if file.is_file() else ()


@lru_cache(maxsize=8)
def _read(file: Path, _modified: int) -> tuple[HumanError, ...]:
    reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline=""))
    wanted = [field.name for field in fields(HumanError)]
    if list(reader.fieldnames or ()) != wanted:
        raise ModelFilesError(f"{file.name} does not have the columns {', '.join(wanted)}; {REMEDY}.")
    rows = []
    for number, row in enumerate(reader, 1):
        try:
            rows.append(_row(row))
        except (TypeError, ValueError) as error:
            raise ModelFilesError(f"{file.name}, row {number}, does not hold a figure; {REMEDY}.") from error
    return tuple(rows)


def _row(row: dict[str, str]) -> HumanError:
    value, low, high = (_number(row[name]) for name in ("value", "low", "high"))
    if value is None or row["slice_kind"] not in SLICE_KINDS:
        raise ValueError("no value, or no such kind of slice")
    return HumanError(
        row["system"],
        row["measure"],
        row["corpus"],
        row["slice_kind"],
        row["slice"],
        value,
        low,
        high,
        int(row["n_clips"]),
        int(row["n_speakers"]),
    )


def _number(text: str) -> float | None:
    number = float(text) if text else math.nan
    return number if math.isfinite(number) else None
