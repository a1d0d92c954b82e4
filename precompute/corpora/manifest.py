"""A folder of one's own recordings as a task: `manifest.csv` with audio, question, choices, gold, group.

The task is called after the file. Every fault is named with its row before anything runs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from engine.audio import load_clip
from engine.errors import ClipError, EngineError, PromptError
from engine.request import Question
from engine.tasks import MAX_PROMPT_CHARACTERS, TASKS, Task, parse_choices
from engine.words import normalise
from precompute.corpora.item import Item, item_key

NEEDED = ("audio", "question", "choices", "gold", "group")
OPTIONAL = ("transcript",)
MAX_ROWS = 100_000
DEFAULT_QUESTION = TASKS["commonsense"].instruction


class ManifestError(EngineError):
    """The manifest of an own corpus cannot be used; the message names the row."""


@dataclass(frozen=True)
class Corpus:
    """A corpus of one's own.

    Attributes:
        task: its key in every table.
        folder: what `Item.file` is relative to.
    """

    task: str
    folder: Path
    items: tuple[Item, ...]


def read_manifest(file: Path) -> Corpus:
    """Return a corpus.

    Columns: `audio` (file, relative to the manifest), `question` (may hold {choices}; empty asks to choose),
    `choices` (separated by ";", "," or "or"; empty for an open answer), `gold` (further right answers after
    "|"), `group` (what belongs together; empty for the row alone), and, if known, `transcript`.

    Raises:
        ManifestError: the file or a row cannot be used.
    """
    task = _task_name(file)
    rows = _rows(file)
    items = [_item(task, file.parent, row, number) for number, row in rows]
    seen: set[str] = set()
    for (number, _), item in zip(rows, items, strict=True):
        if item.item_id in seen:
            raise ManifestError(
                f"{file.name}, line {number}: this clip with this question stands there twice."
            )
        seen.add(item.item_id)
    return Corpus(task, file.parent, tuple(items))


def _task_name(file: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-") or "corpus"
    return f"own-{name}" if name in TASKS or name == "manifest" else name


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the manifest's rows, each with the number of its line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f'There is no readable manifest "{file.name}"; give a CSV file in UTF-8.'
        ) from error
    try:
        (names, _), *cells = _table(text) or [([], 1)]
    except csv.Error as error:
        raise ManifestError(f"{file.name} breaks off or is no CSV file.") from error
    columns = [name.strip() for name in names]
    # A spreadsheet writes columns that were once used: nameless and empty, they are nothing.
    columns += [""] * max((len(row) - len(columns) for row, _ in cells), default=0)
    nameless = [i for i, name in enumerate(columns) if not name]
    is_used = any(row[i].strip() for row, _ in cells for i in nameless if i < len(row))
    missing = [name for name in NEEDED if name not in columns]
    strange = [name for name in columns if name not in (*NEEDED, *OPTIONAL) and (name or is_used)]
    if missing or strange:
        fault = f"lacks the column {missing[0]}" if missing else f'has an unknown column "{strange[0][:40]}"'
        allowed = f"{', '.join(NEEDED)} and, if known, {', '.join(OPTIONAL)}"
        raise ManifestError(
            f"{file.name} {fault}; its columns, separated by commas, semicolons or tabs, are {allowed}."
        )
    rows = [
        (line, {name: (row[i] if i < len(row) else "").strip() for i, name in enumerate(columns) if name})
        for row, line in cells
    ]
    if not 0 < len(rows) <= MAX_ROWS:
        raise ManifestError(f"{file.name} has {len(rows):,} rows; 1 to {MAX_ROWS:,} are allowed.")
    return rows


def _table(text: str) -> list[tuple[list[str], int]]:
    r"""Return the rows that hold something, each with the number of its last line; separated as the first line is.

    A European Excel separates by semicolons. Lines end at "\n" and "\r" alone: a cell may hold U+2028.
    """
    first = text.split("\n", 1)[0]
    separators = [sign for sign in ",;\t" if NEEDED[0] in [name.strip(' "\r') for name in first.split(sign)]]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=(separators or [","])[0])
    return [(row, reader.line_num) for row in reader if any(cell.strip() for cell in row)]


def _item(task: str, folder: Path, row: dict[str, str], number: int) -> Item:
    where = f"Line {number} of the manifest"
    audio = Path(row["audio"])
    if not row["audio"] or audio.is_absolute() or ".." in audio.parts:
        raise ManifestError(f"{where}: audio must name a file below the manifest's folder.")
    try:
        load_clip(folder / audio, whole=True)
        digest = hashlib.sha256((folder / audio).read_bytes()).hexdigest()
        question = _question(task, row)
    except (ClipError, PromptError) as error:
        raise ManifestError(f"{where}: {error}") from error
    gold, *aliases = (part.strip() for part in row["gold"].split("|"))
    if not gold:
        raise ManifestError(f"{where}: gold is empty; give the right answer.")
    if question.labels:
        known = {normalise(label): label for label in question.labels}
        if normalise(gold) not in known:
            raise ManifestError(f'{where}: the gold answer "{gold[:40]}" is not among the choices.')
        gold = known[normalise(gold)]
    return Item(
        item_id=item_key(task, digest, question.instruction, *question.labels),
        task=task,
        text=" ".join(row.get("transcript", "").split()),
        prompt=question.instruction,
        gold=gold,
        aliases=tuple(alias for alias in aliases if alias),
        group=row["group"] or f"line {number}",
        question=question,
        file=row["audio"],
        sha256=digest,
    )


def _question(task: str, row: dict[str, str]) -> Question:
    labels = parse_choices(row["choices"]) if row["choices"] else ()
    asked = row["question"] or (DEFAULT_QUESTION if labels else TASKS["trivia"].instruction)
    instruction = " ".join(asked.replace("{choices}", ", ".join(labels)).split())
    if len(instruction) > MAX_PROMPT_CHARACTERS:
        raise PromptError(f"the question is longer than {MAX_PROMPT_CHARACTERS} characters.")
    kind = Task(
        key=task,
        name=task,
        instruction=instruction,
        labels=labels,
        kind="choice" if labels else "open",
        needs_voice=False,
        help="A corpus of one's own.",
    )
    return Question(kind, instruction, labels)
