"""What happens on the interleaved tab beside its runs: values in, updates of its parts out.

`interleaved.py` binds these to components. The charts are read from tables; what cannot be read is said in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from dashboard.components.mechanism_cards import chart_head_html
from dashboard.components.take_card import tables_html
from dashboard.components.unit_payload import k_value
from dashboard.form import example_of_file, opened_of_file
from dashboard.interleaved.sections import SECTIONS
from dashboard.interleaved_link import (
    NO_POINT,
    TAB,
    InterleavedView,
    Point,
    point_of,
    query_of,
    state_of,
    view_of,
)
from dashboard.mechanism.behind import has_table, where_measured
from dashboard.mechanism.section import Drawn, Section
from dashboard.mechanism_link import MAX_CHARACTERS, PAGE_SOURCES, first_source
from dashboard.opened import key_of, open_clip
from dashboard.served_files import address_of, write_table
from dashboard.table_rows import frame_of
from dashboard.tables import folder_of, why_empty
from dashboard.tabs.clip_handlers import SKIP, ClipUpdate, Update, example_clip, say_with_times
from dashboard.tabs.clip_texts import problem, small
from dashboard.tabs.interleaved_runs import said_of
from dashboard.tabs.mechanism_handlers import clips_html
from dashboard.unit_model import why_no_model
from engine.audio import load_clip
from engine.columns import INTERLEAVED_TABLES
from engine.errors import EngineError, UnknownKeyError
from engine.examples import EXAMPLES, Example

NOTHING = state_of(NO_POINT)
IN_THIS_TAB = "Take it to the clip box above"
_AT_K = ("recall", "phases")  # of the others some part is at a k of its own, which they say themselves


def take_example(index: int) -> ClipUpdate:
    """Return clip and words of an example."""
    return example_clip(EXAMPLES[index])


def say(text: str, voice_key: str, rate_wpm: float, pitch: float) -> tuple[Any, ...]:
    """Return a clip of a voice that says the text, and its words with their times; raises as the clip page's."""
    update, words = say_with_times(text, voice_key, rate_wpm, pitch)
    return (*update, said_of(load_clip(update.audio), words))


def card_id(section: Section) -> str:
    """Return the id of a chart's card; those of its parts begin with it."""
    return f"inter-{section.key}"


def draw(source: str | None, k: int, state: str = "") -> tuple[Update, ...]:
    """Return where the numbers were measured, each chart with its list, and what to take along.

    Args:
        source: of the numbers; None takes the first there is.
        k: among how many top tokens a word counts.
        state: the point whose clips are listed, as `state_of` has it.
    """
    source = source if source in PAGE_SOURCES else first_source()
    point = point_of(state)
    cards = [
        part for section in SECTIONS for part in (*_card(section, source, k), _list(section, source, point))
    ]
    return (_note(source), *cards, _take(source))


def draw_anew(source: str | None, k: int) -> tuple[Update, ...]:
    """Return what tells the view its k, no point, and the charts: another source's models may differ."""
    return (k_value(k), NOTHING, *draw(source, k))


def _card(section: Section, source: str, k: int) -> tuple[Update, Update, Update]:
    """Return head, chart and table of a section; what cannot be read is said in their place."""
    try:
        drawn = section.draw(source, {"k": str(k)})
    except EngineError as error:
        drawn = Drawn(None, "", problem(str(error)))
    title = f"{section.title}; k = {k}" if section.key in _AT_K else section.title
    return (
        chart_head_html(title, section.says, f"{card_id(section)}-plot"),
        gr.update(value=drawn.figure, visible=drawn.figure is not None),
        drawn.table + drawn.note,
    )


def _list(section: Section, source: str, point: Point) -> str:
    if point.section != section.key:
        return ""
    return clips_html(section, source, point.key, point.page, IN_THIS_TAB)


