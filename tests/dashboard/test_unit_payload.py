"""The value of the unit view: what the browser gets is what the engine found, and it fits."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from dashboard.components.clip_view import SCRIPTS, UNIT_SCRIPTS, unit_view
from dashboard.components.payload import MAX_BYTES, payload_bytes
from dashboard.components.unit_payload import k_value, phases_sentence, unit_payload
from dashboard.interleaved_json import interleaved_to_json
from engine.results import CURRENT_WORD, NEXT_WORD, NOTHING, ClipPhases, InterleavedResult
from tests.dashboard.planted_clip import planted_result


def payload(result: InterleavedResult | None = None) -> dict[str, Any]:
    return unit_payload(result or planted_result(), "clip.wav", "on.wav", k=5, model="mini", source="live")


def array(value: dict[str, Any], name: str) -> np.ndarray:
    """Undo `packing.pack` for one array of single bytes or two."""
    entry = value["arrays"][name]
    raw = zlib.decompress(base64.b64decode(value["blob"]))
    size = int(np.prod(entry["shape"]))
    width = np.dtype(entry["dtype"]).itemsize
    planes = np.frombuffer(raw[entry["offset"] : entry["offset"] + size * width], np.uint8)
    found = planes.reshape(width, size).T.copy().view(f"<u{width}")
    return found.reshape(entry["shape"])


def test_units_keep_their_own_length_and_each_k_its_words() -> None:
    value = payload()
    assert value["lens"]["ends_s"] == [0.04, 0.2, 0.36] and value["lens"]["units"] == [7, 3, 7]
    words = array(value, "word_phase")
    assert words[0].tolist() == [[NOTHING] * 3, [CURRENT_WORD, NOTHING, NOTHING]]
    assert words[1].tolist() == [[NOTHING] * 3, [CURRENT_WORD, NEXT_WORD, NOTHING]]
    assert array(value, "units_win").tolist() == [[1, 1, 1], [0, 0, 1]]
    assert array(value, "word_rank").tolist() == [[400] * 3, [1, 3, 400]]
    assert value["tops"] == [1, 5, 10] and value["k"] == 5 and k_value(10) == {"status": "k", "k": 10}


def test_recall_stands_beside_its_control() -> None:
    at_5 = payload()["recalls"][1]
    assert at_5["current"] == {"score": [0.0, 0.5], "control": [0.0, 0.1], "n_words": 2}
    assert at_5["next"]["n_words"] == 1
    unasked = planted_result()
    empty = tuple(replace(one, score=(float("nan"),) * 2, n_words=0) for one in unasked.recalls)
    assert payload(replace(unasked, recalls=empty))["recalls"][0]["current"]["score"] == [None, None]


def test_phases_in_words() -> None:
    first, second, third = payload()["phases"]
    assert "best at layer 1, the next word nowhere" in first and "no interval" in first
    assert "the next word at layer 1" in second
    assert third.startswith("At k = 10 no layer holds")
    assert "from layer 7 on units outweigh text" in phases_sentence(ClipPhases(5, 3, 5, 7))


def test_a_long_clip_still_fits() -> None:
    rng = np.random.default_rng(0)
    result = planted_result()
    shape = (9, 700)
    lens = replace(
        result.lens,
        layers=tuple(range(9)),
        ends_s=np.arange(1, 701) * 0.04,
        units=rng.integers(0, 200, 700),
        top_ids=rng.integers(0, 3536, (*shape, 10)),
        top_probabilities=rng.random((*shape, 10)),
        entropy_nats=rng.random(shape),
        token_text={i: f" token{i}" for i in range(3536)},
        text_share=rng.random(shape),
        current_rank=rng.integers(0, 3334, shape),
        next_rank=rng.integers(0, 3334, shape),
        spoken=((0,),) * 700,
    )
    value = payload(replace(result, lens=lens, waveform=rng.random(448_000).astype(np.float32)))
    assert payload_bytes(value) <= MAX_BYTES and value["lens"]["top_k"] >= 1


def test_the_download_is_plain_json_and_says_what_each_cell_holds() -> None:
    found = interleaved_to_json(planted_result())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["lens"]["word_held"]["5"][1] == ["current word", "next word", None]
    assert found["recall"][2] == {
        **{"k": 5, "d": 0, "score": [0.0, 0.5], "control": [0.0, 0.1]},
        **{"n_words": 2, "excess": [0.0, 0.4]},
    }
    assert found["continuation"]["heard"] == "won" and found["phases"][2]["current"] is None


def test_the_view_shares_the_clip_pages_grid() -> None:
    """One grid, two views: each brings only what it has of its own."""
    shared = set(SCRIPTS) & set(UNIT_SCRIPTS)
    assert {"clip_draw.js", "clip_layout.js", "clip_interact.js", "clip_audio.js", "clip_view.js"} <= shared
    assert set(UNIT_SCRIPTS) - shared == {"unit_own.js"}
    view = unit_view()
    assert "cl-over" in view.html_template and "<!-- lens -->" not in view.html_template
