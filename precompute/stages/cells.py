"""The answers of a run as cells: one task under one noise condition, every system's answers on its clips.

The tables are counted from these; no model is loaded and nothing is written here.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TableError
from engine.results import CUT_OFF
from engine.tables import read_table
from engine.tasks import asked_task, labels_for
from engine.words import normalise

if TYPE_CHECKING:
    import pandas as pd

Row = Any  # a row of `DataFrame.itertuples`
Condition = tuple[str, str, float]  # task, noise, ratio in dB (minus infinity where there is none: it sorts)


def class_of_label(label: str, offered: Sequence[str], *, by_place: bool) -> str:
    """Return the class a label is counted in: itself, or its place among the clip's choices.

    With choices of each clip's own, words would make two blind guessers agree beyond chance: they choose
    among few, while the words of all clips are many.

    Args:
        label: an answer as it was read.
        offered: the clip's choices, normalised; empty for an open question.
        by_place: whether the choices differ between the clips of this task.
    """
    spelt = normalise(label)
    return f"choice {offered.index(spelt) + 1}" if by_place and spelt in offered else spelt


@dataclass(frozen=True)
class Clip:
    """One clip and what may be answered to it.

    Attributes:
        group: of the related items; the item itself where it has no relatives.
        offered: allowed answers in the order of the prompt, normalised; empty for an open question.
        by_place: the choices differ between the clips of this task, so answers are classed by their place.
        flags: what is wrong with the recording, "" for nothing.
    """

    clip_id: str
    item_id: str
    group: str
    gold: str
    reference: str
    offered: tuple[str, ...]
    by_place: bool
    flags: str = ""

    @cached_property
    def gold_class(self) -> str:
        return self.class_of(self.gold)

    def class_of(self, label: str) -> str:
        """Return the class a label is counted in."""
        return class_of_label(label, self.offered, by_place=self.by_place)


@dataclass(frozen=True)
class Answer:
    """What one system answered to one clip.

    Attributes:
        label: as it was read, None without one; `label_class` is what it is counted as.
        forced_right: whether the most probable allowed answer is right; None without forced choice.
        is_exact: whether the label is the right answer and nothing besides; `right` may be wider for open answers.
        is_cut: it ended at the token limit.
    """

    label: str | None
    label_class: str | None
    right: bool
    status: str
    heard: str
    forced_right: bool | None
    is_exact: bool
    is_cut: bool = False


@dataclass(frozen=True)
class Cell:
    """One task under one noise condition.

    Attributes:
        snr_db: NaN where no ratio was asked for.
        clips: sorted by item, voice and clip.
        items: the number of each clip's item; `groups` that of its group.
        systems: key -> its answers by place in `clips`; a clip that it was not given is absent.
    """

    task: str
    noise: str
    snr_db: float
    clips: tuple[Clip, ...]
    items: tuple[int, ...]
    groups: tuple[int, ...]
    systems: dict[str, dict[int, Answer]]

    @property
    def is_open(self) -> bool:
        """Whether the answers are free."""
        return not all(clip.offered for clip in self.clips)

    @property
    def is_words_only(self) -> bool:
        """Whether this is a task of the product, with allowed answers, in which the words decide."""
        task = asked_task(self.task)
        return task is not None and not task.needs_voice and not self.is_open


def read_run(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers and the clips of a results folder.

    Raises:
        TableError: one of the files is missing, half-written or foreign, or they are not of one run.
    """
    answers, clips = (
        read_table(out / "answers.parquet", "answers"),
        read_table(out / "clips.parquet", "clips"),
    )
    if not len(answers):
        raise TableError("answers.parquet has no rows; run the benchmark first.")
    golds = {_clip_key(row): row.gold for row in clips.itertuples()}
    for row in answers.itertuples():
        if golds.get(_clip_key(row)) != row.gold:
            raise TableError(
                "answers.parquet and clips.parquet are not of one run: the clip "
                f'"{str(row.clip_id)[:60]}" is missing from the second, or has another right answer there.'
            )
    return answers, clips


def cells_of(answers: pd.DataFrame, clips: pd.DataFrame) -> list[Cell]:
    """Return the cells by task, noise and ratio; the order of the rows does not matter."""
    given: dict[tuple[Condition, str], dict[str, Row]] = defaultdict(dict)
    for row in answers.itertuples():
        given[_clip_key(row)][row.system] = row
    asked: dict[Condition, list[tuple[Clip, dict[str, Row]]]] = defaultdict(list)
    offered = {_clip_key(row): _offered(row, given[_clip_key(row)]) for row in clips.itertuples()}
    choices: dict[str, set[frozenset[str]]] = defaultdict(set)
    for ((task, _, _), _), labels in offered.items():
        choices[task].add(frozenset(labels))
    order = ["item_id", "voice", "clip_id"]
    for row in clips.sort_values(order, kind="stable").itertuples():
        key = _clip_key(row)
        clip = Clip(
            row.clip_id,
            row.item_id,
            row.group or row.item_id,
            row.gold,
            row.reference,
            offered[key],
            by_place=len(choices[row.task]) > 1,
            flags=row.flags,
        )
        if given[key]:
            asked[key[0]].append((clip, given[key]))
    return [_cell(condition, asked[condition]) for condition in sorted(asked)]


def _clip_key(row: Row) -> tuple[Condition, str]:
    snr_db = -math.inf if math.isnan(row.snr_db) else float(row.snr_db)
    return (row.task, row.noise, snr_db), row.clip_id


def _offered(clip: Row, rows: dict[str, Row]) -> tuple[str, ...]:
    """Return the allowed answers: the product's own, or in another corpus those of the forced choice."""
    task = asked_task(clip.task)
    if task is not None:
        return tuple(normalise(label) for label in labels_for(task, clip.prompt))
    labels = {normalise(label) for row in rows.values() for label in json.loads(row.forced_choice)}
    prompt = f" {normalise(clip.prompt)} "
    places = {label: prompt.find(f" {label} ") for label in labels}
    return tuple(sorted(labels, key=lambda label: (places[label] < 0, places[label], label)))


def _cell(condition: Condition, asked: list[tuple[Clip, dict[str, Row]]]) -> Cell:
    task, noise, snr_db = condition
    systems: dict[str, dict[int, Answer]] = {
        key: {} for key in sorted({s for _, rows in asked for s in rows})
    }
    for place, (clip, rows) in enumerate(asked):
        for system, row in rows.items():
            systems[system][place] = _answer(clip, row)
    return Cell(
        task=task,
        noise=noise,
        snr_db=math.nan if snr_db == -math.inf else snr_db,
        clips=tuple(clip for clip, _ in asked),
        items=_numbers([clip.item_id for clip, _ in asked]),
        groups=_numbers([clip.group for clip, _ in asked]),
        systems=systems,
    )


def _numbers(names: list[str]) -> tuple[int, ...]:
    places = {name: number for number, name in enumerate(sorted(set(names)))}
    return tuple(places[name] for name in names)


def _answer(clip: Clip, row: Row) -> Answer:
    right = {normalise(clip.gold), *(normalise(alias) for alias in row.aliases.split("|") if alias)}
    return Answer(
        label=row.label,
        label_class=None if row.label is None else clip.class_of(row.label),
        right=bool(row.correct),
        status=row.label_status,
        heard=row.heard,
        forced_right=None if row.forced_label is None else normalise(row.forced_label) in right,
        is_exact=row.label is not None and normalise(row.label) in right,
        is_cut=row.note.startswith(CUT_OFF),
    )
