"""What happens on the claims page: a source in, the ledger as HTML out. `claims.py` binds it to components."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import NamedTuple

from dashboard.claims import AGAIN, LEDGER, LEDGER_SOURCES, cells_of, claims_of, has_ledger
from dashboard.components.claims_list import HOW, STAND_INS, ledger_html, summary_html
from dashboard.mechanism_link import first_source
from dashboard.table_rows import frame_of
from dashboard.tables import folder_of, why_empty
from dashboard.tabs.clip_texts import problem, small
from engine.errors import TableError


class Drawn(NamedTuple):
    """The page's parts: what stands above the ledger, and the ledger."""

    head: str
    shown: str


def source_of(said: str | None) -> str:
    """Return the source that is asked for, where there is none what the tab opens on."""
    return said if said in LEDGER_SOURCES else first_source()


def draw(said: str | None) -> Drawn:
    """Return the page of a source; what cannot be read is said in place of the ledger."""
    source = source_of(said)
    if folder_of(source) is None:
        return Drawn(_with_code(small(why_empty(source))), "")
    if not has_ledger(source):
        return Drawn(_with_code(small(AGAIN)), "")
    try:
        claims = claims_of(source)
        return Drawn(_head(source, summary_html(claims)), ledger_html(source, claims, cells_of(source)))
    except TableError as error:
        return Drawn(problem(str(error)), "")


def _head(source: str, summary: str) -> str:
    links = "".join(_download(source, name) for name in LEDGER)
    return (
        f'{summary}<div class="cm-how"><p>{escape(STAND_INS)}</p>'
        f"<details><summary>How a claim is judged</summary><p>{escape(HOW)}</p></details>"
        f'<p class="cm-export">{links}</p></div>'
    )


def _download(source: str, name: str) -> str:
    """Return a link that holds the whole table: it is small, and nothing needs to be asked for."""
    text = frame_of(source, name).to_csv(index=False)
    coded = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return (
        f'<a download="{source}-{name}.csv" href="data:text/csv;charset=utf-8;base64,{coded}">{name}.csv</a>'
    )


def _with_code(html: str) -> str:
    """Return escaped HTML with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
