"""Reading stored answers again: their labels by today's parser, from the text that was generated.

`summarize --reread` calls this; no model runs. A run is hours, and how its answers are read may be mended in minutes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.tasks import TASKS, Task, asked_task, is_right, labels_for, parse_answer

if TYPE_CHECKING:
    import pandas as pd

REFUSED_BY_SERVICE = "Refused by the service"


def read_again(
    answers: pd.DataFrame, clips: pd.DataFrame
) -> tuple[pd.DataFrame, Counter[tuple[str, str, str]]]:
    """Return the answers with label, status and `correct` read from their text, and what that changed.

    Rows that failed and answers that a service blocked stay as they are. The allowed answers are the task's own, or
    those of the clip's prompt; of a corpus of one's own they are those of the forced choice, and rows of one without
    it (a service) stay as they are.

    Returns:
        The table, and the number of rows by (task, label or status before, label or status after) that differ.
    """
    import pandas as pd

    prompts = dict(zip(clips["clip_id"], clips["prompt"], strict=True))
    found = [_read(row, prompts.get(row.clip_id, "")) for row in answers.itertuples()]
    labels, statuses, right = (list(column) for column in zip(*found, strict=True))
    changed: Counter[tuple[str, str, str]] = Counter(
        (row.task, row.label or f"({row.label_status})", label or f"({status})")
        for row, label, status in zip(answers.itertuples(), labels, statuses, strict=True)
        if (row.label, row.label_status) != (label, status)
    )
    return answers.assign(
        label=pd.Series(labels, index=answers.index, dtype=object),
        label_status=pd.Series(statuses, index=answers.index, dtype=object),
        correct=pd.Series(right, index=answers.index, dtype=bool),
    ), changed


def changes_in_words(changed: Counter[tuple[str, str, str]]) -> Iterator[str]:
    """Yield one line a change, the commonest first."""
    if not changed:
        yield "No answer is read differently."
    for (task, before, after), n in changed.most_common():
        yield f"{task}: {before} -> {after}: {n:,}"


def _read(row: Any, prompt: str) -> tuple[str | None, str, bool]:
    task = asked_task(row.task)
    offered = tuple(json.loads(row.forced_choice))
    if task is None and row.forced_choice != "{}":
        task = replace(TASKS["sentiment"], key=row.task, labels=offered)
    if task is None or row.label_status == "failed" or row.note.startswith(REFUSED_BY_SERVICE):
        return row.label, row.label_status, bool(row.correct)
    labels = labels_for(task, prompt) if asked_task(row.task) else offered
    label, status = _parsed(task, row.text, labels)
    return (
        label,
        status,
        is_right(task, label, row.gold, tuple(filter(None, row.aliases.split("|"))), text=row.text),
    )


@cache
def _parsed(task: Task, text: str, labels: tuple[str, ...]) -> tuple[str | None, str]:
    return parse_answer(task, text, labels)
