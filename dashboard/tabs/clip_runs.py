"""Running what the rail asks for and showing it: the steps of a run, the finished view, one token's path.

`clip.py` binds these to components; the same session functions serve the endpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from dashboard import session
from dashboard.beside import beside, human_rates
from dashboard.choices import layer_preset, needs_press, offer
from dashboard.components.payload import (
    clip_payload,
    empty_value,
    error_value,
    running_value,
    verdict_part,
)
from dashboard.emergence import spread_beside
from dashboard.errors import sentence_for, toast
from dashboard.figures.charts import emergence_figure, emergence_table, token_figure, token_table
from dashboard.form import Form, asked_of, example_of_file, load, request_from
from dashboard.result_json import result_to_json
from dashboard.security import RunLimiter, client_of
from dashboard.served_files import address_of, write_json, write_wav
from dashboard.stored import mark_of, stored_for
from dashboard.tabs.clip_controls import erasure_choices
from dashboard.tabs.clip_handlers import SKIP, Update, form_of
from dashboard.tabs.clip_texts import small, stale_line
from engine.errors import PromptError
from engine.request import (
    DIFFERENCE,
    LOGIT,
    TUNED,
    RunRequest,
    has_second_condition,
    tuned_lens_note,
    why_no_readout,
)
from engine.results import RunResult
from engine.systems.catalogue import get_pair

PRESS_RUN = "This pair asks a service, so it does not run by itself: press Run."
CLEAN_NOTE = "Clean: both systems hear the clip as it is."
COMPARING = {
    "kind": "comparing",
    "sentence": "The speech LLM is asked to repeat the clip, to be held against the cascade\u2019s words.",
    "numbers": {},
}
LIMITER = RunLimiter()


class RunUpdate(NamedTuple):
    """What one step of a run changes on the page; `shown_id` is the id of the result on screen."""

    view: Update = SKIP
    shown_id: Update = SKIP
    status: Update = SKIP
    estimate: Update = SKIP
    stop: Update = SKIP
    noise_note: Update = SKIP
    tools: Update = SKIP
    transcript: Update = SKIP
    download: Update = SKIP
    emergence_place: Update = SKIP
    emergence_plot: Update = SKIP
    emergence_table: Update = SKIP
    token: Update = SKIP
    find_token: Update = SKIP
    token_plot: Update = SKIP
    token_table: Update = SKIP
    sweep_card: Update = SKIP
    sweep_condition: Update = SKIP
    sweep_reach: Update = SKIP
    sweep_button: Update = SKIP
    sweep_status: Update = SKIP
    sweep_shown: Update = SKIP


def run_form(
    values: tuple[Any, ...], shown_id: str, client: gr.Request | None, transcript: str | None = None
) -> Iterator[RunUpdate]:
    """Yield what the page shows while the run goes on, and the result last.

    Args:
        values: component values in the order of `Rail.form`.
        shown_id: id of the result on screen, "" before the first.
        client: who asks.
        transcript: text given to the cascade in place of its own.

    Raises:
        gr.Error: with one sentence, after the page was put in order.
    """
    try:
        LIMITER.take(client_of(client))
        yield RunUpdate(view=running_value("Reading the clip", 0.0), stop=gr.update(visible=True))
        form = form_of(values)
        request = request_from(form, load(form), transcript)
        answered: RunUpdate | None = None
        for news in session.run_steps(request):
            if isinstance(news, RunResult) and answered:
                yield _judged(str(answered.shown_id), news)
            elif isinstance(news, RunResult | session.Answered):
                result = news if isinstance(news, RunResult) else news.result
                n_erased = session.n_erased(len(request.erasures), request.strength)
                session.DURATIONS.add(n_erased, result.seconds)
                answered = _finish(request, result, form, shown_id, is_compared=result is news)
                yield answered
            elif answered:
                yield RunUpdate()  # a sign of life; the view stays with its answers
            else:
                doing = f"{news.message[:1].upper()}{news.message[1:]} …"
                yield RunUpdate(view=running_value(doing, news.fraction), status=small(doing))
    except Exception as error:  # the page is put in order before the sentence is shown
        sentence = sentence_for(error)
        yield RunUpdate(view=error_value(sentence), status="", stop=gr.update(visible=False))
        raise toast(sentence) from None


def rerun_readout(values: tuple[Any, ...], shown_id: str, client: gr.Request | None) -> Iterator[RunUpdate]:
    """Yield as `rerun_form` does when another readout was chosen than the one on screen, else nothing happens."""
    shown = session.RESULTS.get(shown_id)
    if shown is None or shown.form.readout == form_of(values).readout:
        yield RunUpdate()
        return
    yield from rerun_form(values, shown_id, client)


def mark(values: tuple[Any, ...], shown_id: str) -> str:
    """Return the line above a result that other settings than the rail's gave; "" above one of these."""
    shown, form = session.RESULTS.get(shown_id), form_of(values)
    return stale_line() if shown is not None and asked_of(shown.form) != asked_of(form) else ""


