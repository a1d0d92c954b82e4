"""What happens on the benchmark page: a query string and an action in, updates of its parts out.

`benchmark.py` binds these to components. Each part is drawn from the settled view alone, so that a link gives
the same page; a part that an action leaves alone is skipped, which keeps the keyboard where it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from dashboard.benchmark_link import BenchmarkView, query_of, settled, view_of
from dashboard.components.take_card import names_of, take_html
from dashboard.opened import key_of
from dashboard.served_files import address_of, write_table
from dashboard.table_rows import frame_of
from dashboard.tables import first_source, folder_of, table, why_empty
from dashboard.tabs import benchmark_parts as parts
from dashboard.tabs.clip_texts import problem, small
from engine.errors import TableError, UnknownKeyError

Update = Any
SKIP: Update = gr.skip()


class Shown(NamedTuple):
    """Updates of the page's parts, in the order of `benchmark.Benchmark.parts`."""

    state: Update = SKIP
    filters: Update = SKIP
    note: Update = SKIP
    body: Update = SKIP
    matrix: Update = SKIP
    pair: Update = SKIP
    clips_box: Update = SKIP
    clips: Update = SKIP
    curves: Update = SKIP
    stated_box: Update = SKIP
    stated: Update = SKIP
    accuracy_plot: Update = SKIP
    accuracy_table: Update = SKIP
    difference_plot: Update = SKIP
    difference_table: Update = SKIP
    confound_plot: Update = SKIP
    confound_table: Update = SKIP
    errors_box: Update = SKIP
    errors: Update = SKIP
    decision: Update = SKIP
    take: Update = SKIP


def draw(query: str) -> Shown:
    """Return the whole page for a query string; what cannot be read is said in place of the page."""
    try:
        view = settled(view_of(query))
        if folder_of(view.source) is None:
            return _empty(view, _with_code(small(why_empty(view.source))))
        if not len(table(view.source, "agreement")):
            return _empty(view, small("This run compares no two systems yet."))
        return _whole(view)
    except TableError as error:
        return _empty(view_of(query), problem(str(error)))


def _with_code(html: str) -> str:
    """Return escaped HTML with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html)


def _empty(view: BenchmarkView, note: str) -> Shown:
    hidden = gr.update(visible=False)
    return Shown(state=query_of(view), filters="", note=note, body=hidden)


def _whole(view: BenchmarkView) -> Shown:
    measured = view.source != "published"
    charts = {**(parts.differences(view) if measured else {}), **parts.confound(view)}
    return Shown(
        filters=parts.filters(view),
        note=parts.note(view),
        body=gr.update(visible=True),
        matrix=parts.matrix(view),
        curves=gr.update(visible=measured),
        errors_box=gr.update(visible=measured),
        stated_box=gr.update(visible=not measured),
        stated="" if measured else parts.stated(),
        **_drawn(charts),
        **_of_pair(view),
    )


def _drawn(charts: parts.Parts) -> dict[str, Update]:
    """Return charts and tables as updates; a chart that is not drawn is hidden."""
    return {
        name: gr.update(value=part, visible=part is not None) if name.endswith("_plot") else part
        for name, part in charts.items()
    }


def _of_pair(view: BenchmarkView) -> dict[str, Update]:
    """Return the parts that change with the pair."""
    accuracy = _drawn(parts.accuracy(view)) if view.source != "published" else {}
    return _of_cell(view) | accuracy


def _of_cell(view: BenchmarkView) -> dict[str, Update]:
    """Return the parts that change with the noise condition or the pair."""
    return {
        "pair": parts.pair(view),
        "clips_box": gr.update(visible=parts.has_clips(view)),
        "errors": parts.errors(view),
        "decision": parts.decision(view),
        **_of_list(view),
        "take": take_html(view),
    }


def _of_list(view: BenchmarkView) -> dict[str, Update]:
    shown = parts.clips(view) if parts.has_clips(view) else ""
    return {"state": query_of(view), "clips": shown}


def restore(said: Mapping[str, str]) -> tuple[str, str, Update]:
    """Return what an address says of this page as a query string of ours ("": nothing), its source and its search."""
    view = view_of(said)
    state = "" if view == BenchmarkView() else query_of(view)
    # Filling the search is an event of this tab, which would take the address from the one that is open.
    return state, view.source or first_source(), view.find or SKIP


def choose_source(query: str, source: str) -> Shown:
    """Return the page of another source; tasks and systems differ, so all but the search starts afresh."""
    return draw(query_of(BenchmarkView(source=source, find=view_of(query).find)))


def _choose_cell(before: BenchmarkView, choice: str) -> Shown:
    """Return the page for another task or another noise condition, pair and class kept where they exist."""
    asked = view_of(choice)
    if asked.task:
        return draw(query_of(replace(before, task=asked.task, page=0)))
    view = settled(replace(before, level=asked.level, page=0))
    changed = _of_cell(view) if view.pair == before.pair else _of_pair(view)
    return Shown(matrix=parts.matrix(view), **_drawn(parts.confound(view)), **changed)


def find(query: str, text: str) -> Shown:
    """Return the list with only the clips that hold this text; nothing where it is searched for already."""
    asked = view_of(query)
    if asked.find == (text or ""):
        return Shown()
    return Shown(**_of_list(settled(replace(asked, find=text or "", page=0))))


def act(query: str, do: str, value: str) -> Shown:
    """Return what a button in one of the page's parts changes.

    Args:
        query: what is shown.
        do: "option", "pair", "class", "errors", "sort" or "page"; others change nothing here.
        value: of that.
    """
    view = settled(view_of(query))
    if do == "option":
        return _choose_cell(view, value)
    asked = view_of({"pair": value, "class": value, "sort": value, "rows": value})
    if do == "pair":
        return Shown(**_of_pair(settled(replace(view, pair=asked.pair, page=0))))
    if do == "errors":
        view = settled(replace(view, pair=asked.pair, kind="both_wrong_same", page=0))
        return Shown(**{**_of_pair(view), "matrix": parts.matrix(view)})
    if do == "class":
        return Shown(**_of_list(replace(view, kind=asked.kind, page=0)))
    if do == "sort":
        return Shown(**_of_list(replace(view, sort=asked.sort, page=0)))
    if do == "page":
        return Shown(**_of_list(replace(view, page=asked.page)))
    return Shown()


def clip_behind(query: str, clip_id: str) -> tuple[str, tuple[str, ...]]:
    """Return the key of a clip in the list that is shown, and the systems whose clips are listed."""
    view = settled(view_of(query))
    return key_of(view.source, clip_id), view.pair


def take(query: str, file: str) -> str:
    """Return the address of a file with a whole table of the shown source.

    Raises:
        UnknownKeyError: there is no such table or format.
    """
    source = settled(view_of(query)).source
    name, _, form = file.partition(".")
    if name not in names_of(source) or form not in ("csv", "parquet"):
        raise UnknownKeyError("There is no such table to take along.")
    return address_of(write_table(frame_of(source, name), f"{source}-{name}.{form}"))
