"""The clip view: verdict, lanes, time-aligned lens grid and erasure bench in one gr.HTML.

The tab builds it with `clip_view` and sends it a value from `payload`. All interaction runs in the
browser, but for the implicit cascade, which it asks for by a `select` event; it loads nothing from outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from dashboard.components.payload import empty_value

ASSETS = Path(__file__).parent / "assets"
# One function body: constants and pure functions first, what a view has of its own next, the mounting code last.
_SHARED = (
    "clip_state.js",
    "clip_dom.js",
    "clip_tokens.js",
    "clip_colours.js",
    "clip_layout.js",
    "clip_draw.js",
    "clip_audio.js",
    "clip_detail.js",
    "clip_table.js",
)
_OF_CLIPS = ("clip_lanes.js", "clip_implicit.js", "clip_bench.js", "clip_own.js")
_OF_UNITS = ("unit_own.js",)
_MOUNTING = ("clip_interact.js", "clip_view.js")
SCRIPTS = (*_SHARED, *_OF_CLIPS, *_MOUNTING)
UNIT_SCRIPTS = (*_SHARED, *_OF_UNITS, *_MOUNTING)


def clip_view(elem_id: str = "clip-view", value: dict[str, Any] | None = None) -> gr.HTML:
    """Return the component, empty until a value from `payload` arrives.

    Args:
        elem_id: id of the block in the page.
        value: first value; None shows the guide.
    """
    return _view("clip_view.html", "Where the words become readable", SCRIPTS, elem_id, value)


def unit_view(elem_id: str = "unit-view", value: dict[str, Any] | None = None) -> gr.HTML:
    """Return the same component for an interleaved model, empty until a value from `unit_payload` arrives."""
    return _view("unit_view.html", "Which word each layer holds", UNIT_SCRIPTS, elem_id, value)


def _view(
    template: str, title: str, scripts: tuple[str, ...], elem_id: str, value: dict[str, Any] | None
) -> gr.HTML:
    lens = _read("clip_lens.html").replace("{title}", title)
    return gr.HTML(
        value=empty_value() if value is None else value,
        html_template=_read(template).replace("<!-- lens -->", lens),
        css_template=_read("clip_view.css"),
        js_on_load="'use strict';\n" + "\n".join(_read(name) for name in scripts),
        apply_default_css=False,
        elem_id=elem_id,
    )


def _read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
