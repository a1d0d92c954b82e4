"""The unit of the benchmark: one question with a right answer, before any voice has said it.

`mini_world` and `manifest` make items; `precompute.clips` turns each into clips.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from engine.request import Question
from engine.tasks import TASKS, instruction_for, labels_for


@dataclass(frozen=True)
class Item:
    """One question; said in several voices it stays one item.

    Attributes:
        item_id: "task-1a2b3c4d", the same for the same content on every machine.
        task: key of the task; for a corpus of one's own the name of its manifest.
        text: the words that are said, "" where they are not known.
        prompt: the choices, or the question of an own corpus; "" where the task asks the same of all.
        gold: the right answer; "" where the voice decides it (who speaks).
        aliases: other right answers.
        group: items of one group are related: one text, one speaker, one film.
        question: what is asked, with the allowed answers.
        feeling: how it is to be said; "" plainly.
        file, sha256: an own recording below its manifest's folder and the hash of its bytes, else "".
    """

    item_id: str
    task: str
    text: str
    prompt: str
    gold: str
    aliases: tuple[str, ...]
    group: str
    question: Question
    feeling: str = ""
    file: str = ""
    sha256: str = ""


def item_key(task: str, *parts: str) -> str:
    """Return a short name for an item of this content."""
    return f"{task}-{short_hash(task, *parts)}"


def short_hash(*parts: object) -> str:
    """Return eight hexadecimal digits of the parts."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:8]


def question_of(task: str, prompt: str = "") -> Question:
    """Return what one of the product's own tasks asks."""
    row = TASKS[task]
    return Question(row, instruction_for(row, prompt), labels_for(row, prompt))