def rerun_form(values: tuple[Any, ...], shown_id: str, client: gr.Request | None) -> Iterator[RunUpdate]:
    """Yield as `run_form` does when a result of the same clip is on screen, else nothing happens.

    What asks a service is never run again by itself: a person presses Run for everything that is sent.
    """
    form, shown = form_of(values), session.RESULTS.get(shown_id)
    unfinished = (
        (form.noise == "own" and not form.noise_file)
        or (form.layers == "custom" and not form.layer_text.strip())
        or math.isnan(form.strength)
    )
    if shown is None or shown.form.audio != form.audio or unfinished:
        yield RunUpdate()
        return
    if needs_press(form.pair):
        # The same form comes again when a link's pair arrives late: nothing is to be run anew then.
        yield RunUpdate(status=SKIP if form == shown.form else small(PRESS_RUN))
        return
    yield from run_form(values, shown_id, client)


def show_stored(values: tuple[Any, ...], shown_id: str) -> RunUpdate:
    """Return the stored result of what the rail asks; nothing changes where none is stored or that is on screen."""
    form, shown = form_of(values), session.RESULTS.get(shown_id)
    if shown is not None and asked_of(shown.form) == asked_of(form):
        return RunUpdate()
    stored = stored_for(form)
    if stored is None:
        return RunUpdate()
    return _finish(request_from(form, load(form)), stored.result, form, shown_id, mark_of(stored))


def change_pair(values: tuple[Any, ...], shown_id: str, client: gr.Request | None) -> Iterator[RunUpdate]:
    """Yield the stored result of a pair that was just chosen where only such results were shown, else run again."""
    shown = session.RESULTS.get(shown_id)
    if shown is not None and not shown.stored:
        yield from rerun_form(values, shown_id, client)
        return
    yield show_stored(values, shown_id)


def _finish(
    request: Any, result: RunResult, form: Form, shown_id: str, stored: str = "", *, is_compared: bool = True
) -> RunUpdate:
    audio_file = str(write_wav(result.waveform))
    finished = session.Finished(request, result, form, audio_file, _clean_id(request, form, shown_id), stored)
    cascade = next((lane for lane in result.lanes if lane.role == "cascade"), None)
    own_id, view = session.RESULTS.put(finished), _ready(finished)
    if not is_compared:
        view |= {"verdict": COMPARING, "speech": "", "run": own_id}
    return RunUpdate(
        view=view,
        shown_id=own_id,
        status=small(
            f"Stored result: {stored}. Run measures it here."
            if stored
            else f"Finished in {result.seconds:.1f} s."
        ),
        estimate=estimate(list(request.erasures), request.strength),
        stop=gr.update(visible=False),
        noise_note=small(_noise_line(result)),
        tools=gr.update(visible=True),
        transcript=cascade.heard if cascade else SKIP,
        download=str(write_json(result_to_json(result), "cascade-lens.json")),
        token_plot=gr.update(value=None, visible=False),
        sweep_shown="",
        **(_lens_tools(request, result, shown_id) if result.lens else _tools_off(result)),
    )


def _judged(shown_id: str, result: RunResult) -> RunUpdate:
    """Return what changes once the whole verdict is there, on a page that may look at its answers already."""
    session.RESULTS.amend(shown_id, result)
    return RunUpdate(
        view={"status": "judged", "run": shown_id, **verdict_part(result)},
        download=str(write_json(result_to_json(result), "cascade-lens.json")),
    )


def _lens_tools(request: RunRequest, result: RunResult, shown_id: str) -> dict[str, Update]:
    """Return the tools below a run whose states were read."""
    assert result.lens is not None
    spread, place = spread_beside(result)
    sweepable = conditions_to_sweep(request, shown_id)
    on = gr.update(interactive=True)
    return {
        "emergence_place": small(place),
        "emergence_plot": gr.update(value=emergence_figure(result.lens, spread), visible=True),
        "emergence_table": emergence_table(result.lens, spread),
        **dict.fromkeys(("token", "find_token", "sweep_button"), on),
        "sweep_reach": gr.update(visible=True),
        "token_table": "",
        "sweep_card": gr.update(visible=bool(sweepable["choices"])),
        "sweep_condition": {**sweepable, "visible": True},
        "sweep_status": "",
    }


