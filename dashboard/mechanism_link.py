"""What the mechanism page shows, as a query string: the state of the page and its link are the same thing.

Written by the page, read leniently and never trusted; what no section offers falls back to a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlencode

from dashboard.mechanism.section import Option, Section
from dashboard.mechanism.sections import SECTIONS, section_of
from dashboard.tables import SOURCES, folder_of
from engine.errors import TableError

# The paper's figures stand beside either, so they are no source of this page.
PAGE_SOURCES = {key: name for key, name in SOURCES.items() if key != "published"}
MAX_CHARACTERS = 200
_POINT_MARK = "~"
_OPTION_MARK = "."


@dataclass(frozen=True)
class MechanismView:
    """What is chosen; "" is "not said", and the page then takes its default.

    Attributes:
        options: of the sections, "section.option" -> key of a choice; defaults are left out.
        section: whose point is chosen; "" shows no list.
        point: key of that point, as the section made it.
        page: of the list, from 0.
    """

    source: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    section: str = ""
    point: str = ""
    page: int = 0


def query_of(view: MechanismView) -> str:
    """Return the query string without "?"; what is not said is left out."""
    point = f"{view.section}{_POINT_MARK}{view.point}" if view.section and view.point else ""
    pairs = {
        "source": view.source,
        **view.options,
        "point": point,
        "rows": str(view.page) if view.page else "",
    }
    return urlencode({"tab": "mechanism"} | {name: value for name, value in pairs.items() if value})


def view_of(query: str | Mapping[str, str]) -> MechanismView:
    """Return what a query string asks for; values of a wrong form are left out."""
    said = dict(parse_qsl(query.removeprefix("?"))) if isinstance(query, str) else dict(query)
    section, _, point = said.get("point", "").partition(_POINT_MARK)
    page = said.get("rows", "")
    known = {one.key for one in SECTIONS}
    has_point = section in known and 0 < len(point) <= MAX_CHARACTERS
    return MechanismView(
        source=said.get("source", "") if said.get("source") in PAGE_SOURCES else "",
        options={
            name: value
            for name, value in said.items()
            if name.partition(_OPTION_MARK)[0] in known
            and _OPTION_MARK in name
            and len(value) <= MAX_CHARACTERS
        },
        section=section if has_point else "",
        point=point if has_point else "",
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 0,
    )


def first_source() -> str:
    """Return what the page opens on: an own run where one is open, else what was measured here."""
    return next((key for key in ("own", "measured") if folder_of(key) is not None), "measured")


def settled(view: MechanismView) -> MechanismView:
    """Return the view with a source, and without options that the sections do not offer or that are defaults."""
    source = view.source or first_source()
    kept = {
        name: view.options[name]
        for section in SECTIONS
        for option in options_of(section, source)
        for name in [f"{section.key}{_OPTION_MARK}{option.name}"]
        if view.options.get(name) in list(option.choices)[1:]
    }
    return replace(view, source=source, options=kept)


def options_of(section: Section, source: str) -> tuple[Option, ...]:
    """Return the options of a section; none where its table cannot be read, which its chart then says."""
    try:
        return section.options(source)
    except TableError:
        return ()


def chosen_in(view: MechanismView, key: str) -> dict[str, str]:
    """Return the choice of each option that a section offers; defaults where nothing is said."""
    section = section_of(key)
    offered = options_of(section, view.source) if section else ()
    return {
        option.name: view.options.get(f"{key}{_OPTION_MARK}{option.name}", next(iter(option.choices)))
        for option in offered
    }


def with_option(view: MechanismView, said: str) -> MechanismView:
    """Return the view with one more choice, as a query string has it; a point of the section is kept."""
    return settled(replace(view, options={**view.options, **view_of(said).options}))
