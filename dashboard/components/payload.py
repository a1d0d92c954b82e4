"""One run as one JSON value for the clip view, under 300 KB.

`clip_payload` turns a RunResult into the value of the component; the browser then needs no server call.
Nothing is escaped here: the script writes every text with textContent, never as HTML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dashboard.components.lane_value import (
    answer_value,
    comparison_value,
    lane_value,
    words_value,
)
from dashboard.components.packing import (
    finite,
    pack,
    quantise_linear,
    quantise_square_root,
    smallest_unsigned,
)
from dashboard.components.sound_pictures import SAMPLE_RATE_HZ, envelope, mel_picture
from engine.request import LOGIT
from engine.results import ArmResult, ErasureOutcome, LensReadout, RunResult
from engine.tasks import TASKS

MAX_BYTES = 300_000
MAX_TOP_K = 10
N_PRESET_LAYERS = 9


@dataclass(frozen=True)
class Precision:
    """How many tokens per cell are sent, and how finely.

    Attributes:
        top_k: tokens per cell.
        fine: True sends probabilities and entropy as 16-bit linear numbers (error at most 1/131070 of the
            range); False sends 8 bits, probabilities on a square-root scale (error at most 0.004).
    """

    top_k: int
    fine: bool


def clip_payload(
    result: RunResult,
    audio_url: str,
    comparison: RunResult | None = None,
    *,
    source: str = "measured live",
    preset_layers: Sequence[int] | None = None,
    benchmark: str | None = None,
    human: dict[str, Any] | None = None,
    readouts: Sequence[Sequence[str]] = (),
    readout: str = LOGIT,
    readout_note: str = "",
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Return the component value that shows `result`; its JSON form takes at most `max_bytes` bytes.

    The finest precision that fits is taken: all of the top 10 in 16 bits for a short clip, fewer tokens
    in 8 bits for a long one. What was taken is in `lens.top_k` and `lens.fine`.

    Args:
        result: a finished run.
        audio_url: where the browser gets the clip as the models heard it; "" leaves the player off.
        comparison: another run of the same clip, such as the clean one; its answers stand in the lanes.
        source: where the numbers come from, in words.
        preset_layers: the layers of the paper's preset; None spreads nine over the recorded ones.
        benchmark: what was precomputed on clips of this task, as a sentence.
        human: how often the speech LLM mishears people, see `dashboard.beside.human_rates`.
        readouts: key, name and why it is off ("" where it is not) of each way to read the states.
        readout: key of the one that the grid shows.
        readout_note: what was measured of it on other clips, in words.
        max_bytes: of the JSON form.

    Raises:
        ValueError: the result does not fit even with one token per cell.
    """
    base = _run_part(result, audio_url, source)
    base["lanes"] = [lane_value(lane, result) for lane in result.lanes]
    base["erasures"] = [_erasure(outcome) for outcome in result.erasures]
    base["benchmark"] = benchmark
    base["comparison"] = None if comparison is None else comparison_value(comparison)
    base["not_measured"] = dict(result.not_measured)
    base |= verdict_part(result)
    base["human"] = human
    base["readouts"] = [list(one) for one in readouts]
    base["readout"] = readout
    base["readout_note"] = readout_note
    drawn = pictures(result.waveform)
    shown = result.readout or result.lens
    if shown is None:
        return {**base, "lens": None, "peak": drawn["peak"], **pack(drawn["arrays"], [])}
    for precision in _precisions(shown):
        payload = {**base, "lens": _lens(shown, precision, preset_layers)}
        payload.update(_packed(shown, drawn, precision))
        if payload_bytes(payload) <= max_bytes:
            return payload
    raise ValueError(f"the result does not fit into {max_bytes} bytes")


def empty_value() -> dict[str, Any]:
    """Return the value before the first run: the view shows a guide of three steps."""
    return {"status": "empty"}


def running_value(message: str, fraction: float | None = None) -> dict[str, Any]:
    """Return the value while a run is under way; the old result stays, dimmed.

    Args:
        message: what is being done now, in words.
        fraction: how much is done, 0..1, or None when it is not known.
    """
    return {"status": "running", "message": message, "fraction": finite(fraction)}


def error_value(message: str) -> dict[str, Any]:
    """Return the value after a failed run; `message` is one sentence that says what to do."""
    return {"status": "error", "message": message}


