"""One pair of systems: the five-class bar, McNemar's table, and error overlap against chance and null."""

from __future__ import annotations

from html import escape
from typing import Any

from dashboard.benchmark_link import CLASSES
from dashboard.beside_paper import paper_sentence
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
    probability,
)
from dashboard.names import MATCHES, name_of
from engine.stats.significance import EXACT_BELOW

FIVE = tuple(CLASSES)[:5]
NAN = float("nan")
READ_AS = "Two unparsed answers never agree in kappa."
# The two other readings of unparsed answers.
READINGS = (("if they agreed", "kappa_unparsed_agree"), ("where both are parsed", "kappa_both_parsed"))
NOT_PUBLISHED = "The paper gives totals only: no counts by class, so no list of clips."

Row = dict[str, Any]


def counts_of(row: Row) -> dict[str, int]:
    """Return clips by class, those without a label last; {} where the row has no counts."""
    if not all(is_number(row[kind]) for kind in (*FIVE, "n_clips")):
        return {}
    five = {kind: int(row[kind]) for kind in FIVE}
    return {**five, "unlabelled": int(row["n_clips"]) - sum(five.values())}


def class_name(source: str, row: Row, kind: str) -> str:
    """Return a class with the systems' names in it."""
    if kind in ("a_only", "b_only"):
        return f"Only {name_of(source, row['system_a' if kind == 'a_only' else 'system_b'])} right"
    return CLASSES[kind]


def pair_html(source: str, row: Row | None, family: int | None, kind: str) -> str:
    """Return the card's HTML.

    Args:
        source: whose names are used.
        row: of agreement, for one pair in one cell; None where nothing was compared.
        family: number of tests that the corrected p counts, None where it is not stated.
        kind: the chosen class, "" for none.
    """
    if row is None:
        return heading("Pair") + nothing("Choose a pair in the matrix.")
    first, second = (escape(name_of(source, row[side])) for side in ("system_a", "system_b"))
    title = f'<h3 class="bm-pair">{first} <span>and</span> {second} {match_badge(row["match"])}</h3>'
    return (
        heading("Pair")
        + title
        + _facts(row)
        + (paper_html(row) if source != "published" else "")
        + _classes(source, row, kind)
        + '<div class="bm-two">'
        + _mcnemar(row, first, second, family)
        + _overlap(row, "published" if source == "published" else "measured")
        + "</div>"
        + _notes(row)
    )


def paper_html(row: Row) -> str:
    """Return what the paper published of the same pair on the same corpus; "" where that is nothing."""
    said = paper_sentence(row)
    return f'<p class="bm-facts small">{escape(said)}</p>' if said else ""


def _facts(row: Row) -> str:
    kappa = f"<b>{figure(row['kappa'])}</b> {between(row['low'], row['high'])}"
    size = ", ".join(filter(None, (count(row["n_items"], "item"), count(row["n_clips"], "clip"))))
    match = MATCHES.get(row["match"], "")
    return (
        f'<p class="bm-facts small">kappa {kappa} · {escape(size + " · " if size else "")}{escape(match)}</p>'
        + readings_html(row)
    )


def readings_html(row: Row) -> str:
    """Return kappa in the two other readings of unparsed answers; "" where they are the same, or not known."""
    others = [(name, row.get(column, NAN)) for name, column in READINGS]
    if not all(is_number(value) for _, value in others) or {figure(one[1]) for one in others} == {
        figure(row["kappa"])
    }:
        return ""
    said = "; ".join(f"{name} {figure(value)}" for name, value in others)
    return (
        f'<p class="bm-facts small">{READ_AS} On {count(row["both_unparsed"], "clip")} neither is parsed. '
        f"Kappa {said}.</p>"
    )


def _classes(source: str, row: Row, chosen: str) -> str:
    counts = counts_of(row)
    if not counts:
        return nothing(NOT_PUBLISHED)
    total = max(1, sum(counts.values()))
    shown = {kind: number for kind, number in counts.items() if number or kind in FIVE}
    bar = "".join(
        f'<i class="bm-{kind}" style="flex-grow:{number}"></i>' for kind, number in shown.items() if number
    )
    rows = "".join(
        "<li>"
        + button(
            f'<i class="bm-{kind}"></i><span>{escape(class_name(source, row, kind))}</span>'
            f"<b>{number:,}</b><small>{percent(number / total)}</small>",
            "class",
            kind,
            classes="bm-class",
            aria_pressed="true" if kind == chosen else "false",
        )
        + "</li>"
        for kind, number in shown.items()
    )
    return f'<div class="bm-bar" aria-hidden="true">{bar}</div><ul class="bm-classes">{rows}</ul>'


