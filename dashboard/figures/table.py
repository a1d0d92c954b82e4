"""The table form of a chart, as HTML that holds nothing but escaped text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table_html(caption: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a `<details>` with a table; every cell is escaped.

    Args:
        caption: what the table shows; the text of the summary too.
        headers: one per column.
        rows: cells, turned into text with `str`.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<details class="table-form"><summary>{escape(caption)}</summary>'
        '<div class="table-scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )
