"""What the interleaved tab shows, as a query string; read leniently, never trusted.

Names with a dot are the tab's own: the clip page reads the plain ones, and other tabs drop these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from dashboard.interleaved.sections import section_of
from dashboard.mechanism.points import MARK
from dashboard.mechanism_link import MAX_CHARACTERS, PAGE_SOURCES, first_source
from dashboard.opened import MAX_KEY_CHARACTERS

TAB = "interleaved"
TOPS = (1, 5, 10)
FIRST_K = 5
HALF, WHOLE = "half", "whole"


class Point(NamedTuple):
    """A point of a chart whose clips are listed.

    Attributes:
        section: key of the chart, "" for none.
        key: of the point, as the chart made it.
        page: of the list, from 0.
    """

    section: str = ""
    key: str = ""
    page: int = 0


NO_POINT = Point()


def state_of(point: Point) -> str:
    """Return a point as the page keeps it: one text, "" for none."""
    return MARK.join((str(point.page), point.section, point.key)) if point.section else ""


def point_of(state: str) -> Point:
    """Return the point of such a text, none where it is of a wrong form."""
    page, _, point = state.partition(MARK)
    return _point(point, page)


@dataclass(frozen=True)
class InterleavedView:
    """What is chosen.

    Attributes:
        source: of the tables.
        k: among how many top tokens a word counts, one of TOPS.
        after: HALF or WHOLE: how much of the clip the model hears before it goes on.
        example: key of the example on the rail; "" for an own clip, which is not part of a link.
        run: whether its result was on screen.
        clip: key of a clip of the benchmark on the rail, "" for none.
        point: of which chart and which; nothing where no list is open.
    """

    source: str = "measured"
    k: int = FIRST_K
    after: str = HALF
    example: str = ""
    run: bool = False
    clip: str = ""
    point: Point = NO_POINT


def query_of(view: InterleavedView) -> str:
    """Return the query string without "?"."""
    own = {
        "k": str(view.k),
        "after": view.after,
        "example": view.example,
        "clip": view.clip,
        "run": "1" if view.run and (view.example or view.clip) else "",
        "point": f"{view.point.section}{MARK}{view.point.key}" if view.point.section else "",
        "rows": str(view.point.page) if view.point.page else "",
    }
    named = {f"{TAB}.{name}": value for name, value in own.items() if value}
    return urlencode({"tab": TAB, "source": view.source} | named)


def view_of(query: Mapping[str, str], examples: Collection[str]) -> InterleavedView:
    """Return what a query string asks for; values that do not exist here fall back to the first ones."""
    own = {
        name: query.get(f"{TAB}.{name}", "")
        for name in ("k", "after", "example", "clip", "run", "point", "rows")
    }
    example = own["example"] if own["example"] in examples else ""
    clip = own["clip"] if not example and len(own["clip"]) <= MAX_KEY_CHARACTERS else ""
    return InterleavedView(
        source=query["source"] if query.get("source") in PAGE_SOURCES else first_source(),
        k=int(own["k"]) if own["k"] in map(str, TOPS) else FIRST_K,
        after=own["after"] if own["after"] in (HALF, WHOLE) else HALF,
        example=example,
        run=bool(example or clip) and own["run"] == "1",
        clip=clip,
        point=_point(own["point"], own["rows"]),
    )


def _point(said: str, page: str) -> Point:
    section, _, key = said.partition(MARK)
    if section_of(section) is None or not 0 < len(key) <= MAX_CHARACTERS:
        return NO_POINT
    return Point(section, key, int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 0)
