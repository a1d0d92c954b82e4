"""A section of the mechanism page as HTML: its head with the options, and the list of a point's clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from dashboard.components.benchmark_marks import button, count, nothing, select_html
from dashboard.components.clip_list import ROWS_A_PAGE, Obstacles, pages_html
from dashboard.mechanism.section import Listed, ListedClip, Option, Section

ON_CLIP_PAGE = "Open on the clip page"


def head_html(section: Section, options: Sequence[Option]) -> str:
    """Return title, sentence, options, and the buttons that save the chart."""
    selects = "".join(
        select_html(
            "mechanism",
            f"{section.key}.{option.name}",
            option.label,
            option.choices,
            f"mech-{section.key}-{option.name}",
        )
        for option in options
        if len(option.choices) > 1
    )
    return chart_head_html(section.title, section.says, plot_id(section.key)) + (
        f'<div class="listed-choices">{selects}</div>' if selects else ""
    )


def chart_head_html(title: str, says: str, plot: str) -> str:
    """Return title, sentence and the buttons that save the chart with this id."""
    saves = "".join(
        button(
            form.upper(),
            "chart",
            f"{plot}.{form}",
            classes="bm-small-button",
            aria_label=f"{title} as {form.upper()}",
        )
        for form in ("png", "svg")
    )
    return (
        f'<div class="bm-chart-head"><h2 class="card-title">{escape(title)}</h2>'
        f"<span>{saves}</span></div>"
        f'<p class="mech-says">{escape(says)}</p>'
    )


def plot_id(key: str) -> str:
    """Return the id of a section's chart."""
    return f"mech-{key}-plot"


def listed_html(
    listed: Listed, page: int, said: Mapping[str, str], obstacles: Obstacles, opens: str = ON_CLIP_PAGE
) -> str:
    """Return the clips behind a point, one page of them; what is said opens the clip.

    Args:
        listed: all clips of the point.
        page: asked for; the last there is where it is too high.
        said: what is said in the clips of this page, by clip_id.
        obstacles: why a clip of this page cannot be opened.
        opens: what pressing a clip does, on hover.
    """
    close = button("Close", "close", "1", classes="bm-small-button")
    head = (
        f'<div class="mech-list-head"><p role="status"><b>{escape(listed.title)}</b> '
        f"{count(len(listed.rows), listed.noun) if listed.rows else ''}</p>{close}</div>"
    )
    if not listed.rows:
        return head + nothing("No clip can be listed here.")
    page = page_of(listed, page)
    first = listed.noun.capitalize() if listed.closed else "Said, choose to open"
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in (first, *listed.headers))
    rows = "".join(
        _row(row, said.get(row.clip_id) or row.clip_id, obstacles.get(row.clip_id, ""), opens)
        for row in shown_clips(listed, page)
    )
    return (
        head
        + '<div class="bm-scroll" role="region" aria-label="Clips behind this point" tabindex="0">'
        + f'<table class="bm-list"><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table></div>'
        + pages_html(page, len(listed.rows))
    )


def page_of(listed: Listed, page: int) -> int:
    """Return the page that can be shown: the one asked for, or the last there is."""
    return min(page, max(0, (len(listed.rows) - 1) // ROWS_A_PAGE))


def shown_clips(listed: Listed, page: int) -> tuple[ListedClip, ...]:
    """Return the clips of the page that `listed_html` writes."""
    first = page_of(listed, page) * ROWS_A_PAGE
    return listed.rows[first : first + ROWS_A_PAGE]


def _row(row: ListedClip, said: str, obstacle: str, opens: str) -> str:
    name = (
        f'{escape(said)}<small class="problem">{escape(obstacle)}</small>'
        if obstacle
        else button(escape(said), "open", row.clip_id, classes="bm-open", title=opens)
    )
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row.cells)}</tr>'
