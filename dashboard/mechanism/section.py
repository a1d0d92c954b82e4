"""What a section of the mechanism page is: a chart, its table form, and the clips behind each point.

A section reads tables and knows no model and no Gradio. A point is named by a short key that the section makes
and reads again; the page treats it as opaque, and it stands in the link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Option:
    """A choice that a section offers above its chart.

    Attributes:
        name: in the link, such as "measure".
        label: on the page.
        choices: key -> words; the first is the default.
    """

    name: str
    label: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Drawn:
    """A section as it is shown.

    Attributes:
        figure: published and measured panels side by side, controls among them; None where nothing is known.
            The customdata of a measured point is its key; a published one has none.
        table: the same as HTML, escaped; a measured cell is a button that reports ("point", key).
        note: what a reader must know (n, what the interval resamples, what is not measured), escaped HTML.
    """

    figure: go.Figure | None
    table: str
    note: str


@dataclass(frozen=True)
class ListedClip:
    """One clip behind a point; `cells` fit the headers of its list. What is said in it the page adds before them."""

    clip_id: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """The clips behind a point, most telling first.

    Attributes:
        noun: what is listed.
        closed: why none of them can be opened; "" where each clip says it itself.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[ListedClip, ...]
    noun: str = "clip"
    closed: str = ""


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        key: in the link and in element ids.
        title: its heading, in the field's words.
        says: one sentence: what is drawn and what to look for.
        tables: names of the tables behind it, for the export.
        options: of a source; those without a second choice are not shown.
        draw: (source, chosen options) -> what is shown.
        clips: (source, point) -> the clips behind it.
    """

    key: str
    title: str
    says: str
    tables: tuple[str, ...]
    options: Callable[[str], tuple[Option, ...]]
    draw: Callable[[str, Mapping[str, str]], Drawn]
    clips: Callable[[str, str], Listed]
