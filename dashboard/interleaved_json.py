"""What an interleaved model made of a clip, as plain JSON: the `/interleaved` endpoint and the tab's download."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dashboard.components.packing import finite
from dashboard.components.unit_payload import recall_value
from engine.audio import SAMPLE_RATE_HZ
from engine.results import CURRENT_WORD, NEXT_WORD, phase_of_cells

if TYPE_CHECKING:
    from engine.results import ClipRecall, InterleavedResult

_WORDS = {CURRENT_WORD: "current word", NEXT_WORD: "next word"}


def interleaved_to_json(result: InterleavedResult) -> dict[str, Any]:
    """Return the run as dictionaries, lists, strings and finite numbers; None where nothing was measured.

    Cells are [layers][positions]; a position is one merged unit.
    """
    lens, on = result.lens, result.continuation
    return {
        "model": result.model,
        "fingerprint": result.fingerprint,
        "audio": {
            "name": result.audio_name,
            "duration_s": len(result.waveform) / SAMPLE_RATE_HZ,
            "changes": list(result.audio_changes),
            "warnings": list(result.warnings),
        },
        "units": {"ids": lens.units.tolist(), "ends_s": np.round(lens.ends_s, 3).tolist()},
        "words": [asdict(word) for word in lens.words],
        "words_from": lens.words_from,
        "lens": _lens(result),
        "recall": [_recall(one) for one in result.recalls],
        "n_controls": result.n_controls,
        "phases": [asdict(one) for one in result.phases],
        "continuation": {
            "after_s": on.after_s,
            "said_next": on.said_next,
            "text": on.text,
            "text_end": on.text_end,
            "units": list(on.units),
            "speech_end": on.speech_end,
            "no_sound": on.no_sound,
            "heard": on.heard,
        },
        "seconds": result.seconds,
    }


def _recall(recall: ClipRecall) -> dict[str, Any]:
    excess = [finite(one, 4) for one in recall.excess]
    return {"k": recall.k, "d": recall.d, **recall_value(recall), "excess": excess}


def _lens(result: InterleavedResult) -> dict[str, Any]:
    lens = result.lens
    return {
        "layers": list(lens.layers),
        "top_tokens": [
            [[lens.token_text[int(one)] for one in cell] for cell in layer] for layer in lens.top_ids
        ],
        "top_probabilities": lens.top_probabilities.astype(float).round(6).tolist(),
        "text_share": lens.text_share.astype(float).round(6).tolist(),
        "rank_of_current_word": lens.current_rank.tolist(),
        "rank_of_next_word": lens.next_rank.tolist(),
        "word_held": {
            str(k): [[_WORDS.get(int(cell)) for cell in layer] for layer in phase_of_cells(lens, k)[0]]
            for k in sorted({one.k for one in result.recalls})
        },
    }
