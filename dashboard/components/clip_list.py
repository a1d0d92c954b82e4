"""The clips of one class: both answers, the right one, what was said and heard; sortable, searched, opened.

A recording with a flag (no speech, very short) says so; looking for "flagged" lists those alone.

Fifty rows at a time. A clip that cannot be made again here says why in its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.benchmark_link import SORTS, BenchmarkView
from dashboard.components.benchmark_marks import button, count, nothing
from dashboard.names import name_of
from engine.stats.agreement import answer_classes
from engine.words import normalise

if TYPE_CHECKING:
    import pandas as pd

ROWS_A_PAGE = 50
LONGEST_CELL = 160

# Why a clip cannot be opened, by clip_id; "" where it can.
Obstacles = Mapping[str, str]


@dataclass(frozen=True)
class ClipRow:
    """One clip of the list, as text."""

    clip_id: str
    said: str
    first: str
    second: str
    gold: str
    heard: str
    voice: str
    flags: str = ""


def rows_of(
    answers: pd.DataFrame, clips: Mapping[str, Mapping[str, Any]], view: BenchmarkView
) -> list[ClipRow]:
    """Return the clips of the view's class that hold the text looked for, in the view's order.

    Args:
        answers: of both systems in one cell.
        clips: rows of the clips by clip_id, for what was said; may be empty.
        view: pair, class, search and order.
    """
    first, second = (answers[answers["system"] == system].set_index("clip_id") for system in view.pair)
    shared = first.index.intersection(second.index)
    first, second = first.loc[shared], second.loc[shared]
    kinds = answer_classes(
        _labels(first), _labels(second), first["correct"].tolist(), second["correct"].tolist()
    )
    chosen = np.asarray(kinds, dtype=object) == view.kind
    found = [
        _row(str(clip_id), a, b, clips.get(str(clip_id), {}))
        for clip_id, a, b in zip(
            shared[chosen], first[chosen].to_dict("records"), second[chosen].to_dict("records"), strict=True
        )
    ]
    wanted = view.find.lower()
    found = [row for row in found if wanted in " ".join(vars(row).values()).lower()]
    name = view.sort.removeprefix("-") or "said"
    return sorted(
        found, key=lambda row: (getattr(row, name).lower(), row.clip_id), reverse=view.sort.startswith("-")
    )


def _labels(rows: pd.DataFrame) -> list[str | None]:
    """Return the labels as they are compared: what differs in case or punctuation only is the same answer."""
    return [normalise(label) if isinstance(label, str) else None for label in rows["label"]]


def _row(
    clip_id: str, first: Mapping[str, Any], second: Mapping[str, Any], clip: Mapping[str, Any]
) -> ClipRow:
    heard = next((row["heard"] for row in (second, first) if row["heard"]), "")
    said = str(clip.get("reference") or "")
    return ClipRow(
        clip_id=clip_id,
        said=said or clip_id,
        first=answer_words(first),
        second=answer_words(second),
        gold=str(first["gold"]),
        heard="as said" if said and normalise(heard) == normalise(said) else heard,
        voice=str(first["voice"]),
        flags=_flags(str(clip.get("flags") or "")),
    )


def _flags(flags: str) -> str:
    """Return what is wrong with a recording, in words that can be looked for; "" for nothing."""
    return f"flagged: {flags.replace('_', ' ').replace(',', ', ')}" if flags else ""


def answer_words(row: Mapping[str, Any]) -> str:
    """Return a stored answer in a few words: its label, or its status and what was said."""
    if isinstance(row["label"], str):
        return str(row["label"])
    said = " ".join(str(row["text"]).split())
    return f"{row['label_status']}: {said or row['reason'] or 'nothing'}"[:LONGEST_CELL]


def list_html(source: str, view: BenchmarkView, title: str, rows: list[ClipRow], obstacles: Obstacles) -> str:
    """Return the list's page as HTML.

    Args:
        source: whose names are used.
        view: pair, order and page.
        title: of the class.
        rows: all clips that were found; one page of them is written.
        obstacles: for the clips of this page.
    """
    page = page_of(view, rows)
    shown = rows[page * ROWS_A_PAGE : (page + 1) * ROWS_A_PAGE]
    found = f'<p class="small" role="status">{escape(title)}: {count(len(rows), "clip")}' + (
        f" with “{escape(view.find)}”</p>" if view.find else "</p>"
    )
    if not rows:
        return found + nothing("No clip fits." if view.find else "No clip is in this class.")
    heads = {
        "said": "Said, choose to open",
        "first": name_of(source, view.pair[0]),
        "second": name_of(source, view.pair[1]),
        "gold": "Right answer",
        "heard": "Transcript",
        "voice": "Voice",
    }
    head = "".join(_head(name, heads[name], view.sort or "said") for name in SORTS)
    body = "".join(_line(row, obstacles.get(row.clip_id, "")) for row in shown)
    return (
        found
        + '<div class="bm-scroll" role="region" aria-label="Clips of this class" tabindex="0">'
        + f'<table class="bm-list"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        + pages_html(page, len(rows))
    )


def page_of(view: BenchmarkView, rows: list[ClipRow]) -> int:
    """Return the page that can be shown: the one asked for, or the last there is."""
    return min(view.page, max(0, (len(rows) - 1) // ROWS_A_PAGE))


def shown_rows(view: BenchmarkView, rows: list[ClipRow]) -> list[ClipRow]:
    """Return the rows of the page that `list_html` writes."""
    page = page_of(view, rows)
    return rows[page * ROWS_A_PAGE : (page + 1) * ROWS_A_PAGE]


def _head(name: str, text: str, sort: str) -> str:
    up, down = sort == name, sort == f"-{name}"
    order = "ascending" if up else "descending" if down else "none"
    mark = "▲" if up else "▼" if down else ""
    return (
        f'<th scope="col" aria-sort="{order}">'
        + button(
            f'{escape(text)}<i aria-hidden="true">{mark}</i>',
            "sort",
            f"-{name}" if up else name,
            classes="bm-sort",
        )
        + "</th>"
    )


def _line(row: ClipRow, obstacle: str) -> str:
    said = escape(row.said[:LONGEST_CELL])
    opens = (
        f'{said}<small class="problem">{escape(obstacle)}</small>'
        if obstacle
        else button(said, "open", row.clip_id, classes="bm-open", title="Open on the clip page")
    )
    opens += f'<small class="bm-quiet">{escape(row.flags)}</small>' if row.flags else ""
    cells = "".join(f"<td>{escape(text[:LONGEST_CELL])}</td>" for text in (row.first, row.second, row.gold))
    quiet = "bm-heard bm-quiet" if row.heard == "as said" else "bm-heard"
    rest = f'<td class="{quiet}">{escape(row.heard[:LONGEST_CELL])}</td><td class="bm-quiet">{escape(row.voice)}</td>'
    return f'<tr><th scope="row">{opens}</th>{cells}{rest}</tr>'


def pages_html(page: int, n_rows: int) -> str:
    """Return which page this is, with buttons to those beside it; "" where there is one only."""
    last = (n_rows - 1) // ROWS_A_PAGE
    if not last:
        return ""
    parts = [f"Page {page + 1} of {last + 1}"]
    if page:
        parts.append(button("Earlier", "page", str(page - 1), classes="bm-small-button"))
    if page < last:
        parts.append(button("Later", "page", str(page + 1), classes="bm-small-button"))
    return f'<p class="bm-pages small">{" ".join(parts)}</p>'
