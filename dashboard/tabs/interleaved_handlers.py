"""What happens on the interleaved tab beside its runs: values in, updates of its parts out.

`interleaved.py` binds these to components. The charts are read from tables; what cannot be read is said in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from dashboard.components.benchmark_marks import button
from dashboard.components.take_card import tables_html
from dashboard.components.unit_payload import k_value
from dashboard.form import example_of_file
from dashboard.interleaved import recall
from dashboard.interleaved.findings import findings_html
from dashboard.interleaved_link import TAB, InterleavedView, first_source, query_of, view_of
from dashboard.mechanism.behind import has_table, where_measured
from dashboard.mechanism.section import Drawn
from dashboard.mechanism_link import PAGE_SOURCES
from dashboard.served_files import address_of, write_table
from dashboard.table_rows import frame_of
from dashboard.tables import folder_of, why_empty
from dashboard.tabs.clip_handlers import SKIP, ClipUpdate, Update, example_clip, say_with_times
from dashboard.tabs.clip_texts import problem, small
from dashboard.tabs.interleaved_runs import said_of
from dashboard.unit_model import why_no_model
from engine.audio import load_clip
from engine.errors import EngineError, UnknownKeyError
from engine.examples import EXAMPLES
from engine.interleaved_records import INTERLEAVED_TABLES

PLOT_ID = "inter-recall-plot"
TITLE = "Four controls, and continuous encoders"
SAYS = (
    "Does a model trained on interleaved units and text pass through the word being spoken, then the next word, then "
    "back to units? Beside it: random start, speech only, and models that hear through a continuous encoder."
)


class Charts(NamedTuple):
    """The part of the tab that is read from tables."""

    note: Update
    head: Update
    plot: Update
    table: Update
    findings: Update
    take: Update


def take_example(index: int) -> ClipUpdate:
    """Return clip and words of an example."""
    return example_clip(EXAMPLES[index])


def say(text: str, voice_key: str, rate_wpm: float, pitch: float) -> tuple[Any, ...]:
    """Return a clip of a voice that says the text, and its words with their times; raises as the clip page's."""
    update, words = say_with_times(text, voice_key, rate_wpm, pitch)
    return (*update, said_of(load_clip(update.audio), words))


def draw(source: str | None, k: int) -> tuple[Update, ...]:
    """Return the source that is shown and all charts of it; None takes the first there is."""
    source = source if source in PAGE_SOURCES else first_source()
    saves = "".join(
        button(
            form.upper(),
            "chart",
            f"{PLOT_ID}.{form}",
            classes="bm-small-button",
            aria_label=f"{TITLE} as {form.upper()}",
        )
        for form in ("png", "svg")
    )
    head = (
        f'<div class="bm-chart-head"><h2 class="card-title">{TITLE}; k = {k}</h2><span>{saves}</span></div>'
        f'<p class="mech-says">{SAYS}</p>'
    )
    try:
        drawn = recall.draw(source, k)
    except EngineError as error:
        drawn = Drawn(None, "", problem(str(error)))
    plot = gr.update(value=drawn.figure, visible=drawn.figure is not None)
    charts = Charts(
        _note(source), head, plot, drawn.table + drawn.note, findings_html(source, k), _take(source)
    )
    return (source, *charts)


def choose_k(source: str | None, k: int) -> tuple[Update, ...]:
    """Return what tells the view its k, and what the charts change with it."""
    _, _, *charts, _ = draw(source, k)
    return (k_value(k), *charts)


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


def query(source: str | None, k: int, after: str, audio: str | None, has_result: bool) -> str:
    """Return the tab's link; an own clip is not part of it."""
    example = example_of_file(audio)
    shipped = example.key if example and any(one.key == example.key for one in EXAMPLES) else ""
    return query_of(InterleavedView(source or first_source(), k, after, shipped, bool(has_result)))


def restore(said: Mapping[str, str]) -> tuple[Update, ...]:
    """Return what the model lacks, then tab, clip, its note and words, k, after, source and whether to run at once."""
    why = small(why_no_model())
    if said.get("tab") != TAB:
        return (why, *(SKIP for _ in range(7)), False)
    known = {example.key: example for example in EXAMPLES}
    view = view_of(said, known)
    clip = example_clip(known[view.example]) if view.example else ClipUpdate(SKIP, SKIP, SKIP)
    return (why, gr.Tabs(selected=TAB), *clip, view.k, view.after, view.source, view.run)
