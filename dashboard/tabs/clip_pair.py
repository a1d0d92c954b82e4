"""What the rail becomes when another pair is chosen: its notes, its switches, and what is off with a service."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from dashboard.choices import offer
from dashboard.tabs.clip_controls import erasure_choices, layer_label, service_line
from dashboard.tabs.clip_texts import small

Update = Any


class PairUpdate(NamedTuple):
    """What a pair that was just chosen offers; the last four are off where a service keeps the states."""

    match_note: Update
    service_note: Update
    erasures: Update
    erase_note: Update
    layer_text: Update
    strength: Update
    scope: Update
    layers: Update
    method: Update


def show_pair(pair: str, erasures: list[str]) -> PairUpdate:
    """Return the notes and the switches for a pair that was just chosen.

    Switches stay on where the pair has their eraser.
    """
    offered = offer(pair)
    known = {one.key for one in offered.conditions}
    switch = gr.update(interactive=offered.has_states)
    return PairUpdate(
        small(offered.match_note),
        gr.update(value=service_line(offered), visible=bool(offered.service_note)),
        gr.update(choices=erasure_choices(offered), value=[key for key in erasures if key in known]),
        gr.update(value=small(offered.erase_note), visible=bool(offered.erase_note)),
        gr.update(label=layer_label(offered), interactive=offered.has_states),
        *[switch] * 4,
    )
