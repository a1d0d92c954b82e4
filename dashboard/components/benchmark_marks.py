"""Small marks that the benchmark page's parts share: numbers in words, buttons, badges; everything escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Real
from typing import TypeGuard

from dashboard.names import MATCHES, badge_of

ABSENT = "–"


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a number that is defined."""
    return isinstance(value, Real) and not math.isnan(value)


def figure(value: float | None, digits: int = 2) -> str:
    """Return a number as text; a dash where it is not defined."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if is_number(value) else ABSENT


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign; a dash where it is not defined."""
    if not is_number(value):
        return ABSENT
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def percent(value: float, digits: int = 0) -> str:
    """Return a share as per cent; a dash where it is not defined."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else ABSENT


def between(low: float, high: float, digits: int = 2) -> str:
    """Return an interval in brackets, "" where it is not defined."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{figure(low, digits)}, {figure(high, digits)}]"


def probability(value: float) -> str:
    """Return a p-value as text."""
    if not is_number(value):
        return ABSENT
    return "under 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def count(value: float, noun: str) -> str:
    """Return "1 item", "300 items"; "" where the number is not known."""
    if not is_number(value):
        return ""
    return f"{value:,.0f} {noun}{'' if value == 1 else 's'}"


def select_html(tab: str, name: str, label: str, choices: Mapping[str, str], elem_id: str) -> str:
    """Return a list of choices that `reports.js` reports and keeps at the newest one.

    Args:
        tab: whose link says what is chosen.
        name: of the choice in that link.
        label: what a person reads beside it.
        choices: key -> what a person reads; the first is the default.
        elem_id: of the list.
    """
    options = "".join(
        f'<option value="{escape(key)}">{escape(says)}</option>' for key, says in choices.items()
    )
    return (
        f'<label><span>{escape(label)}</span><select id="{escape(elem_id)}" data-tab="{escape(tab)}" '
        f'data-name="{escape(name)}">{options}</select></label>'
    )


def button(label: str, do: str, value: str, *, classes: str = "", **attributes: str) -> str:
    """Return a button that `reports.js` reports to the server.

    Args:
        label: HTML that is already escaped.
        do: what is asked for.
        value: of that.
        classes: of the button.
        attributes: further ones; an underscore in a name becomes a hyphen.
    """
    more = "".join(f' {name.replace("_", "-")}="{escape(text)}"' for name, text in attributes.items())
    return (
        f'<button type="button" class="{escape(classes)}" data-do="{escape(do)}" data-value="{escape(value)}"'
        f"{more}>{label}</button>"
    )


def match_badge(match: str) -> str:
    """Return the badge of a matched pair with its meaning; "" for one that is not matched."""
    sign = badge_of(match)
    return f'<i class="bm-badge" title="{escape(MATCHES[match])}">{sign}</i>' if sign else ""


def heading(text: str, aside: str = "") -> str:
    """Return a card's heading with a quiet aside."""
    return f'<h2 class="card-title">{escape(text)}</h2>' + (
        f'<p class="small">{escape(aside)}</p>' * bool(aside)
    )


def plain_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of escaped text that is always open."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        '<div class="bm-scroll" role="region" aria-label="Table" tabindex="0"><table class="bm-plain bm-wrap">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def nothing(text: str) -> str:
    """Return a quiet sentence where a part has nothing to show."""
    return f'<p class="bm-nothing">{escape(text)}</p>'
