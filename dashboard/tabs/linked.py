"""What tabs share whose state is their link: turns, the address, parts whose buttons report, opening a clip.

The state is one query string in a hidden box. An event gets the state that the one before it left, and the
browser's address follows. What a person chose is never sent back: an answer would undo a newer choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from dashboard.errors import with_plain_errors
from dashboard.tabs.clip_handlers import SKIP, open_from_benchmark
from dashboard.tabs.clip_rail import Rail
from dashboard.tabs.events import PRIVATE, QUICK

ASSETS = Path(__file__).resolve().parents[1] / "components" / "assets"

# Actions take turns, each on what the one before left: two quick ones would otherwise undo each other.
_IN_TURN = """async (query, ...values) => {
  const turns = (window.cascadeLensTurns ??= {})[TAB] ??= { query: null, last: {} };
  const before = turns.last, mine = turns.last = {};
  mine.ended = new Promise((end) => { mine.end = end; });
  await Promise.race([before.ended, new Promise((resolve) => setTimeout(resolve, 20000))]);
  turns.now = mine;
  return [turns.query ?? query, ...values];
}"""
# What the clip page says of itself stays, except which clip and run it shows.
_SHOW_ADDRESS = """(query) => {
  const turns = (window.cascadeLensTurns ??= {})[TAB];
  if (turns) {
    turns.query = query;
    turns.now.end();
    if (turns.now === turns.last) dispatchEvent(new CustomEvent('cascade-lens-settled', { detail: TAB }));
  }
  const address = new URL(location.href);
  const theirs = ['tab', 'source', 'on', 'level', 'pair', 'class', 'find', 'sort', 'rows', 'point', 'clip', 'run'];
  for (const name of [...address.searchParams.keys()])
    if (theirs.includes(name) || name.includes('.')) address.searchParams.delete(name);
  new URLSearchParams(query).forEach((value, name) => address.searchParams.set(name, value));
  history.replaceState(null, '', address);
  // Plotly cuts its lines by references that begin with the page's address: unless they follow it, no line is seen.
  const here = location.href.split('#')[0];
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    if (chart._context) chart._context._baseUrl = here;
    for (const cut of chart.querySelectorAll('[clip-path]'))
      cut.setAttribute('clip-path', cut.getAttribute('clip-path').replace(/url\\('[^']*#/, `url('${here}#`));
  }
}"""
# The page that was left stays one step back; `layout` loads it again when that step is taken.
_LEAVE_FOR_CLIP = """(link) => {
  if (!link) return;
  history.pushState(null, '', location.pathname + link);
  scrollTo(0, 0);
}"""
_DOWNLOAD = """(address) => {
  if (!address) return;
  const link = document.createElement('a');
  link.href = address;
  link.download = decodeURIComponent(address.split('/').pop());
  document.body.append(link);
  link.click();
  link.remove();
}"""


def in_turn(tab: str) -> dict[str, Any]:
    """Return the options of an event whose first input is the state of this tab."""
    return {"js": _IN_TURN.replace("TAB", json.dumps(tab)), "trigger_mode": "multiple", **QUICK}


def show_address(tab: str) -> str:
    """Return the script that writes the state of this tab into the address and ends the turn."""
    return _SHOW_ADDRESS.replace("TAB", json.dumps(tab))


def end_turn(event: Any, state: gr.Textbox, tab: str) -> None:
    """Let the address follow an event of this tab, and the next action begin; also where the event failed."""
    for follow in (event.then, event.failure):
        follow(None, [state], None, js=show_address(tab), **PRIVATE)


def reporting_part(elem_id: str, *scripts: str, value: str = "") -> gr.HTML:
    """Return an HTML part whose buttons report to the server.

    Args:
        elem_id: of the part.
        scripts: names of files in ASSETS that run when it is there, after `reports.js`.
        value: what it shows at first.
    """
    files = ("reports.js", *scripts)
    script = "".join((ASSETS / name).read_text(encoding="utf-8") for name in files)
    return gr.HTML(value, js_on_load=f"'use strict';\n{script}", elem_id=elem_id, apply_default_css=False)


def said(event: gr.EventData) -> tuple[str, str]:
    """Return what a part reports: what is asked for, and its value."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get("do") or ""), str(data.get("value") or "")


def bind_open(
    lists: Sequence[gr.HTML],
    state: gr.Textbox,
    rail: Rail,
    tabs: gr.Tabs,
    clip_of: Callable[[str, str], tuple[str, tuple[str, ...]]],
) -> None:
    """Let a clip of these lists fill the clip page: first its rail, then the address, then the tab.

    Args:
        lists: parts that report "open" with a clip.
        state: of their tab.
        rail: of the clip page.
        tabs: of the page.
        clip_of: (query, clip_id) -> the key of the clip, and the systems that it is about.
    """
    link = gr.Textbox("", visible=False)
    filled = [
        rail.audio, rail.clip_note, rail.reference, rail.task, rail.task_note, rail.prompt, rail.pair,
        rail.noise, rail.snr_box, rail.snr, link,
    ]  # fmt: skip

    def opened(query: str, event: gr.EventData) -> tuple[Any, ...]:
        do, clip_id = said(event)
        if do != "open":
            return *(SKIP for _ in filled[1:]), ""
        return open_from_benchmark(*clip_of(query, clip_id))

    event = gr.on([part.select for part in lists], with_plain_errors(opened), [state], filled, **PRIVATE)
    # Opening the tab takes the tab's name out of the address: by then it must be the clip's own.
    left = event.then(None, [link], None, js=_LEAVE_FOR_CLIP, **PRIVATE)
    left.then(lambda link: gr.Tabs(selected="clip") if link else SKIP, [link], [tabs], **QUICK)


def bind_take(card: gr.HTML, state: gr.Textbox, take: Callable[[str, str], str]) -> None:
    """Let the buttons of a card that report "take" load a file down; `take` returns its address."""
    address = gr.Textbox("", visible=False)

    def taken(query: str, event: gr.EventData) -> str:
        do, file = said(event)
        return take(query, file) if do == "take" else ""

    event = card.select(with_plain_errors(taken), [state], [address], **PRIVATE)
    event.then(None, [address], None, js=_DOWNLOAD, **PRIVATE)