def _tools_off(result: RunResult) -> dict[str, Update]:
    """Return the same tools switched off, each with the reason, below a run whose states stay with a service."""
    off = gr.update(interactive=False)
    no_lens, no_erasure = (small(f"Off. {result.not_measured[what]}") for what in ("lens", "erasure"))
    return {
        "emergence_place": no_lens,
        "emergence_plot": gr.update(value=None, visible=False),
        "emergence_table": "",
        **dict.fromkeys(("token", "find_token", "sweep_button"), off),
        "sweep_reach": gr.update(visible=False),
        "token_table": no_lens,
        "sweep_card": gr.update(visible=True),
        "sweep_condition": gr.update(choices=[], value=None, visible=False),
        "sweep_status": no_erasure,
    }


def conditions_to_sweep(request: Any, shown_id: str) -> Any:
    """Return the sweep's choices for a run's pair: what the run erases first, else what was chosen before."""
    choices = erasure_choices(offer(request.pair))
    shown = session.RESULTS.get(shown_id)
    if request.erasures:
        return gr.update(choices=choices, value=request.erasures[0])
    if shown is not None and shown.request.pair == request.pair:
        return gr.update(choices=choices)
    return gr.update(choices=choices, value=choices[0][1] if choices else None)


def _clean_id(request: Any, form: Form, shown_id: str) -> str | None:
    """Return the id of this question's run without noise, if the person made one just before."""
    shown = session.RESULTS.get(shown_id)
    if request.noise is None or shown is None:
        return None
    same = (shown.form.audio, shown.form.task, shown.form.prompt) == (form.audio, form.task, form.prompt)
    if not same or shown.request.transcript_override != request.transcript_override:
        return None
    return shown_id if shown.request.noise is None else shown.clean_id


def _ready(finished: session.Finished) -> dict[str, Any]:
    clean = session.RESULTS.get(finished.clean_id)
    return clip_payload(
        finished.result,
        address_of(Path(finished.audio_file)),
        clean.result if clean else None,
        source=finished.stored
        or ("measured live, a service asked" if finished.result.not_measured else "measured live"),
        preset_layers=layer_preset(finished.result.pair) if finished.result.lens else None,
        benchmark=beside(
            finished.result.task,
            finished.result.pair,
            finished.result.noise,
            finished.result.snr_db,
            is_own=example_of_file(finished.form.audio) is None,
        ),
        human=human_rates(finished.result.pair),
        readouts=readouts(finished.request),
        readout=finished.request.readout,
        readout_note=_readout_note(finished.request),
    )


def readouts(request: RunRequest) -> list[list[str]]:
    """Return the readouts that the view offers for a run: key, name, and why it is off ("" where it is not)."""
    names = ((LOGIT, "logit lens"), (TUNED, "tuned lens"), (DIFFERENCE, "difference of two conditions"))
    both = has_second_condition(request)
    return [[key, name, why_no_readout(key, request.pair, both)] for key, name in names]


def _readout_note(request: RunRequest) -> str:
    return tuned_lens_note(get_pair(request.pair).speech_llm) if request.readout == TUNED else ""


def _noise_line(result: RunResult) -> str:
    if result.noise is None or result.snr_db is None:
        return CLEAN_NOTE
    reached = "not measured" if result.snr_db_achieved is None else f"{result.snr_db_achieved:.1f} dB reached"
    return f"{result.snr_db:g} dB asked, {reached}."


def stopped(shown_id: str) -> RunUpdate:
    """Return the page as it was before the run that was just stopped."""
    shown = session.RESULTS.get(shown_id)
    view = empty_value() if shown is None else _ready(shown)
    return RunUpdate(view=view, status=small("Stopped."), stop=gr.update(visible=False))


def estimate(erasures: list[str], strength: float) -> str:
    """Return how long the next run will take, from the last ones with as many erasures."""
    return small(session.DURATIONS.line(session.n_erased(len(erasures), strength)))


def follow(shown_id: str, text: str) -> tuple[Update, str]:
    """Return figure and table of one token's rank through the layers of the run on screen.

    Raises:
        PromptError: there is no run on screen, or the text is not in the vocabulary.
    """
    shown = session.RESULTS.get(shown_id)
    if shown is None:
        raise PromptError("There is no result to search; press Run first.")
    if not text.strip() or len(text) > 60:
        raise PromptError("Write one word or token of at most 60 characters.")
    track = session.follow_token(shown.request, text)
    assert shown.result.lens is not None, "a token is followed only where there is a lens"
    figure = token_figure(track, shown.result.lens)
    return gr.update(value=figure, visible=True), token_table(track, shown.result.lens)
