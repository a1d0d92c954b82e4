"""The card of a benchmark's clip on the clip page: its name, and what the systems answered in that run."""

from __future__ import annotations

from html import escape

from dashboard.components.benchmark_marks import heading, plain_table
from dashboard.components.clip_list import answer_words
from dashboard.names import in_order, kind_of, name_of
from dashboard.opened import MARK, Opened
from dashboard.tables import SOURCES

_ROLES = {"speech_llm": "speech LLM", "cascade": "cascade", "text_llm": "given the true transcript"}
_RIGHT = {True: "right", False: "wrong"}


def stored_answers_html(opened: Opened | None) -> str:
    """Return the card for the clip on the rail, "" where it is not one of a benchmark."""
    if opened is None:
        return ""
    source, _, clip_id = opened.key.partition(MARK)
    answers = {str(row["system"]): row for row in opened.answers}
    rows = [
        (
            name_of(source, key),
            _ROLES.get(kind_of(source, key), ""),
            answer_words(answers[key]),
            _RIGHT.get(answers[key]["correct"], "–"),
        )
        for key in in_order(source, set(answers))
    ]
    about = f"{SOURCES.get(source, source)}. Right is: {opened.example.gold}. Run answers it live."
    table = plain_table(("System", "", "Stored answer", ""), rows) if rows else ""
    return (
        f'<section class="card stored-answers" aria-label="Stored answers">'
        f"{heading(f'Stored answers to clip {clip_id}', about)}"
        f'<details open><summary class="small">{escape(f"{len(rows)} systems")}</summary>{table}</details></section>'
    )
