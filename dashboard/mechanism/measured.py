"""What the sections ask of a source: its measured tables, its options, and the keys of its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dashboard.mechanism.behind import has_table
from dashboard.mechanism.section import Option
from dashboard.names import in_order, name_of, tasks_in_order
from dashboard.published import published_as_declared
from dashboard.tables import table
from engine.tasks import CORPUS_TASKS

if TYPE_CHECKING:
    import pandas as pd

# The paper's data set of each task.
PAPERS_TASKS = {task: corpus for corpus, task in CORPUS_TASKS.items()}


def measured_table(source: str, name: str) -> pd.DataFrame:
    """Return a table of what a run measured; no rows where it measured none, and for the published figures.

    Raises:
        TableError: the table is damaged.
    """
    here = source != "published" and has_table(source, name)
    return table(source, name) if here else published_as_declared(name).iloc[:0]


def shown_source(source: str, name: str) -> str:
    """Return the source, or the paper's figures where it has no such table."""
    return source if has_table(source, name) else "published"


def system_option(source: str, name: str) -> tuple[Option, ...]:
    """Return the choice among the speech LLMs of a table; nothing where it has none."""
    found = in_order(source, set(measured_table(source, name)["system"]))
    return (Option("system", "Speech LLM", {key: name_of(source, key) for key in found}),) if found else ()


def picked(options: Sequence[Option], chosen: Mapping[str, str], name: str) -> str:
    """Return the key that is chosen of an option: its first where none of its own is; "" without the option."""
    found = next((option for option in options if option.name == name), None)
    if found is None:
        return ""
    key = chosen.get(name, "")
    return key if key in found.choices else next(iter(found.choices))


def tasks_of(rows: pd.DataFrame) -> list[str]:
    """Return the tasks of a table in the page's order."""
    return tasks_in_order(str(task) for task in rows["task"])


def papers_system(system: str) -> str:
    """Return the paper's system of the same make, "" where it has none."""
    if "qwen2" in system:
        return "qwen2_audio"
    return "ultravox" if "ultravox" in system else ""


def answer_in_words(row: Mapping[str, Any], label: str, status: str, text: str = "") -> str:
    """Return a clip's answer: its label, else why there is none and what was said."""
    if isinstance(row[label], str) and row[label]:
        return str(row[label])
    said = " ".join(str(row.get(text) or "").split())
    why = str(row.get(status) or "no label")
    return f"{why}: {said}"[:120] if said else why


def counted(rows: pd.DataFrame) -> str:
    """Return how many groups of items, items and clips stand behind a task: one number, or the least and the most."""
    parts = []
    for column, noun in (("n_clips", "clips"), ("n_items", "items"), ("n_groups", "groups of related items")):
        least, most = int(rows[column].min()), int(rows[column].max())
        parts.append(f"{least:,} {noun}" if least == most else f"{least:,} to {most:,} {noun}")
    return f"A task: {parts[0]} of {parts[1]} in {parts[2]}"
