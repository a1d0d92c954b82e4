"""Errors that a speech LLM and a matched cascade share: was the transcript right, and which answers are mixed up."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from dashboard.components.benchmark_marks import button, count, heading, match_badge, nothing, percent
from dashboard.figures.table import table_html
from dashboard.names import name_of

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "reasoning": "the transcript was right",
    "asr": "the transcript was wrong",
    "unknown": "no transcript",
}
MOST_MIX_UPS = 8


def shared_errors_html(source: str, errors: pd.DataFrame, pair: tuple[str, str]) -> str:
    """Return the card's HTML.

    Args:
        source: whose names are used.
        errors: rows of shared_errors in one cell.
        pair: the chosen one, whose mix-ups are listed.
    """
    title = heading("Shared errors", "same wrong answer from both systems of a matched pair")
    if source == "published":
        return title + nothing("The paper gives no list of shared errors; two shares stand in its text only.")
    matched = errors[errors["match"] != "none"]
    if not len(matched):
        return title + nothing("No matched pair shares an error in this cell.")
    bars = "".join(
        _bar(source, str(a), str(b), rows)
        for (a, b), rows in matched.groupby(["system_a", "system_b"], sort=True)
    )
    keys = "".join(f'<li><i class="bm-kind-{kind}"></i>{escape(words)}</li>' for kind, words in KINDS.items())
    mine = errors[(errors["system_a"] == pair[0]) & (errors["system_b"] == pair[1])]
    listed = f'<ul class="bm-keys small">{keys}</ul><div class="bm-bars">{bars}</div>'
    return title + listed + _mix_ups(source, mine, pair)


def _bar(source: str, first: str, second: str, rows: pd.DataFrame) -> str:
    counts = {kind: int((rows["kind"] == kind).sum()) for kind in KINDS}
    total = sum(counts.values())
    parts = "".join(
        f'<i class="bm-kind-{kind}" style="flex-grow:{number}"></i>'
        for kind, number in counts.items()
        if number
    )
    said = "; ".join(
        f"{KINDS[kind]}: {number} ({percent(number / total)})" for kind, number in counts.items() if number
    )
    names = f"{escape(name_of(source, first))} and {escape(name_of(source, second))}"
    label = f"<span>{names} {match_badge(str(rows['match'].iloc[0]))}</span>"
    return button(
        f'<span>{label}<b>{count(total, "clip")}</b></span><span class="bm-bar" aria-hidden="true">{parts}</span>'
        f"<small>{escape(said)}</small>",
        "errors",
        f"{first}~{second}",
        classes="bm-error-bar",
        title="List these clips",
    )


def _mix_ups(source: str, rows: pd.DataFrame, pair: tuple[str, str]) -> str:
    if not len(rows):
        return ""
    counted = rows.groupby(["gold", "wrong_label"]).size().sort_values(ascending=False, kind="stable")
    listed = [(gold, wrong, f"{number}") for (gold, wrong), number in counted.head(MOST_MIX_UPS).items()]
    title = f"What {name_of(source, pair[0])} and {name_of(source, pair[1])} mix up most"
    return table_html(title, ("Right answer", "Both said", "Clips"), listed)
