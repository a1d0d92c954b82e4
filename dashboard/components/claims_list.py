"""The ledger of claims as HTML: one row a claim, its rule, cells and places to look behind it; all escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from dashboard.claims import ON_BENCHMARK, tally
from dashboard.components.benchmark_marks import between, figure, is_number
from dashboard.names import name_of, task_name
from engine.stats.significance import NIL

Row = Mapping[str, Any]

INTERLEAVED = "interleaved"
SIGNS = {
    "holds": ("✓", "good"),
    "does not hold": ("✗", "bad"),
    "fails": ("✗", "bad"),
    "cannot be said": ("?", "open"),
    "open": ("?", "open"),
    "not measured": ("–", "none"),
    "not published": ("–", "none"),
    "undefined": ("–", "none"),
}
PARTS = {
    "Behaviour": ("benchmark",),
    "What the states hold": ("probes", "lens", "implicit"),
    "What erasure does": ("erasure", "damage"),
    "Interleaved models (arXiv 2606.22473)": (INTERLEAVED,),
}
HOW = (
    "The cells of a claim are pooled: the number shown is their mean, with the 95 % interval of that mean (10,000 "
    "paired resamples of groups of related items; cells with fewer than 20 groups are left out if there are others). "
    "A claim holds where this interval lies on its side of the line, does not hold as stated where it lies on the "
    "other, and else cannot be said; nor can it where an end lies so near the line that other resamples could turn it, "
    "or where fewer than 20 groups are behind it. A claim with several statements needs each of them; the one least on "
    "its side is shown. In how many cells it holds stands beside the verdict and decides nothing. Each rule is also "
    "tried on the paper's own numbers, and what it says there is shown."
)
STAND_INS = (
    "Small models stand in for the papers': mini-Ultravox for Ultravox, mini-Qwen2-Audio for Qwen2-Audio, "
    "mini-interleaved for the speech-text models. A claim is tried here, not proved: what a mini shows says nothing "
    "certain of a large model."
)
_HEADS = ("Claim", "Published", "Measured here", "Verdict", "Caveat")
_CELL_HEADS = ("Cell", "Measured", "Must be", "n", "Outcome", "Note")


def summary_html(claims: Sequence[Row]) -> str:
    """Return how many claims hold, do not hold, cannot be said and were not measured."""
    parts = "".join(
        f"<li>{_mark(verdict, f'{n} {_plural(verdict, n)}')}</li>" for verdict, n in tally(claims).items()
    )
    return f'<ul class="cm-tally" aria-label="{len(claims)} claims">{parts}</ul>'


def _plural(verdict: str, n: int) -> str:
    return {"holds": "hold", "does not hold": "do not hold"}.get(verdict, verdict) if n != 1 else verdict


def ledger_html(source: str, claims: Sequence[Row], cells: Mapping[str, Sequence[Row]]) -> str:
    """Return the whole ledger.

    Args:
        source: measured or own, for the links and the systems' names.
        claims: rows of claims.csv.
        cells: rows of claim_cells.csv by claim.
    """
    heads = "".join(f"<span>{head}</span>" for head in _HEADS)
    parts = []
    for title, shown in PARTS.items():
        rows = "".join(
            _claim(source, claim, cells.get(claim["claim"], ()))
            for claim in claims
            if claim["shown"] in shown
        )
        parts.append(
            f'<section class="card cm-part"><h2 class="card-title">{title}</h2>'
            f'<div class="cm-heads cm-grid" aria-hidden="true">{heads}</div>{rows}</section>'
        )
    return "".join(parts)


def _claim(source: str, claim: Row, cells: Sequence[Row]) -> str:
    columns = (
        f"<h3>{escape(claim['title'])}</h3><p>{escape(claim['says'])}</p>",
        f"<p>{_text(source, claim['published'])}</p><small>{escape(claim['source'])}</small>",
        _measured(source, claim),
        f"<p>{_mark(claim['verdict'])}</p>{_counts(claim)}{_on_paper(claim)}",
        f"<p>{_text(source, claim['caveat'])}</p>",
    )
    body = "".join(
        f'<div class="cm-col"><span class="cm-label">{head}</span>{column}</div>'
        for head, column in zip(_HEADS, columns, strict=True)
    )
    return (
        f'<article id="claim-{escape(claim["claim"])}" class="cm-row"><div class="cm-grid">{body}</div>'
        f"<details><summary>Rule, cells and where to look</summary>{_behind(source, claim, cells)}</details></article>"
    )


def _measured(source: str, claim: Row) -> str:
    if not is_number(claim["measured"]):
        return f"<small>{_text(source, claim['note'])}</small>"
    digits = _digits(claim)
    interval = between(claim["low"], claim["high"], digits) or "no interval"
    return (
        f'<p class="cm-number"><b>{figure(claim["measured"], digits)}</b> {interval}</p>'
        f"<small>{escape(claim['measure'])}. It must lie {_must(claim)}.</small>"
        f"<small>{_cell_name(source, claim)}; n&nbsp;=&nbsp;{claim['n']:,} {escape(claim['n_of'])}.</small>"
        f"{_needed_line(claim)}"
    )


def _digits(row: Row) -> int:
    """Return 2 decimals, 3 where an end of the interval would else look as if it were the line itself."""
    ends = [round(end, 2) for end in (row["low"], row["high"]) if is_number(end)]
    return 3 if is_number(row["line"]) and round(row["line"], 2) in ends else 2


def _needed_line(claim: Row) -> str:
    """Return what would settle an open claim; nothing for one that is settled."""
    if is_number(claim["n_needed"]):
        words = "would settle it, if the effect stayed as it is."
        return f"<small><b>{claim['n_needed']:,.0f}</b> {escape(claim['n_of'])} {words}</small>"
    return f"<small>{escape(NIL)}</small>" if NIL in claim["note"] else ""


def _must(row: Row) -> str:
    """Return "above 0.5": the side of the line on which the claim has it."""
    line = (
        f"{round(row['line'], 2) + 0.0:g}".replace("-", "−")
        if is_number(row["line"])
        else "a line not defined"
    )
    return f"{escape(row['wanted'])} {line}"


def _counts(claim: Row) -> str:
    sides = ("holds", "fails", "open", "undefined")
    tried = sum(claim[side] for side in sides)
    if not tried:
        return ""
    words = {"holds": "holds in", "fails": "fails in", "open": "open in", "undefined": "not defined in"}
    said = ", ".join(f"{words[side]} {claim[side]}" for side in sides if claim[side])
    return f"<small>{said} of {tried} cell{'' if tried == 1 else 's'}</small>"


def _on_paper(claim: Row) -> str:
    """Return what the rule says of the paper's own numbers; "" for a run from before that was tried."""
    said = claim["paper_verdict"]
    return f"<small>On the paper's own numbers: {_mark(said)}</small>" if said else ""


