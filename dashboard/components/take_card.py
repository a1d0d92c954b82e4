"""What can be taken along: every table as CSV and Parquet, and the view as a few lines of Python."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dashboard.benchmark_link import BenchmarkView, level_of
from dashboard.claims import LEDGER, has_ledger
from dashboard.components.benchmark_marks import button, heading
from dashboard.mechanism.behind import PUBLISHED_NAME, mechanism_names
from dashboard.published import published_names
from dashboard.tables import CLIP_TABLES, SOURCES, SUMMARY_TABLES, Level

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
_FOLDERS = {
    "measured": '"assets/benchmark/tables"',
    "published": '"assets/published"',
    "own": '"DIR/tables"  # DIR as given to --results',
}


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
    return (
        heading("Take along")
        + f'<div class="bm-take"><div>{tables}</div>'
        + f'<div><div class="bm-code-head"><p class="small">{escape(code_title)}</p>{copy}</div>'
        + f'<pre id="{code_id}" tabindex="0"><code>{escape(code)}</code></pre></div></div>'
    )


def _python_of_tables(source: str) -> str:
    """Return a few lines that read what the lens and the probes measured, with pandas."""
    names = [name for name in ("lens", "probes") if name in mechanism_names_of(source)]
    origin = source if names else "published"
    lines = ["import pandas as pd", "", f"folder = {_FOLDERS[origin]}"]
    lines += [
        f'{name} = pd.read_csv(f"{{folder}}/{name}.csv", keep_default_na=False, na_values=[""])'
        for name in names or ("lens", "probes")
    ]
    lines.append("print(lens.query(\"measure == 'precision' and task == 'all tasks'\"))")
    return "\n".join(lines)


def python_of(view: BenchmarkView) -> str:
    """Return a few lines that read the view's rows with pandas."""
    level = level_of(view.source, view.task, view.level)
    first, second = view.pair
    lines = [
        "import pandas as pd",
        "",
        f"folder = {_FOLDERS[view.source]}",
        'agreement = pd.read_csv(f"{folder}/agreement.csv", keep_default_na=False, na_values=[""])',
        f"cell = agreement.query({_condition(view.task, level)!r})",
        f'pair = cell.query("system_a == {first!r} and system_b == {second!r}")',
        "print(pair.T)",
    ]
    return "\n".join(lines)


def _condition(task: str, level: Level) -> str:
    ratio = "snr_db.isna()" if level.snr_db is None else f"snr_db == {level.snr_db:g}"
    return f"task == '{task}' and noise == '{level.noise}' and {ratio}"
