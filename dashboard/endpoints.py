"""The endpoints for programs: `/systems`, `/analyze`, `/interleaved`, `/tables` and `/table`.

All else on the page is private.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr
from gradio.events import api

from dashboard import session
from dashboard.errors import with_plain_errors
from dashboard.form import Form, load, request_from
from dashboard.interleaved_json import interleaved_to_json
from dashboard.result_json import result_to_json
from dashboard.security import client_of, uploaded_path
from dashboard.table_rows import list_tables, rows_of_table
from dashboard.tables import first_source
from dashboard.tabs.clip_runs import LIMITER
from dashboard.tabs.events import MODEL_QUEUE
from dashboard.tabs.interleaved_runs import Asked, read
from engine.errors import EngineError, NoiseError, UnknownKeyError
from engine.noise import NOISES
from engine.request import LOGIT
from engine.systems.catalogue import systems as catalogue_systems


def add_endpoints() -> None:
    """Add the endpoints to the Blocks that is being built."""
    api(with_plain_errors(systems), api_name="systems", queue=False)
    api(with_plain_errors(analyze), api_name="analyze", **MODEL_QUEUE)
    api(with_plain_errors(interleaved), api_name="interleaved", **MODEL_QUEUE)
    api(with_plain_errors(tables), api_name="tables", queue=False)
    api(with_plain_errors(table), api_name="table")


def systems() -> list[dict[str, Any]]:
    """List the systems: what each is, what it can do, how large it is, its licence, and whether it can run here."""
    return [asdict(info) for info in catalogue_systems()]


def analyze(
    request: gr.Request,
    audio: gr.FileData,
    task: str,
    pair: str = "mini-ultravox",
    noise: str = "babble",
    snr_db: float | None = None,
    erasure: str = "none",
    scope: str = "audio",
    seed: int = 0,
    prompt: str = "",
    reference: str = "",
    strength: float = 1.0,
    readout: str = LOGIT,
) -> dict[str, Any]:
    """Run a clip through the speech LLM, its matched cascade and, with a reference, the text oracle.

    Args:
        request: who asks; Gradio adds it, clients do not send it.
        audio: an uploaded sound file (in Python: gradio_client.handle_file).
        task: topic, sentiment, commonsense, trivia, emotion, sarcasm, speaker, transcribe or free.
        pair: mini-ultravox.
        noise: babble or white; added only where snr_db is given.
        snr_db: signal-to-noise ratio, -10 to 40 dB; null leaves the clip clean.
        erasure: text, ctc, boc, acoustic or none.
        scope: audio, prompt or all: the positions that are erased.
        seed: draws the noise and the random control, 0 or more.
        prompt: the choices of a commonsense question, or the free prompt.
        reference: the true transcript, if known.
        strength: 0 to 1: how much of the erased directions is taken out; the control gets the same.
        readout: logit, tuned or difference: how the states are read, beside the logit lens.
    """
    LIMITER.take(client_of(request))
    form = Form(
        audio=str(uploaded_path(audio)),
        task=_text(task, "task"),
        prompt=_text(prompt, "prompt"),
        reference=_text(reference, "reference"),
        pair=_text(pair, "pair"),
        noise=_noise(noise, snr_db),
        snr_db=0.0 if snr_db is None else snr_db,
        noise_file=None,
        erasures=() if erasure in ("none", "", None) else (_text(erasure, "erasure"),),
        scope=_text(scope, "scope"),
        layers="preset",
        layer_text="",
        method="linear",
        strength=_strength(strength),
        readout=_text(readout, "readout") or LOGIT,
        seed=_seed(seed),
    )
    return result_to_json(session.run_once(request_from(form, load(form))))


def interleaved(
    request: gr.Request, audio: gr.FileData, reference: str = "", after: str = "half"
) -> dict[str, Any]:
    """Run a clip through the interleaved model: the word that each layer holds at each unit, and how it goes on.

    Args:
        request: who asks; Gradio adds it, clients do not send it.
        audio: an uploaded sound file (in Python: gradio_client.handle_file).
        reference: the true transcript, if known; else the words are those that the transcriber hears.
        after: half or whole: how much of the clip the model hears before it goes on.
    """
    LIMITER.take(client_of(request))
    asked = Asked(str(uploaded_path(audio)), _text(reference, "reference"), _text(after, "after"))
    return interleaved_to_json(session.job_once(partial(read, asked)))


def tables() -> list[dict[str, Any]]:
    """List the benchmark's tables: source, name, meaning, n_rows, and columns with their units."""
    return list_tables()


def table(
    name: str, source: str = "", filters: dict[str, Any] | None = None, first: int = 0, limit: int = 1000
) -> dict[str, Any]:
    """Return rows of one of the benchmark's tables.

    Args:
        name: as /tables lists it, such as agreement.
        source: measured, published or own; empty takes what the page opens on.
        filters: column to value, or to a list of values; null stands for an empty cell.
        first: number of the first row, from 0.
        limit: most rows to return, 1 to 10,000.
    """
    if not (isinstance(filters or {}, dict) and all(_is_whole(number) for number in (first, limit))):
        raise EngineError("filters must map columns to values, and first and limit must be whole numbers.")
    chosen = _text(source, "source") or first_source()
    return rows_of_table(chosen, _text(name, "name of the table"), filters or {}, first, limit)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnknownKeyError(f"The {what} must be a text.")
    return value


def _seed(value: Any) -> int:
    if not _is_whole(value) or value < 0:
        raise EngineError("The seed must be a whole number, 0 or more.")
    return int(value)


def _strength(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EngineError("The strength must be a number from 0 to 1.")
    return float(value)


def _noise(noise: Any, snr_db: Any) -> str:
    """Return the form's noise: "none" without a ratio, whatever kind is named."""
    named = noise not in (None, "", "none")
    if named and noise not in NOISES:
        raise NoiseError(f"There is no such noise; choose one of {', '.join(NOISES)}.")
    if snr_db is None:
        return "none"
    if not named:
        raise NoiseError(f"Name the noise for this ratio: {' or '.join(NOISES)}; or leave snr_db out.")
    return str(noise)
