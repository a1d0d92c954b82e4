"""What happens on the mechanism page: a query string and an action in, updates of its parts out.

`mechanism.py` binds these to components. Each part is drawn from the settled view alone, so that a link gives
the same page; a part that an action leaves alone is skipped, which keeps the keyboard where it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from dashboard.components.mechanism_cards import ON_CLIP_PAGE, head_html, listed_html, shown_clips
from dashboard.components.take_card import mechanism_names_of, mechanism_take_html
from dashboard.mechanism.behind import NO_MECHANISM, mechanism_names, where_measured
from dashboard.mechanism.section import Drawn, Section
from dashboard.mechanism.sections import SECTIONS, section_of
from dashboard.mechanism_link import (
    MechanismView,
    chosen_in,
    options_of,
    query_of,
    settled,
    view_of,
    with_option,
)
from dashboard.names import kind_of
from dashboard.opened import key_of, obstacle_of
from dashboard.served_files import address_of, write_table
from dashboard.table_rows import frame_of
from dashboard.tables import clips_of, folder_of, why_empty
from dashboard.tabs.clip_texts import problem, small
from engine.errors import EngineError, UnknownKeyError

Update = Any
# Updates by the name of a part; a part that is not named is left alone.
Shown = dict[str, Update]
SKIP: Update = gr.skip()

PUBLISHED_BESIDE = "The paper's figures stand beside, in panels of their own."


def part_names() -> tuple[str, ...]:
    """Return the names of the page's parts in the order of `mechanism.Mechanism.parts`."""
    return (
        *("state", "note"),
        *(f"{section.key}.{part}" for section in SECTIONS for part in ("head", "plot", "table", "clips")),
        "take",
    )


def in_order(shown: Shown) -> tuple[Update, ...]:
    """Return the updates for all parts, in their order."""
    return tuple(shown.get(name, SKIP) for name in part_names())


def draw(query: str) -> Shown:
    """Return the whole page for a query string."""
    view = settled(view_of(query))
    shown: Shown = {"state": query_of(view), "note": _note(view)}
    for section in SECTIONS:
        head = head_html(section, options_of(section, view.source))
        shown |= {f"{section.key}.head": head} | _section(view, section) | _list(view, section)
    return shown | {"take": mechanism_take_html(view.source)}


def _note(view: MechanismView) -> str:
    """Return where the numbers come from, or how to get some."""
    if folder_of(view.source) is None:
        return _with_code(small(why_empty(view.source)))
    if not mechanism_names(view.source):
        return _with_code(small(NO_MECHANISM))
    try:
        where = where_measured(view.source)
    except EngineError as error:
        return problem(str(error))
    return small(f"{where} {PUBLISHED_BESIDE}".strip())


def _with_code(html: str) -> str:
    """Return escaped HTML with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html)


def _section(view: MechanismView, section: Section) -> Shown:
    """Return chart and table of a section; what cannot be read is said in their place."""
    try:
        drawn = section.draw(view.source, chosen_in(view, section.key))
    except EngineError as error:
        drawn = Drawn(None, "", problem(str(error)))
    return {
        f"{section.key}.plot": gr.update(value=drawn.figure, visible=drawn.figure is not None),
        f"{section.key}.table": drawn.table + drawn.note,
    }


def _list(view: MechanismView, section: Section) -> Shown:
    """Return the clips of the chosen point, nothing in a section whose point it is not."""
    chosen = view.section == section.key
    return {f"{section.key}.clips": clips_html(section, view.source, view.point, view.page) if chosen else ""}


def clips_html(section: Section, source: str, point: str, page: int, opens: str = ON_CLIP_PAGE) -> str:
    """Return the list of a point's clips, one page of it, or why there is none; `opens` says what pressing one does."""
    try:
        listed = section.clips(source, point)
        shown = shown_clips(listed, page)
        known = clips_of(source, tuple(row.clip_id for row in shown))
    except EngineError as error:
        return problem(str(error))
    obstacles = {row.clip_id: listed.closed or obstacle_of(known.get(row.clip_id, {})) for row in shown}
    said = {clip_id: str(row.get("reference") or "") for clip_id, row in known.items()}
    return listed_html(listed, page, said, obstacles, opens)


def said_in(query: Mapping[str, str]) -> str:
    """Return what an address says of this page, as a query string of ours; "" where it is of another tab."""
    return query_of(view_of(query)) if query.get("tab") == "mechanism" else ""


def choose_source(query: str, source: str) -> Shown:
    """Return the page of another source; systems and tasks differ, so the point is dropped."""
    view = view_of(query)
    return {} if source == view.source else draw(query_of(MechanismView(source, view.options)))


def act(query: str, key: str, do: str, value: str) -> Shown:
    """Return what a button, a choice or a point of a section changes.

    Args:
        query: what is shown.
        key: of the section.
        do: "option", "point", "page" or "close"; others change nothing here.
        value: of that.
    """
    section = section_of(key)
    if section is None:
        return {}
    view = settled(view_of(query))
    if do == "option":
        view = with_option(view, value)
        return {"state": query_of(view)} | _section(view, section)
    if do == "page" and view.section == key:
        view = replace(view, page=view_of({"rows": value}).page)
    elif do == "point" and value:
        before = section_of(view.section)
        view = replace(view, section=key, point=value, page=0)
        view = view_of(query_of(view))
        emptied = _list(view, before) if before else {}
        return {"state": query_of(view)} | emptied | _list(view, section)
    elif do == "close":
        view = replace(view, section="", point="", page=0)
    else:
        return {}
    return {"state": query_of(view)} | _list(view, section)


def clip_behind(query: str, clip_id: str) -> tuple[str, tuple[str, ...]]:
    """Return the key of a clip in the list that is shown, and the speech LLM that its point names, if one."""
    view = settled(view_of(query))
    named = tuple(part for part in re.split(r"[|~]", view.point) if kind_of(view.source, part))
    return key_of(view.source, clip_id), named


def take(query: str, file: str) -> str:
    """Return the address of a file with a whole table, of the shown source or the paper's.

    Raises:
        UnknownKeyError: there is no such table or format.
    """
    origin, _, rest = file.partition("/")
    name, _, form = rest.partition(".")
    allowed = (settled(view_of(query)).source, "published")
    if origin not in allowed or name not in mechanism_names_of(origin) or form not in ("csv", "parquet"):
        raise UnknownKeyError("There is no such table to take along.")
    return address_of(write_table(frame_of(origin, name), f"{origin}-{name}.{form}"))
