"""Where the phases lie, what the models know by ear, and what erasing or patching does: three tables as they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from dashboard.components.benchmark_marks import plain_table
from dashboard.interleaved.recall import number, rows_of, span, why_none
from dashboard.mechanism.charts import note_html
from engine.errors import EngineError
from engine.interleaved_records import BOUNDARIES, CAUSAL_ARMS, KNOWLEDGE_MEASURES

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One table of the card.

    Attributes:
        table: its name in a run.
        says: one sentence: what it holds and what stands beside it.
        headers: of its columns.
        cells: a row's cells, plain text.
        order: a column, and its words in the order in which rows are shown.
        at_k: whether only the rows of the chosen k are shown.
    """

    table: str
    title: str
    says: str
    headers: tuple[str, ...]
    cells: Callable[[Row], tuple[str, ...]]
    order: tuple[str, tuple[str, ...]]
    at_k: bool = False


def _who(row: Row) -> str:
    return f"{row['model']} ({row['initialisation']}, {row['data']})"


def _phase(row: Row) -> tuple[str, ...]:
    return (
        *(_who(row), str(row["boundary"])),
        number(row["layer"], 0),
        span(row["low"], row["high"], 0),
        number(row["score"]),
        span(row["score_low"], row["score_high"]),
        f"{100 * row['undefined']:.0f} %" if not math.isnan(row["undefined"]) else "–",
        *(f"{int(row['n_groups']):,}", str(row["note"] or "")),
    )


def _knowledge(row: Row) -> tuple[str, ...]:
    return (
        *(_who(row), str(row["step"]), str(row["measure"])),
        number(row["value"]),
        span(row["low"], row["high"]),
        number(row["chance"], 1),
        *(f"{int(row['n']):,}", f"{int(row['n_groups']):,}", str(row["note"] or "")),
    )


def _causal(row: Row) -> tuple[str, ...]:
    def against(name: str) -> str:
        value = row[name]
        return (
            number(value)
            if math.isnan(value)
            else f"{number(value)} ({span(row[f'{name}_low'], row[f'{name}_high'])})"
        )

    return (
        *(_who(row), str(row["arm"]).replace("_", " "), str(row["outcome"]), str(row["layers"])),
        number(row["value"]),
        span(row["low"], row["high"]),
        *(against("change"), against("vs_rank_matched"), against("vs_change_matched")),
        *(f"{int(row['n']):,}", f"{int(row['n_groups']):,}", str(row["note"] or "")),
    )


FINDINGS = (
    Finding(
        table="phases",
        title="Where the phases lie",
        says="The layer at which R peaks for the current and for the next word, and the first layer after that at "
        "which units outweigh text; the definitions are ours.",
        headers=(
            *("Model", "Boundary", "Layer", "95 %", "R or share there", "95 %", "No such layer"),
            *("Groups", "Note"),
        ),
        cells=_phase,
        order=("boundary", BOUNDARIES),
        at_k=True,
    ),
    Finding(
        table="spoken_knowledge",
        title="Spoken knowledge",
        says="How often the right spoken end of a statement is likelier than a counterfactual one, beside chance; and "
        "over the checkpoints of a training its rank correlation with R.",
        headers=("Model", "Step", "Measure", "Value", "95 %", "Chance", "n", "Groups", "Note"),
        cells=_knowledge,
        order=("measure", KNOWLEDGE_MEASURES),
    ),
    Finding(
        table="phase_causal",
        title="Is the latent text used?",
        says="The current word's direction erased in the first phase, beside random cuts of equal rank and of equal "
        "change; and the states of another word put in its place.",
        headers=(
            *("Model", "Arm", "Outcome", "Layers", "Value", "95 %", "Change", "Against equal rank"),
            *("Against equal change", "n", "Groups", "Note"),
        ),
        cells=_causal,
        order=("arm", CAUSAL_ARMS),
    ),
)


def findings_html(source: str, k: int) -> str:
    """Return the three tables of a source as HTML, each with its sentence; escaped."""
    return "".join(_finding(finding, source, k) for finding in FINDINGS)


def _finding(finding: Finding, source: str, k: int) -> str:
    head = (
        f'<h2 class="card-title">{escape(finding.title)}</h2><p class="mech-says">{escape(finding.says)}</p>'
    )
    try:
        rows = rows_of(source, finding.table)
    except EngineError as error:
        return f'<section>{head}<p class="small problem">{escape(str(error))}</p></section>'
    if rows is not None and finding.at_k:
        rows = rows[rows["k"] == k]
    if rows is None or not len(rows):
        return f"<section>{head}{note_html([why_none(source, finding.table)])}</section>"
    column, words = finding.order
    # The arms of one outcome stand together: each is read beside its controls.
    listed = sorted(
        rows.to_dict("records"),
        key=lambda row: (row["model"], str(row.get("outcome", "")), words.index(row[column])),
    )
    table = plain_table(finding.headers, [finding.cells(row) for row in listed])
    return f"<section>{head}{table}</section>"