def act(source: str | None, state: str, key: str, do: str, value: str) -> tuple[Update, ...]:
    """Return the point that is chosen and the lists of all charts, after a button or a point of one.

    Args:
        source: of the numbers.
        state: the point that was chosen before, as `state_of` has it.
        key: of the section.
        do: "point", "page" or "close"; others change nothing here.
        value: of that.
    """
    point = point_of(state)
    if do == "page" and point.section == key and value.isdigit() and len(value) < 6:
        point = point._replace(page=int(value))
    elif do == "point" and 0 < len(value) <= MAX_CHARACTERS:
        point = Point(key, value)
    elif do == "close":
        point = NO_POINT
    else:
        return (SKIP,) * (1 + len(SECTIONS))
    source = source if source in PAGE_SOURCES else first_source()
    return (state_of(point), *(_list(section, source, point) for section in SECTIONS))


def open_behind(source: str | None, clip_id: str) -> ClipUpdate:
    """Return a clip of a list, made again for the clip box.

    Raises:
        EngineError: it cannot be made again here; the sentence says why.
    """
    return _opened(key_of(source or first_source(), clip_id))


def _opened(key: str) -> ClipUpdate:
    opened = open_clip(key)
    clip = example_clip(opened.example)
    return clip._replace(clip_note=clip.clip_note + small(opened.note))


def _note(source: str) -> str:
    if folder_of(source) is None:
        return small(why_empty(source))
    try:
        return small(where_measured(source))
    except EngineError as error:
        return problem(str(error))


def names_of(source: str) -> tuple[str, ...]:
    """Return the tables of interleaved models that a source has."""
    return tuple(name for name in INTERLEAVED_TABLES if has_table(source, name))


def _take(source: str) -> str:
    names = names_of(source)
    title = '<h2 class="card-title">Take along</h2>'
    return title + (tables_html(names, f"{source}/") if names else small("This run has no such tables yet."))


def take(query: str, file: str) -> str:
    """Return the address of a file with a whole table.

    Raises:
        UnknownKeyError: there is no such table or format.
    """
    del query  # the file names its source itself
    source, _, rest = file.partition("/")
    name, _, form = rest.partition(".")
    if source not in PAGE_SOURCES or name not in names_of(source) or form not in ("csv", "parquet"):
        raise UnknownKeyError("There is no such table to take along.")
    return address_of(write_table(frame_of(source, name), f"{source}-{name}.{form}"))


def query(
    source: str | None, k: int, after: str, audio: str | None, has_result: bool, state: str = ""
) -> str:
    """Return the tab's link; an own clip is not part of it, one of the benchmark is."""
    opened = opened_of_file(audio)
    example = None if opened else example_of_file(audio)
    view = InterleavedView(
        source=source or first_source(),
        k=k,
        after=after,
        example=example.key if example else "",
        run=bool(has_result),
        clip=opened.key if opened else "",
        point=point_of(state),
    )
    return query_of(view)


def restore(said: Mapping[str, str]) -> tuple[Update, ...]:
    """Return what the model lacks, then tab, clip, its note and words, k, after, source, point and whether to run."""
    why = small(why_no_model())
    if said.get("tab") != TAB:
        return (why, *(SKIP for _ in range(6)), first_source(), SKIP, False)
    known = {example.key: example for example in EXAMPLES}
    view = view_of(said, known)
    clip, runs = _restored_clip(view, known)
    return (why, gr.Tabs(selected=TAB), *clip, view.k, view.after, view.source, state_of(view.point), runs)


def _restored_clip(view: InterleavedView, known: Mapping[str, Example]) -> tuple[ClipUpdate, bool]:
    """Return the clip of a link and whether to run it; one that cannot be made again says why."""
    if view.example:
        return example_clip(known[view.example]), view.run
    if not view.clip:
        return ClipUpdate(SKIP, SKIP, SKIP), False
    try:
        return _opened(view.clip), view.run
    except EngineError as error:
        return ClipUpdate(SKIP, problem(str(error)), SKIP), False
