"""What can be taken along: every table as CSV and Parquet, and the view as a few lines of Python that ask this page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dashboard.benchmark_link import BenchmarkView, level_of
from dashboard.claims import LEDGER, has_ledger
from dashboard.components.benchmark_marks import button, heading
from dashboard.mechanism.behind import PUBLISHED_NAME, mechanism_names
from dashboard.published import published_names
from dashboard.tables import CLIP_TABLES, SOURCES, SUMMARY_TABLES

MEANINGS = {
    "accuracy": "how often each system is right",
    "agreement": "every pair of systems",
    "shared_errors": "same wrong answers, clip by clip",
    "confound": "matched minus mismatched",
    "cost": "time, size and memory",
    "claims": "the ledger of claims",
    "claim_cells": "every cell of every claim",
    "answers": "every single answer",
    "clips": "every clip and its recipe",
    "systems": "the paper's systems",
    "noise": "stated values in babble",
    "prose": "figures that the text alone states",
    "probes": "layer-wise probes",
    "lens": "logit lens, layer by layer",
    "noise_lens": "logit lens in noise",
    "sufficiency": "lens text as a transcript: the implicit cascade",
    "erasure": "accuracy after erasure",
    "damage": "what else an erasure takes",
    "lens_clips": "the lens, clip by clip",
    "implicit_clips": "the implicit cascade, clip by clip",
    "erasure_clips": "every answer after erasure",
    "probe_clips": "the clips that the probes read",
    "probe_scores": "the probes, clip by clip",
    "lens_recall_outside": "a replication by others",
    "interleaved": "the latent transcript, layer by layer",
    "phases": "where its phases lie",
    "spoken_knowledge": "right against counterfactual ends",
    "phase_causal": "what erasing and patching change",
    "interleaved_clips": "the latent transcript, clip by clip",
    "knowledge_facts": "every fact and its two ends",
    "causal_clips": "every edit, clip by clip",
}

# Measured by others than us or the paper; it stands with the published tables.
OUTSIDE = ("lens_recall_outside",)
# In the lines of Python; the browser puts the address there under which it sees the page.
ADDRESS = "http://127.0.0.1:7860"


def names_of(source: str) -> tuple[str, ...]:
    """Return the tables that a source offers; those of mechanism only where it was measured."""
    return (*_behaviour_names(source), *mechanism_names_of(source))


def _behaviour_names(source: str) -> tuple[str, ...]:
    if source != "published":
        # A run that was summarised before there was a ledger has none.
        return (*SUMMARY_TABLES, *(LEDGER if has_ledger(source) else ()), *CLIP_TABLES)
    return tuple(name for name in published_names() if name not in mechanism_names_of(source))


def mechanism_names_of(source: str) -> tuple[str, ...]:
    """Return the tables of mechanism that a source offers."""
    return (*mechanism_names(source), *(OUTSIDE if source == "published" else ()))


def take_html(view: BenchmarkView) -> str:
    """Return the card's HTML for a settled view whose source is here."""
    return _card(
        tables_html(_behaviour_names(view.source)), "bm-code", "This view in Python", python_of(view)
    )


def mechanism_take_html(source: str) -> str:
    """Return the card of the mechanism page: the tables of a source, and the published ones."""
    lists = [
        f'<p class="small">{escape(title)}</p>{tables_html(mechanism_names_of(origin), f"{origin}/")}'
        for title, origin in ((SOURCES[source], source), (PUBLISHED_NAME, "published"))
        if mechanism_names_of(origin)
    ]
    return _card("".join(lists), "mech-code", "These tables in Python", _python_of_tables(source))


def tables_html(names: Sequence[str], folder: str = "") -> str:
    """Return the list of tables with their buttons; `folder` goes before the file that a button asks for."""
    rows = "".join(
        f"<li><span><b>{escape(name)}</b><small>{escape(MEANINGS.get(name, ''))}</small></span>"
        + "".join(
            button(
                label,
                "take",
                f"{folder}{name}.{label.lower()}",
                classes="bm-small-button",
                aria_label=f"{name} as {label}",
            )
            for label in ("CSV", "Parquet")
        )
        + "</li>"
        for name in names
    )
    return f'<ul class="bm-tables">{rows}</ul>'


def _card(tables: str, code_id: str, code_title: str, code: str) -> str:
    copy = button(
        "Copy", "copy", f"#{code_id} code", classes="bm-small-button", aria_label="Copy the Python lines"
    )
    lines = escape(code).replace(ADDRESS, f'<span class="page-address">{ADDRESS}</span>')
    return (
        heading("Take along")
        + f'<div class="bm-take"><div>{tables}</div>'
        + f'<div><div class="bm-code-head"><p class="small">{escape(code_title)}</p>{copy}</div>'
        + f'<pre id="{code_id}" tabindex="0"><code>{lines}</code></pre></div></div>'
    )


def _python_of_tables(source: str) -> str:
    """Return a few lines that ask the page for what the lens and the probes measured."""
    names = [name for name in ("lens", "probes") if name in mechanism_names_of(source)]
    origin = source if names else "published"
    lines = [
        f"{name} = rows_of({name!r}, source={origin!r}, limit=10_000)" for name in names or ("lens", "probes")
    ]
    return "\n".join(
        [*_CLIENT, *lines, "print(lens.query(\"measure == 'precision' and task == 'all tasks'\"))"]
    )


def python_of(view: BenchmarkView) -> str:
    """Return a few lines that ask the page for the view's rows; they run wherever the page is reached."""
    level = level_of(view.source, view.task, view.level)
    first, second = view.pair
    filters = {"task": view.task, "noise": level.noise, "snr_db": level.snr_db}
    lines = [
        f"cell = rows_of('agreement', source={view.source!r}, filters={filters!r})",
        f'pair = cell.query("system_a == {first!r} and system_b == {second!r}")',
        "print(pair.T)",
    ]
    return "\n".join([*_CLIENT, *lines])


_CLIENT = (
    "# pip install gradio_client pandas",
    "import pandas as pd",
    "from gradio_client import Client",
    "",
    f'client = Client("{ADDRESS}", verbose=False)',
    "",
    "def rows_of(name, **asked):",
    '    return pd.DataFrame(client.predict(name=name, api_name="/table", **asked)["rows"])',
    "",
)