def _behind(source: str, claim: Row, cells: Sequence[Row]) -> str:
    rows = "".join(_cell(source, cell) for cell in cells)
    heads = "".join(f'<th scope="col">{head}</th>' for head in _CELL_HEADS)
    table = (
        f'<div class="cm-scroll" role="region" aria-label="Cells of {escape(claim["title"])}" tabindex="0">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return (
        f"<p><b>Rule.</b> {_text(source, claim['rule'])}</p>"
        + (
            f"<p><b>On the paper's own numbers.</b> {_text(source, claim['paper_says'])}</p>"
            if claim["paper_says"]
            else ""
        )
        + (f"<p>{_text(source, claim['note'])}</p>" if rows and claim["note"] else "")
        + (table if rows else "")
        + f'<p><a href="{escape(address_of(source, claim))}">Open where it is measured</a></p>'
    )


def _cell(source: str, cell: Row) -> str:
    cells = (
        f"{figure(cell['value'], _digits(cell))} {between(cell['low'], cell['high'], _digits(cell))}",
        _must(cell),
        f"{cell['n']:,}",
        _mark(cell["side"]),
        _text(source, cell["note"]) + _needed(cell),
    )
    return f'<tr><th scope="row">{_cell_name(source, cell)}</th>{"".join(f"<td>{one}</td>" for one in cells)}</tr>'


def _needed(cell: Row) -> str:
    return f" n needed: {cell['n_needed']:,.0f}." if is_number(cell["n_needed"]) else ""


def _cell_name(source: str, row: Row) -> str:
    systems = " and ".join(name_of(source, row[one]) for one in ("system", "other") if row[one])
    parts = (systems, task_name(row["task"]) if row["task"] else "", row.get("part", ""), row["detail"])
    return _text(source, ", ".join(dict.fromkeys(filter(None, parts))))


def address_of(source: str, claim: Row) -> str:
    """Return the link to the page where a claim's figure is measured."""
    if claim["shown"] == INTERLEAVED:
        return "?" + urlencode({"tab": INTERLEAVED, "source": source})
    if claim["shown"] != ON_BENCHMARK:
        return "?" + urlencode({"tab": "mechanism", "section": claim["shown"], "source": source})
    said = {"tab": "benchmark", "source": source, "on": claim["task"]}
    if claim["system"] and claim["other"]:
        said["pair"] = f"{claim['system']}~{claim['other']}"
    return "?" + urlencode({name: value for name, value in said.items() if value})


def _text(source: str, text: str) -> str:
    """Return escaped text: keys of systems by their names, commands as code, minus signs as such."""
    named = re.sub(r"\bmini(?:-[a-z0-9]+)+\b", lambda found: name_of(source, found.group()), text)
    minus = re.sub(r"(?<![\w`-])-(?=\d)", "−", named)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(minus))


def _mark(verdict: str, words: str = "") -> str:
    """Return a verdict as word and sign; colour only repeats it."""
    sign, tone = SIGNS[verdict]
    return (
        f'<span class="cm-mark cm-{tone}"><i aria-hidden="true">{sign}</i> {escape(words or verdict)}</span>'
    )