def payload_bytes(payload: dict[str, Any]) -> int:
    """Return the size of the value as UTF-8 JSON, in bytes."""
    return len(json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def _precisions(lens: LensReadout) -> Iterator[Precision]:
    """Yield what to try, finest first."""
    full = min(MAX_TOP_K, lens.top_ids.shape[2])
    yield Precision(full, fine=True)
    for top_k in sorted({full, 8, 5, 3, 1}, reverse=True):
        if top_k <= full:
            yield Precision(top_k, fine=False)


def _run_part(result: RunResult, audio_url: str, source: str) -> dict[str, Any]:
    noise = None
    if result.noise is not None:
        achieved = finite(result.snr_db_achieved, 2)
        noise = {"kind": result.noise, "asked_db": result.snr_db, "achieved_db": achieved}
    return {
        "status": "ready",
        "source": source,
        "task": result.task,
        "has_labels": TASKS[result.task].kind in ("choice", "choices"),
        "instruction": result.instruction,
        "pair": result.pair,
        "match": result.match,
        "audio": {
            "name": result.audio_name,
            "url": audio_url,
            "duration_s": result.waveform.size / SAMPLE_RATE_HZ,
            "changes": list(result.audio_changes),
        },
        "noise": noise,
        "seed": result.seed,
        "seconds": finite(result.seconds, 3),
        "agreement": {"kind": result.agreement.kind, "sentence": result.agreement.sentence},
        "reference": result.reference,
        "gold": result.gold,
    }


def verdict_part(result: RunResult) -> dict[str, Any]:
    """Return what a run's verdict on its clip changes in the value: the line above the answers, and the facts below.

    That somebody speaks is a fact of the clip and needs no line of its own.
    """
    verdict = result.hearing_verdict
    if verdict is None or verdict.kind == "speech":
        return {
            "verdict": None,
            "warnings": list(result.warnings),
            "speech": verdict.sentence if verdict else "",
        }
    numbers = {name: finite(number, 4) for name, number in verdict.numbers.items()}
    return {
        "verdict": {"kind": verdict.kind, "sentence": verdict.sentence, "numbers": numbers},
        # Its sentence stands above already.
        "warnings": [one for one in result.warnings if one != verdict.sentence],
        "speech": "",
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    return {
        "answer": answer_value(arm.answer),
        "log_likelihood_change": finite(arm.log_likelihood_change, 4),
        "right_log_likelihood_change": finite(arm.right_log_likelihood_change, 4),
        "relative_change_of_state": finite(arm.relative_change_of_state),
    }


def _erasure(outcome: ErasureOutcome) -> dict[str, Any]:
    return {
        "condition": outcome.condition,
        "kept_rank": outcome.kept_rank,
        "layers": list(outcome.layers),
        "scope": outcome.scope,
        "method": outcome.method,
        "strength": outcome.strength,
        "plain": _arm(outcome.plain),
        "erased": _arm(outcome.erased),
        "random_control": _arm(outcome.random_control),
        "fitted_on": outcome.fitted_on,
        "proof": outcome.proof.sentence if outcome.proof else outcome.proof_missing,
    }


def _lens(lens: LensReadout, precision: Precision, preset_layers: Sequence[int] | None) -> dict[str, Any]:
    known = None if preset_layers is None else [layer for layer in lens.layers if layer in set(preset_layers)]
    spread = np.linspace(0, len(lens.layers) - 1, min(N_PRESET_LAYERS, len(lens.layers))).round().astype(int)
    return {
        "layers": list(lens.layers),
        "preset_layers": known or [lens.layers[index] for index in spread],
        "preset_is_the_papers": bool(known),
        "seconds_per_position": lens.seconds_per_position,
        **_uneven(lens),
        "n_positions": int(lens.top_ids.shape[1]),
        "top_k": precision.top_k,
        "fine": precision.fine,
        "entropy_top": _entropy_top(lens),
        "words": words_value(lens.words),
        "words_from": lens.words_from,
        "spoken": [list(indices) for indices in lens.spoken],
        "precision": [finite(value, 4) for value in lens.precision],
        "control": [finite(value, 4) for value in lens.control],
        "name": lens.name,
        "beside": [finite(value, 4) for value in lens.beside],
        "beside_name": lens.beside_name,
        "n_control_clips": lens.n_control_clips,
        "degenerate_layers": list(lens.degenerate_layers),
    }


def _uneven(lens: LensReadout) -> dict[str, Any]:
    """Return when each position ends, where they are not all of one width."""
    ends = lens.position_ends_s
    return {} if ends is None else {"ends_s": [round(float(end), 3) for end in ends]}


def _entropy_top(lens: LensReadout) -> float:
    top = float(np.max(lens.entropy_nats, initial=0.0))
    return top if top > 0 else 1.0


def pictures(waveform: Float[np.ndarray, " samples"]) -> dict[str, Any]:
    """Return what is drawn of a sound: its peak, and arrays for `pack`."""
    shape, peak = envelope(waveform)
    return {"peak": round(peak, 4), "arrays": {"envelope": shape, "mel": mel_picture(waveform)}}


def _packed(lens: LensReadout, drawn: dict[str, Any], precision: Precision) -> dict[str, Any]:
    """Return the arrays as a blob; token ids become indices into the vocabulary that is sent along."""
    ids = np.asarray(lens.top_ids)[:, :, : precision.top_k]
    used, places = np.unique(ids, return_inverse=True)
    probabilities = np.asarray(lens.top_probabilities)[:, :, : precision.top_k]
    arrays = {
        "tokens": smallest_unsigned(places.reshape(ids.shape)),
        "probabilities": quantise_linear(probabilities, 1.0, 2)
        if precision.fine
        else quantise_square_root(probabilities),
        "entropy": quantise_linear(lens.entropy_nats, _entropy_top(lens), 2 if precision.fine else 1),
        "word_rank": smallest_unsigned(np.asarray(lens.word_rank)),
        **drawn["arrays"],
    }
    texts = [lens.token_text[int(token)] for token in used]
    return {"peak": drawn["peak"], **pack(arrays, texts)}
