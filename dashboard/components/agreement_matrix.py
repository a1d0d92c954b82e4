"""The agreement matrix: kappa of every pair in one task and noise condition, as a table of buttons.

One half of the square only: kappa is the same both ways. Arrow keys walk, Enter chooses; a line under the
table says the cell in words, and a table form holds all of it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from dashboard.components.benchmark_marks import (
    ABSENT,
    between,
    button,
    count,
    figure,
    heading,
    is_number,
    match_badge,
    nothing,
    percent,
)
from dashboard.figures.table import table_html
from dashboard.names import MATCHES, in_order, kind_name, kind_of, name_of

if TYPE_CHECKING:
    import pandas as pd

MANY = 10  # systems beside which columns would squeeze the names: the table scrolls instead
STEPS = 10  # of the colour scale, kappa 0 to 1; below 0 counts as 0
PAIR_MARK = "~"

Row = dict[str, Any]


def matrix_html(source: str, agreement: pd.DataFrame, accuracy: pd.DataFrame, pair: tuple[str, str]) -> str:
    """Return the card's HTML.

    Args:
        source: whose names are used.
        agreement: rows of one task and noise condition.
        accuracy: rows of the same.
        pair: the chosen one.
    """
    rows: list[Row] = agreement.to_dict("records")
    if not rows:
        return heading("Agreement") + nothing("No pair was compared here.")
    cells = {frozenset((row["system_a"], row["system_b"])): row for row in rows}
    systems = in_order(source, {system for both in cells for system in both})
    right = dict(zip(accuracy["system"], accuracy["accuracy"], strict=True))
    columns = "".join(
        f'<th scope="col" title="{escape(name_of(source, system))}">{number}</th>'
        for number, system in enumerate(systems[:-1], 1)
    )
    body = "".join(_row(source, systems, position, cells, right, pair) for position in range(len(systems)))
    return (
        heading("Agreement", "Cohen's kappa, two unparsed answers never agreeing; choose a pair")
        + '<div class="bm-scroll" role="region" aria-label="Agreement matrix" tabindex="0">'
        + f'<table class="bm-matrix{" bm-many" if len(systems) > MANY else ""}"><thead><tr>'
        + '<th scope="col">System</th><th scope="col">Right</th>'
        + f"{columns}</tr></thead><tbody>{body}</tbody></table></div>"
        + f'<p class="bm-readout small" aria-live="polite">{escape(_in_words(source, cells.get(frozenset(pair))))}</p>'
        + _legend({row["match"] for row in rows})
        + _as_table(source, rows)
    )


def _row(
    source: str,
    systems: list[str],
    position: int,
    cells: dict[frozenset[str], Row],
    right: dict[str, float],
    pair: tuple[str, str],
) -> str:
    system = systems[position]
    kind = kind_name(kind_of(source, system))
    said = "".join(
        f"<td>{_cell(source, cells.get(frozenset((system, other))), pair)}</td>"
        for other in systems[:position]
    )
    # The diagonal would say 1 for each; the names of the columns stand there.
    name = f"<b>{position + 1}</b><span>{escape(name_of(source, system))}<small>{escape(kind)}</small></span>"
    share = right.get(system, float("nan"))
    return f'<tr><th scope="row"><div>{name}</div></th><td class="bm-right">{percent(share)}</td>{said}</tr>'


def _cell(source: str, row: Row | None, pair: tuple[str, str]) -> str:
    if row is None:
        return '<span class="bm-none" title="not compared">·</span>'
    chosen = {row["system_a"], row["system_b"]} == set(pair)
    kappa = row["kappa"]
    shade = f"k{min(STEPS - 1, max(0, int(kappa * STEPS)))}" if is_number(kappa) else "k-none"
    text = figure(kappa).replace("0.", ".", 1) if is_number(kappa) and abs(kappa) < 1 else figure(kappa)
    doubt = '<i class="bm-doubt" title="doubtful">?</i>' if row.get("doubt") else ""
    words = _in_words(source, row)
    return button(
        f"{text}{match_badge(row['match'])}{doubt}",
        "pair",
        PAIR_MARK.join((row["system_a"], row["system_b"])),
        classes=f"bm-cell {shade}",
        aria_pressed="true" if chosen else "false",
        aria_label=words,
        data_say=words,
        tabindex="0" if chosen else "-1",
    )


def _in_words(source: str, row: Row | None) -> str:
    """Return one cell in a sentence of plain text."""
    if row is None:
        return ""
    both = f"{name_of(source, row['system_a'])} and {name_of(source, row['system_b'])}"
    interval = between(row["low"], row["high"])
    size = ", ".join(filter(None, (count(row["n_items"], "item"), count(row["n_clips"], "clip"))))
    kappa = f"kappa {figure(row['kappa'])}" if is_number(row["kappa"]) else "kappa is not defined"
    parts = [f"{kappa} {interval}".strip(), size, MATCHES.get(row["match"], "")]
    reason = row.get("note") if not is_number(row["kappa"]) else row.get("doubt")
    return f"{both}: {'; '.join(filter(None, parts))}. {reason or ''}".strip()


def _legend(matches: set[str]) -> str:
    scale = "".join(f'<i class="k{step}"></i>' for step in range(STEPS))
    badges = "".join(
        f"<span>{match_badge(match)} {escape(MATCHES[match])}</span>"
        for match in MATCHES
        if match in matches - {"none"}
    )
    return f'<div class="bm-legend small"><span class="bm-scale">0 {scale} 1</span>{badges}</div>'


def _as_table(source: str, rows: list[Row]) -> str:
    cells = [
        (
            name_of(source, row["system_a"]),
            name_of(source, row["system_b"]),
            row["match"],
            figure(row["kappa"]),
            between(row["low"], row["high"]) or ABSENT,
            figure(row.get("kappa_unparsed_agree")),
            figure(row.get("kappa_both_parsed")),
            count(row["n_items"], "item") or ABSENT,
            count(row["n_clips"], "clip") or ABSENT,
            "; ".join(filter(None, (row.get("place"), row.get("doubt"), row.get("note")))),
        )
        for row in rows
    ]
    headers = (
        "First",
        "Second",
        "Match",
        "Kappa",
        "95 % interval",
        "If unparsed agree",
        "Both parsed",
        "Items",
        "Clips",
        "Note",
    )
    return table_html("As a table", headers, cells)