def _mcnemar(row: Row, first: str, second: str, family: int | None) -> str:
    b, c = row["mcnemar_b"], row["mcnemar_c"]
    tests = f" over all {family:,} tests" if family else ""
    said = f"p {probability(row['mcnemar_p'])}; {probability(row['mcnemar_p_bh'])} corrected{tests}"
    if not (is_number(b) and is_number(c)):
        known = is_number(row["mcnemar_p_bh"])
        inside = nothing(
            f"p {probability(row['mcnemar_p_bh'])} corrected, as published." if known else "Not published."
        )
        return f"<section><h4>McNemar</h4>{inside}</section>"
    both = row["both_right"]
    rest = row["n_clips"] - both - b - c
    table = (
        f'<table class="bm-mcnemar"><thead><tr><td></td><th scope="col">{second}<br>right</th>'
        f'<th scope="col">wrong</th></tr></thead><tbody>'
        f'<tr><th scope="row">{first} right</th><td>{both:,.0f}</td><td class="bm-odd">{b:,.0f}</td></tr>'
        f'<tr><th scope="row">wrong</th><td class="bm-odd">{c:,.0f}</td><td>{rest:,.0f}</td></tr></tbody></table>'
    )
    test = "exact" if b + c < EXACT_BELOW else "chi-square, continuity corrected"
    said = f"Over clips, which are not independent: {said} ({test}; an answer without a label is wrong)."
    return f"<section><h4>McNemar</h4>{table}{_votes(row, first, second, tests)}" + (
        f'<p class="small">{escape(said)}</p></section>'
    )


def _votes(row: Row, first: str, second: str, tests: str) -> str:
    """Return the test in which related clips count once: the one to go by where items have several voices."""
    if not is_number(row.get("votes_p")):
        return ""
    p, corrected = (escape(probability(row[name])) for name in ("votes_p", "votes_p_bh"))
    return (
        f'<p class="small"><b>p {corrected}</b> corrected{tests}, {p} alone, with one vote a group of related '
        f"clips: {first} ahead in {row['votes_a']:,.0f}, {second} in {row['votes_b']:,.0f} of "
        f"{row['n_groups']:,.0f} groups.</p>"
    )


def _overlap(row: Row, origin: str) -> str:
    """Return the overlap on a line from 0 to 1; `origin` says whether it was measured or published."""
    value = row["error_overlap"]
    title = "<h4>Same wrong answer, when both are wrong</h4>"
    if not is_number(value):
        return f"<section>{title}{nothing(row.get('note') or 'Not defined here.')}</section>"
    marks = [
        ("chance", row["overlap_chance"], "chance, 1/(C−1)"),
        ("null", row["overlap_null"], "null: answers shuffled within each right answer"),
    ]
    lines = "".join(
        f'<i class="bm-tick bm-{key}" style="left:{_place(number)}"></i>'
        for key, number, _ in marks
        if is_number(number)
    )
    low, high = row["error_overlap_low"], row["error_overlap_high"]
    span = (
        f'<i class="bm-span" style="left:{_place(low)};right:calc(100% - {_place(high)})"></i>'
        if is_number(low) and is_number(high)
        else ""
    )
    listed = "".join(
        f'<li><i class="bm-key bm-{key}"></i>{words} <b>{figure(number)}</b></li>'
        for key, number, words in marks
        if is_number(number)
    )
    return (
        f"<section>{title}"
        f'<div class="bm-strip" aria-hidden="true">{span}{lines}'
        f'<i class="bm-dot" style="left:{_place(value)}"></i></div>'
        '<div class="bm-ends small" aria-hidden="true"><span>0</span><span>1</span></div>'
        f'<ul class="bm-keys small"><li><i class="bm-key bm-dot"></i>{origin} <b>{figure(value)}</b> '
        f"{between(low, high)}</li>{listed}</ul></section>"
    )


def _place(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, value)):.1f}%"


def _notes(row: Row) -> str:
    """Say where a published figure stands and what is doubtful about it, or why one is not defined."""
    place = " ".join(filter(None, (row.get("paper"), row.get("place")))) or ""
    said = [f"{place}." if place else "", row.get("doubt") or "", row.get("note") or ""]
    text = " ".join(part for part in said if part and part != ABSENT)
    return f'<p class="small bm-note">{escape(text)}</p>' if text else ""
