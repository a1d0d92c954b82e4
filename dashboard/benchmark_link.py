"""What the benchmark page shows, as a query string: the state of the page and its link are the same thing.

Written by the page, read leniently and never trusted; what does not exist in the data falls back to a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from dashboard.names import kind_of, rank_of, tasks_in_order
from dashboard.tables import SOURCES, Level, at, first_source, folder_of, levels_of, table

CLASSES = {
    "both_right": "Both right",
    "a_only": "Only the first right",
    "b_only": "Only the second right",
    "both_wrong_same": "Both wrong, same answer",
    "both_wrong_different": "Both wrong, different answers",
    "unlabelled": "An answer without a label",
}
SORTS = ("said", "first", "second", "gold", "heard", "voice")
MAX_SEARCH_CHARACTERS = 60
_PAIR_MARK = "~"


@dataclass(frozen=True)
class BenchmarkView:
    """What is chosen; "" is "not said", and the page then takes its default.

    Attributes:
        level: key of a `Level`.
        pair: keys of two systems; ("", "") when not said.
        kind: key in CLASSES; "" shows no list.
        find: text that the listed clips must hold.
        sort: key in SORTS, with "-" before it for the other direction.
        page: of the list, from 0.
    """

    source: str = ""
    task: str = ""
    level: str = ""
    pair: tuple[str, str] = ("", "")
    kind: str = ""
    find: str = ""
    sort: str = ""
    page: int = 0


def query_of(view: BenchmarkView) -> str:
    """Return the query string without "?"; what is not said is left out."""
    pairs = {
        "source": view.source,
        "on": view.task,
        "level": view.level,
        "pair": _PAIR_MARK.join(view.pair) if all(view.pair) else "",
        "class": view.kind,
        "find": view.find,
        "sort": view.sort,
        "rows": str(view.page) if view.page else "",
    }
    return urlencode({"tab": "benchmark"} | {name: value for name, value in pairs.items() if value})


def view_of(query: str | Mapping[str, str]) -> BenchmarkView:
    """Return what a query string asks for; values of a wrong form are left out."""
    said = dict(parse_qsl(query.removeprefix("?"))) if isinstance(query, str) else query
    first, _, second = said.get("pair", "").partition(_PAIR_MARK)
    page = said.get("rows", "")
    sort = said.get("sort", "")
    return BenchmarkView(
        source=said.get("source", "") if said.get("source") in SOURCES else "",
        task=said.get("on", "")[:80],
        level=said.get("level", "")[:80],
        pair=(first[:80], second[:80]) if first and second else ("", ""),
        kind=said.get("class", "") if said.get("class") in CLASSES else "",
        find=said.get("find", "")[:MAX_SEARCH_CHARACTERS],
        sort=sort if sort.removeprefix("-") in SORTS else "",
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 0,
    )


def settled(view: BenchmarkView) -> BenchmarkView:
    """Return the view with every gap filled and everything that the data does not have replaced.

    Raises:
        TableError: the source is here but cannot be read.
    """
    view = replace(view, source=view.source or first_source())
    if folder_of(view.source) is None:
        return view
    agreement = table(view.source, "agreement")
    tasks = tasks_in_order(agreement["task"])
    if not tasks:
        return view
    task = view.task if view.task in tasks else tasks[0]
    levels = [level.key for level in levels_of(at(agreement, task=task))]
    level = view.level if view.level in levels else levels[0]
    pairs = pairs_at(view.source, task, level_of(view.source, task, level))
    pair = view.pair if view.pair in pairs else view.pair[::-1]
    pair = pair if pair in pairs else _first_pair(view.source, task, level)
    return replace(view, task=task, level=level, pair=pair)


def pairs_at(source: str, task: str, level: Level) -> list[tuple[str, str]]:
    """Return the pairs that the source compares in this cell."""
    rows = at(table(source, "agreement"), task=task, level=level)
    return [(str(a), str(b)) for a, b in zip(rows["system_a"], rows["system_b"], strict=True)]


def _first_pair(source: str, task: str, level: str) -> tuple[str, str]:
    """Return a speech LLM with its closest match, else whatever pair comes first."""
    order = {"exact": 0, "self": 1, "ancestor": 2, "paper": 3, "none": 4}
    rows = at(table(source, "agreement"), task=task, level=level_of(source, task, level))
    found = [
        (
            kind_of(source, a) != "speech_llm",
            kind_of(source, b) != "cascade",
            order.get(match, 5),
            rank_of(source, a),
            rank_of(source, b),
            a,
            b,
        )
        for a, b, match in zip(rows["system_a"], rows["system_b"], rows["match"], strict=True)
    ]
    return min(found)[-2:]


def level_of(source: str, task: str, key: str) -> Level:
    """Return the noise condition with this key, the first one of the task where there is none."""
    levels = levels_of(at(table(source, "agreement"), task=task))
    return next((level for level in levels if level.key == key), levels[0])
