"""The precomputed figures of the systems: of the minis on held-out clips, and how often a system mishears people.

`python -m precompute evaluate` writes the tables; nothing is measured here, and no figure is shown that a table does
not have.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from engine.errors import ModelFilesError
from engine.systems.catalogue import get_pair, get_spec, revision_in, transcriber_name
from engine.systems.weights import MODELS
from engine.tasks import TASKS

HUMAN_FILE = "human.csv"
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

    @classmethod
    def of(cls, row: Mapping[str, str]) -> HumanError:
        """Return one row; raises ValueError where it holds no value, or no such kind of slice."""
        value, low, high = (_number(row[name]) for name in ("value", "low", "high"))
        if value is None or row["slice_kind"] not in SLICE_KINDS:
            raise ValueError("no value, or no such kind of slice")
        who = (row["system"], row["measure"], row["corpus"], row["slice_kind"], row["slice"])
        return cls(*who, value, low, high, int(row["n_clips"]), int(row["n_speakers"]))

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of the corpora's word error rates, the one figure that stands for a system."""
        return (self.measure, self.corpus, self.slice_kind) == ("wer", "all", "all")


def human_errors(key: str, models: Path = MODELS) -> tuple[HumanError, ...]:
    """Return the rows of a system's table, in order; none where it was not evaluated on people.

    Raises:
        ModelFilesError: the table is damaged or has other columns.
    """
    file = models / key / HUMAN_FILE
    return _read(file, file.stat().st_mtime_ns, HumanError, f"; {REMEDY}.") if file.is_file() else ()


FILE_NAME = "evaluation.csv"
BETWEEN_THE_TWO = "speech LLM and cascade"


@dataclass(frozen=True)
class Figure:
    """One row of the table, with its 95 % interval over items.

    Attributes:
        measure: accuracy, forced_choice_accuracy, unparsed_rate, kappa, agreement, majority_baseline or wer.
        task: key of the task.
        system: name of the system; "speech LLM and cascade" for kappa and agreement.
        voices: who spoke the clips, in words.
        n_items: clips behind the figure.
        value, low, high: shares of 1 (kappa: -1 to 1; a word error rate may exceed 1); None if not defined.
        revisions: of all weights that were measured, as `revisions_of` words them.
    """

    measure: str
    task: str
    system: str
    voices: str
    n_items: int
    value: float | None
    low: float | None
    high: float | None
    revisions: str

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Figure:
        """Return one row; raises ValueError where a field is empty, or no number or interval where one belongs."""
        value, low, high = (_number(row[name]) for name in ("value", "low", "high"))
        n_items, numbers = int(row["n_items"]), (row["value"], row["low"], row["high"])
        if not all(row.values()) or any(math.isinf(float(number)) for number in numbers):
            raise ValueError("an empty field, or an infinite figure")
        if n_items < 1 or (low is not None and high is not None and low > high):
            raise ValueError("no items, or an interval from high to low")
        what = (row["measure"], row["task"], row["system"], row["voices"])
        return cls(*what, n_items, value, low, high, row["revisions"])

    def with_interval(self) -> str:
        """Return "0.81 [0.76, 0.85]", or "not defined"."""
        if self.value is None or self.low is None or self.high is None:
            return "not defined"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


Row = TypeVar("Row", HumanError, Figure)


def read_figures(file: Path) -> tuple[Figure, ...]:
    """Return the rows of an evaluation table, in order.

    Raises:
        ModelFilesError: the table cannot be read, is cut off, or holds what is not a figure.
    """
    try:
        modified = file.stat().st_mtime_ns
    except OSError as error:
        raise ModelFilesError(f"There is no readable {file.name}. {_remedy(file)}") from error
    return _read(file, modified, Figure, f". {_remedy(file)}")


@lru_cache(maxsize=12)
def _read(file: Path, _modified: int, row_class: type[Row], remedy: str) -> tuple[Row, ...]:
    """Return the rows of a table; `remedy` ends the sentence of an error."""
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFilesError(f"{file.name} is not a readable table{remedy}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    wanted = [field.name for field in fields(row_class)]
    if list(reader.fieldnames or ()) != wanted:
        raise ModelFilesError(f"{file.name} does not have the columns {', '.join(wanted)}{remedy}")
    # The writer ends every row; a number that was cut in two could still be read as another number.
    if not text.endswith("\n"):
        raise ModelFilesError(f"{file.name} ends in the middle of a row{remedy}")
    rows: list[Row] = []
    try:
        for row in reader:
            if len(row) != len(wanted) or None in row.values():
                raise ValueError("fields are missing or left over")
            rows.append(row_class.of(row))
    except (csv.Error, ValueError) as error:
        raise ModelFilesError(f"{file.name}, row {len(rows) + 1}, does not hold a figure{remedy}") from error
    return tuple(rows)


def _remedy(file: Path) -> str:
    return f'Restore it, or run "python -m precompute evaluate --out assets/models/{file.name}".'


def _number(text: str) -> float | None:
    number = float(text) if text else math.nan
    return number if math.isfinite(number) else None


def revisions_of(pair: str, models: Path = MODELS) -> str:
    """Return the revision of each folder of weights that a pair runs on: "mini-llama 0123abcd4567, ..."."""
    row = get_pair(pair)
    specs = [get_spec(key) for key in (row.speech_llm, row.cascade)]
    folders = {folder for s in specs for folder in (s.folder, s.backbone, s.transcriber) if folder}
    return ", ".join(f"{folder} {revision_in(models / folder)}" for folder in sorted(folders))


def benchmark_line(task: str, pair: str, models: Path = MODELS) -> str | None:
    """Return what was measured on held-out clips of this task, as one sentence.

    None when no table ships or it has nothing about both systems of the pair on this task. Figures of other
    weights than those on disk are not shown; the sentence then says so.

    Raises:
        UnknownKeyError: there is no such pair.
        ModelFilesError: the table is damaged or cut off.
    """
    row = get_pair(pair)
    file = models / FILE_NAME
    if not file.exists():
        return None
    figures = read_figures(file)
    speech_spec, cascade_spec = get_spec(row.speech_llm), get_spec(row.cascade)
    if task == "transcribe":
        # Word errors are the transcriber's own.
        names = (f"{speech_spec.name}, asked to repeat", transcriber_name(cascade_spec))
        measure, what = "wer", "word error rate"
    else:
        names, measure, what = (speech_spec.name, cascade_spec.name), "accuracy", "accuracy"
    speech, cascade = (_find(figures, measure, task, name) for name in names)
    if speech is None or cascade is None:
        return None
    if speech.revisions != revisions_of(pair, models):
        return (
            'The precomputed figures are of other weights; run "python -m precompute evaluate --out" again.'
        )
    kappa = _find(figures, "kappa", task, BETWEEN_THE_TWO)
    kind = "" if task == "transcribe" else f"{TASKS[task].name.lower()} "
    return (
        f"On {speech.n_items} held-out {kind}clips: {what} of the speech LLM {speech.with_interval()}, "
        f"of the cascade {cascade.with_interval()}{f', kappa {kappa.with_interval()}' if kappa else ''} "
        f"(95 % intervals). Precomputed with these weights."
    )


def _find(figures: tuple[Figure, ...], measure: str, task: str, system: str) -> Figure | None:
    """Return the first such row: those of the engine that was trained on come before the unseen engine's."""
    return next((f for f in figures if (f.measure, f.task, f.system) == (measure, task, system)), None)
