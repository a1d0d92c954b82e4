"""The clip tab: rail at the left, clip view and its tools at the right, and the events between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from dashboard.errors import with_plain_errors
from dashboard.tabs import clip_asks as asks
from dashboard.tabs import clip_handlers as handlers
from dashboard.tabs import clip_runs as runs
from dashboard.tabs.clip_card import ClipCard
from dashboard.tabs.clip_main import Main, main
from dashboard.tabs.clip_pair import show_pair
from dashboard.tabs.clip_rail import Rail, rail
from dashboard.tabs.events import (
    MODEL_QUEUE,
    PRIVATE,
    QUICK,
    fills,
    off_when_pressed,
    on_when_ended,
    when_filled,
)
from engine.request import READOUTS

_COMPLETE_LINK = """(query) => {
  const address = location.origin + location.pathname + query;
  history.replaceState(null, '', address);
  return address;
}"""


def clip_tab(page: gr.Blocks) -> Rail:
    """Build the tab's components and events inside the current layout, and return its rail.

    Args:
        page: the Blocks around it, whose load event restores a linked view.
    """
    with gr.Row(elem_id="page", elem_classes="rail-page", equal_height=False):
        left = rail()
        right = main()
    _bind_clip(left, right)
    left.audio.change(with_plain_errors(handlers.show_stored), [left.audio], [right.stored], **QUICK)
    _bind_question(left)
    _bind_runs(left, right)
    _bind_tools(left, right)
    _bind_asks(right)
    _bind_load(page, left, right)
    return left


def bind_clip_inputs(card: Rail | ClipCard) -> None:
    """Let clips arrive that need no model: by upload or recording, as another kind of file; and the read sentence."""
    clip = [card.audio, card.clip_note, card.reference]
    own = with_plain_errors(handlers.take_clip)
    for arrives in (card.audio.upload, card.audio.stop_recording, card.audio.clear):
        arrives(own, [card.audio], clip, **PRIVATE)
    card.other_file.upload(with_plain_errors(handlers.take_other_file), [card.other_file], clip, **PRIVATE)
    card.another.click(handlers.other_sentence, [card.said_text], [card.sentence, card.said_text], **QUICK)
    card.said_it.click(lambda text: text, [card.said_text], [card.reference], **QUICK)


def _bind_clip(left: Rail, right: Main) -> None:
    """A clip arrives from the gallery or from the voice too."""
    clip = [left.audio, left.clip_note, left.reference]
    bind_clip_inputs(left)
    chosen = fills(
        left.examples.click,
        with_plain_errors(handlers.take_example),
        [left.examples],
        [*clip, left.task, left.task_note, left.prompt],
    )

    def show_stored(shown_id: str, *values: Any) -> runs.RunUpdate:
        return runs.show_stored(values, shown_id)

    shown = [right.shown_id, *left.form]
    stored = chosen.then(with_plain_errors(show_stored), shown, _run_outputs(left, right), **QUICK)
    stored.then(lambda *values: runs.mark(values[1:], values[0]), shown, [right.stale], **QUICK)
    fills(
        left.speak.click,
        with_plain_errors(handlers.say),
        [left.speak_text, left.speak_voice, left.speak_rate, left.speak_pitch],
        clip,
    )


def _bind_question(left: Rail) -> None:
    left.task.input(handlers.show_question, [left.task], [left.task_note, left.prompt], **QUICK)
    left.noise.input(handlers.show_noise, [left.noise], [left.snr_box, left.noise_file], **QUICK)
    left.layers.input(handlers.show_layers, [left.layers], [left.layer_text], **QUICK)
    gr.on(
        [left.erasures.input, left.strength.input],
        runs.estimate,
        [left.erasures, left.strength],
        [left.estimate],
        **QUICK,
    )


def _bind_runs(left: Rail, right: Main) -> None:
    """Run, the changes that run again by themselves, another transcript, and Stop for all of them."""
    inputs = [right.shown_id, *left.form]
    outputs = _run_outputs(left, right)

    def run(request: gr.Request, shown_id: str, *values: Any) -> Iterator[runs.RunUpdate]:
        yield from runs.run_form(values, shown_id, request)

    def rerun(request: gr.Request, shown_id: str, *values: Any) -> Iterator[runs.RunUpdate]:
        yield from runs.rerun_form(values, shown_id, request)

    def other_transcript(
        request: gr.Request, shown_id: str, transcript: str, *values: Any
    ) -> Iterator[runs.RunUpdate]:
        yield from runs.run_form(values, shown_id, request, transcript)

    off_when_pressed(left.run)
    by_hand = when_filled(left.run).then(run, inputs, outputs, **PRIVATE, **MODEL_QUEUE)
    on_when_ended(left.run, by_hand)
    changed = gr.on(
        _changes(left),
        rerun,
        inputs,
        outputs,
        trigger_mode="always_last",
        **PRIVATE,
        **MODEL_QUEUE,
    )

    # What the pair offers comes first: a run must not ask for an erasure that the new pair lacks.
    def change_pair(request: gr.Request, shown_id: str, *values: Any) -> Iterator[runs.RunUpdate]:
        yield from runs.change_pair(values, shown_id, request)

    other_pair = _show_offer(left).then(change_pair, inputs, outputs, **PRIVATE, **MODEL_QUEUE)

    def choose_readout(event: gr.EventData) -> Any:
        said = event._data if isinstance(event._data, dict) else {}
        return said["readout"] if said.get("readout") in READOUTS else handlers.SKIP

    def rerun_readout(request: gr.Request, shown_id: str, *values: Any) -> Iterator[runs.RunUpdate]:
        yield from runs.rerun_readout(values, shown_id, request)

    chosen = right.view.select(choose_readout, None, [left.readout], **QUICK)
    read_anew = chosen.then(rerun_readout, inputs, outputs, **PRIVATE, **MODEL_QUEUE)
    off_when_pressed(right.run_transcript)
    edited = gr.on(
        [right.run_transcript.click, right.transcript.submit],
        other_transcript,
        [right.shown_id, right.transcript, *left.form],
        outputs,
        **PRIVATE,
        **MODEL_QUEUE,
    )
    on_when_ended(right.run_transcript, edited)
    # First the runs end, then the page is put in order: a late step of theirs must not come after it.
    ended = left.stop.click(None, cancels=[by_hand, changed, other_pair, read_anew, edited], **PRIVATE)
    stopped = ended.then(runs.stopped, [right.shown_id], outputs, **QUICK)

    def mark(shown_id: str, *values: Any) -> str:
        return runs.mark(values, shown_id)

    gr.on([part.change for part in left.form], mark, inputs, [right.stale], **QUICK)
    # What changed while a run went on is told once it has ended.
    for event in (by_hand, changed, other_pair, read_anew, edited, stopped):
        event.then(mark, inputs, [right.stale], **QUICK)


def _show_offer(left: Rail) -> Any:
    return left.pair.change(
        show_pair,
        [left.pair, left.erasures],
        [
            *(left.match_note, left.service_note, left.erasures, left.erase_note, left.layer_text),
            *(left.strength, left.scope, left.layers, left.method),
        ],
        **QUICK,
    )


def _changes(left: Rail) -> list[Any]:
    """Events after which the result on screen is made again."""
    return [
        left.noise.input,
        left.snr.input,
        left.noise_file.upload,
        left.erasures.input,
        left.scope.input,
        left.layers.input,
        left.layer_text.submit,
        left.method.input,
        left.strength.input,
    ]


def _run_outputs(left: Rail, right: Main) -> list[gr.components.Component | gr.Column]:
    """Components in the order of the fields of `RunUpdate`."""
    return [
        right.view,
        right.shown_id,
        left.status,
        left.estimate,
        left.stop,
        left.noise_note,
        right.tools,
        right.transcript,
        right.download,
        right.emergence_place,
        right.emergence_plot,
        right.emergence_table,
        right.token,
        right.find_token,
        right.token_plot,
        right.token_table,
        right.sweep.card,
        right.sweep.condition,
        right.sweep.reach,
        right.sweep.button,
        right.sweep.status,
        right.sweep.shown,
    ]


def _bind_tools(left: Rail, right: Main) -> None:
    gr.on(
        [right.find_token.click, right.token.submit],
        with_plain_errors(runs.follow),
        [right.shown_id, right.token],
        [right.token_plot, right.token_table],
        **PRIVATE,
        **MODEL_QUEUE,
    )

    def link(shown_id: str, *values: Any) -> str:
        return handlers.link_to(values, bool(shown_id))

    made = right.make_link.click(with_plain_errors(link), [right.shown_id, *left.form], [right.link], **QUICK)
    # The server does not know the address under which the page is seen; the browser completes the link.
    made.then(None, [right.link], [right.link], js=_COMPLETE_LINK, **PRIVATE)
    made.then(lambda: gr.update(visible=True), None, [right.link], **QUICK)


def _bind_asks(right: Main) -> None:
    """The layer sweep with its own Stop, and the implicit cascade, which the view itself asks for."""
    card = right.sweep

    def sweep(
        request: gr.Request, shown_id: str, condition: str | None, reach: str
    ) -> Iterator[asks.SweepUpdate]:
        yield from asks.sweep(shown_id, condition, reach, request)

    def ask(request: gr.Request, shown_id: str, event: gr.EventData) -> Iterator[dict[str, Any]]:
        said = event._data if isinstance(event._data, dict) else {}
        if "readout" in said:  # the same event of the view, heard by the runs
            yield handlers.SKIP
            return
        yield from asks.ask_layer(shown_id, said.get("layer"), said.get("turn"), request)

    outputs = [card.status, card.shown, card.of, card.stop]
    off_when_pressed(card.button)
    swept = card.button.click(
        sweep, [right.shown_id, card.condition, card.reach], outputs, **PRIVATE, **MODEL_QUEUE
    )
    on_when_ended(card.button, swept)
    # A sweep may have waited behind another run: what is about an older one must not stand below a newer.
    swept.then(asks.keep_own, [right.shown_id, card.of], [card.shown], **QUICK)
    ended = card.stop.click(None, cancels=[swept], **PRIVATE)
    ended.then(asks.sweep_stopped, None, outputs, **QUICK)
    right.view.select(ask, [right.shown_id], [right.view], **PRIVATE, **MODEL_QUEUE)


def _bind_load(page: gr.Blocks, left: Rail, right: Main) -> None:
    """Restore what the page's address asks for, and run it where the link was made from a result."""
    run_at_once = gr.State(False)
    restored = [
        left.audio,
        left.clip_note,
        left.reference,
        left.task,
        left.task_note,
        left.prompt,
        left.pair,
        left.profile_note,
        left.noise,
        left.snr_box,
        left.snr,
        left.erasures,
        left.scope,
        left.layers,
        left.layer_text,
        left.method,
        left.strength,
        left.readout,
        run_at_once,
    ]

    def restore(request: gr.Request) -> tuple[Any, ...]:
        return handlers.restore(dict(request.query_params))

    def run_restored(
        request: gr.Request, asked: bool, shown_id: str, *values: Any
    ) -> Iterator[runs.RunUpdate]:
        if asked:
            yield from runs.run_form(values, shown_id, request)
        else:
            yield runs.show_stored(values, shown_id)

    loaded = page.load(with_plain_errors(restore), None, restored, **PRIVATE)
    loaded.then(
        run_restored,
        [run_at_once, right.shown_id, *left.form],
        _run_outputs(left, right),
        **PRIVATE,
        **MODEL_QUEUE,
    )
