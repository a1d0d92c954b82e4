"""A clip read by an interleaved model as one JSON value for its view, under the same limit as `payload`.

Which word a cell holds is decided by the engine for every k; the browser only looks it up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dashboard.components.lane_value import words_value
from dashboard.components.packing import (
    finite,
    pack,
    quantise_linear,
    quantise_square_root,
    smallest_unsigned,
)
from dashboard.components.payload import MAX_BYTES, payload_bytes, pictures
from engine.audio import SAMPLE_RATE_HZ
from engine.results import ClipPhases, ClipRecall, Continuation, InterleavedResult, phase_of_cells

TOP_TOKENS = (10, 8, 5, 3, 1)  # a cell, most first: what fits is sent
ROUNDED = 4


def unit_payload(
    result: InterleavedResult, audio_url: str, sound_url: str, *, k: int, model: str, source: str
) -> dict[str, Any]:
    """Return the component value that shows `result`; its JSON form takes at most MAX_BYTES bytes.

    Args:
        result: a finished run.
        audio_url: where the browser gets the clip as the model heard it.
        sound_url: the same of what the model says; "" where there is no sound.
        k: among how many text tokens a word counts at first.
        model: its name.
        source: where the numbers come from, in words.

    Raises:
        ValueError: the result does not fit even with one token per cell.
    """
    base = _base(result, audio_url, sound_url) | {"k": k, "model": model, "source": source}
    drawn = pictures(result.waveform)
    for top_k in TOP_TOKENS:
        packed = _packed(result, drawn["arrays"], top_k)
        payload = {**base, "lens": _lens(result, top_k), "peak": drawn["peak"], **packed}
        if payload_bytes(payload) <= MAX_BYTES:
            return payload
    raise ValueError(f"the result does not fit into {MAX_BYTES} bytes")


def tops_of(result: InterleavedResult) -> tuple[int, ...]:
    """Return each k that was asked for, ascending."""
    return tuple(sorted({one.k for one in result.recalls}))


def k_value(k: int) -> dict[str, Any]:
    """Return the value after which words count among the top k; the result stays."""
    return {"status": "k", "k": k}


def phases_sentence(phases: ClipPhases) -> str:
    """Return where this clip's phases lie, in one sentence."""
    if phases.current is None and phases.following is None:
        return f"At k = {phases.k} no layer holds this clip's words more often than other clips' words."
    current = "nowhere" if phases.current is None else f"at layer {phases.current}"
    following = "nowhere" if phases.following is None else f"at layer {phases.following}"
    speech = (
        "" if phases.speech is None else f"; from layer {phases.speech} on units outweigh text after that"
    )
    return (
        f"At k = {phases.k} the word being spoken is read best {current}, the next word {following}{speech}. "
        "One clip has no interval."
    )


def _base(result: InterleavedResult, audio_url: str, sound_url: str) -> dict[str, Any]:
    return {
        "status": "ready",
        "tops": list(tops_of(result)),
        "audio": {
            "name": result.audio_name,
            "url": audio_url,
            "duration_s": result.waveform.size / SAMPLE_RATE_HZ,
            "changes": list(result.audio_changes),
            "warnings": list(result.warnings),
        },
        "seconds": finite(result.seconds, 3),
        "phases": [phases_sentence(one) for one in result.phases],
        "recalls": [_recalls(result, k) for k in tops_of(result)],
        "n_controls": result.n_controls,
        "continuation": _continuation(result.continuation, sound_url),
    }


def _recalls(result: InterleavedResult, k: int) -> dict[str, Any]:
    at_k = [one for one in result.recalls if one.k == k]
    return {("current", "next")[one.d]: recall_value(one) for one in at_k}


def recall_value(recall: ClipRecall) -> dict[str, Any]:
    """Return recall and its control, layer by layer; None where no word was asked for."""
    return {
        "score": [finite(one, ROUNDED) for one in recall.score],
        "control": [finite(one, ROUNDED) for one in recall.control],
        "n_words": recall.n_words,
    }


def _continuation(it: Continuation, sound_url: str) -> dict[str, Any]:
    return {
        "after_s": round(it.after_s, 2),
        "said_next": it.said_next,
        "text": it.text,
        "text_end": it.text_end,
        "units": list(it.units),
        "speech_end": it.speech_end,
        "sound_url": sound_url,
        "no_sound": it.no_sound,
        "heard": it.heard,
    }


def _lens(result: InterleavedResult, top_k: int) -> dict[str, Any]:
    lens = result.lens
    return {
        "layers": list(lens.layers),
        "preset_layers": list(lens.layers),
        "preset_is_the_papers": False,
        "seconds_per_position": lens.frame_s,
        "ends_s": [round(float(end), 3) for end in lens.ends_s],
        "n_positions": len(lens.units),
        "units": lens.units.tolist(),
        "top_k": top_k,
        "fine": False,
        "entropy_top": _top_entropy(result),
        "mean_text_share": [finite(float(one), ROUNDED) for one in lens.text_share.mean(1)],
        "words": words_value(lens.words),
        "words_from": lens.words_from,
        "spoken": [list(indices) for indices in lens.spoken],
        "degenerate_layers": [],
    }


def _top_entropy(result: InterleavedResult) -> float:
    return float(np.max(result.lens.entropy_nats, initial=0.0)) or 1.0


def _packed(result: InterleavedResult, drawn: dict[str, Any], top_k: int) -> dict[str, Any]:
    lens = result.lens
    ids = lens.top_ids[:, :, :top_k]
    used, places = np.unique(ids, return_inverse=True)
    words, units_win = zip(*(phase_of_cells(lens, k) for k in tops_of(result)), strict=True)
    arrays = {
        "tokens": smallest_unsigned(places.reshape(ids.shape)),
        "probabilities": quantise_square_root(lens.top_probabilities[:, :, :top_k]),
        "entropy": quantise_linear(lens.entropy_nats, _top_entropy(result), 1),
        "text_share": quantise_linear(lens.text_share, 1.0, 1),
        "word_rank": smallest_unsigned(lens.current_rank),
        "next_rank": smallest_unsigned(lens.next_rank),
        "word_phase": smallest_unsigned(np.stack(words)),
        "units_win": smallest_unsigned(units_win[0]),
        **drawn,
    }
    return pack(arrays, [lens.token_text[int(token)] for token in used])
