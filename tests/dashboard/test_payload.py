"""The value of the clip view: what is packed comes back, it stays small, texts stay texts."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dashboard.components.payload import (
    MAX_BYTES,
    clip_payload,
    empty_value,
    error_value,
    payload_bytes,
    running_value,
)
from dashboard.result_json import result_to_json
from engine.results import CUT_OFF, Agreement, Answer, ArmResult, ErasureOutcome, Lane, LensReadout, RunResult
from engine.words import SpokenWord

HOSTILE = "<img src=x onerror=alert(1)>"


def unpack(payload: dict[str, Any]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Undo the packing as the browser does, byte plane by byte plane."""
    raw = zlib.decompress(base64.b64decode(payload["blob"]))
    arrays = {}
    for name, entry in payload["arrays"].items():
        kind = np.dtype(entry["dtype"])
        size = int(np.prod(entry["shape"])) * kind.itemsize
        planes = np.frombuffer(raw, np.uint8, size, entry["offset"]).reshape(kind.itemsize, -1)
        arrays[name] = np.ascontiguousarray(planes.T).view(kind).reshape(entry["shape"])
    place = payload["vocabulary"]
    return arrays, json.loads(raw[place["offset"] : place["offset"] + place["length"]])


def make_lens(n_layers: int, n_positions: int, top_k: int, even_over: int = 0) -> LensReadout:
    """A readout whose neighbours have nothing in common, which is harder to pack than a real one.

    Tokens are as frequent as words are (Zipf, 8000 kinds), or evenly spread over `even_over` kinds.
    """
    rng = np.random.default_rng(0)
    shape = (n_layers, n_positions, top_k)
    places = rng.integers(0, even_over, shape) if even_over else rng.zipf(1.2, shape) % 8000
    ids = places * 16 + 7
    weights = -np.sort(-(rng.exponential(size=shape) ** 3), axis=-1)
    words = tuple(SpokenWord(f"word{i}", i * 0.32, i * 0.32 + 0.3) for i in range(n_positions // 2))
    spoken = tuple((i // 2,) if i // 2 < len(words) else () for i in range(n_positions))
    return LensReadout(
        layers=tuple(range(n_layers)),
        seconds_per_position=0.16,
        top_ids=ids,
        top_probabilities=weights / (weights.sum(-1, keepdims=True) * 1.05),
        entropy_nats=rng.uniform(0, 11.7, (n_layers, n_positions)),
        token_text={int(token): f" tok{int(token)}" for token in np.unique(ids)},
        spoken=spoken,
        words=words,
        words_from="reference",
        word_rank=np.exp(rng.uniform(0, np.log(128_256), (n_layers, n_positions))).astype(int),
        precision=tuple(rng.uniform(size=n_layers)),
        control=tuple(rng.uniform(size=n_layers)),
        n_control_clips=20,
        degenerate_layers=(0,),
    )


def make_answer(label: str | None = "Sports", text: str = "Sports") -> Answer:
    return Answer(text, label, "parsed" if label else "unparsed", {"Sports": 0.9, "World": 0.1}, -0.1)


def make_result(lens: LensReadout, duration_s: float = 3.0) -> RunResult:
    rng = np.random.default_rng(1)
    wave = rng.normal(scale=0.1, size=int(duration_s * 16_000)).astype(np.float32)
    words = (SpokenWord("the", 0.0, 0.2), SpokenWord(HOSTILE, 0.2, 0.9))
    lanes = (
        Lane("a", "speech_llm", "A", "kick the ball", "lens, layer 6", (), make_answer(), 0.8, 0.1, "r1"),
        Lane("b", "cascade", "B", f"the {HOSTILE}", "W", words, make_answer(None, HOSTILE), 0.5, 0.2, "r2"),
    )
    return RunResult(
        task="topic",
        instruction="What is it about?",
        pair="mini-ultravox",
        match="exact",
        audio_name=f"{HOSTILE}.wav",
        audio_changes=("stereo to mono",),
        warnings=("very quiet",),
        noise="babble",
        snr_db=5.0,
        snr_db_achieved=5.02,
        seed=0,
        waveform=wave,
        lanes=lanes,
        agreement=Agreement("not comparable", "The cascade's answer could not be read."),
        lens=lens,
        erasures=(),
        reference="kick the red ball",
        gold="Sports",
        seconds=1.5,
    )


def test_short_clip_keeps_every_token_and_fine_numbers() -> None:
    lens = make_lens(9, 20, 10)
    payload = clip_payload(make_result(lens), "/file=a.wav")
    arrays, vocabulary = unpack(payload)
    assert (payload["lens"]["top_k"], payload["lens"]["fine"]) == (10, True)
    tokens = np.array(vocabulary)[arrays["tokens"]]
    assert (tokens == np.vectorize(lens.token_text.get)(lens.top_ids)).all()
    assert np.abs(arrays["probabilities"] / 65535 - lens.top_probabilities).max() <= 1 / 131_070 + 1e-12
    entropy = arrays["entropy"] / 65535 * payload["lens"]["entropy_top"]
    assert np.abs(entropy - lens.entropy_nats).max() <= payload["lens"]["entropy_top"] / 131_070 + 1e-9
    assert (arrays["word_rank"] == lens.word_rank).all()


def test_positions_of_many_widths_tell_the_view_when_each_ends() -> None:
    """A bridge's positions last as long as its tokens; those of one width need no list."""
    lens = make_lens(9, 4, 10)
    ends = np.array([0.5, 0.82, 2.0, 3.0])
    uneven = replace(lens, position_ends_s=ends)
    assert clip_payload(make_result(uneven), "/file=a.wav")["lens"]["ends_s"] == ends.tolist()
    assert "ends_s" not in clip_payload(make_result(lens), "/file=a.wav")["lens"]
    np.testing.assert_allclose(uneven.centres_s, [0.25, 0.66, 1.41, 2.5])
    np.testing.assert_allclose(lens.centres_s, [0.08, 0.24, 0.4, 0.56])


def test_long_clip_of_32_layers_fits_with_five_tokens() -> None:
    lens = make_lens(32, 400, 5)
    payload = clip_payload(make_result(lens, 64.0), "/file=a.wav")
    arrays, vocabulary = unpack(payload)
    assert payload["lens"]["top_k"] == 5
    assert payload_bytes(payload) <= MAX_BYTES
    assert not payload["lens"]["fine"]
    tokens = np.array(vocabulary)[arrays["tokens"]]
    assert (tokens == np.vectorize(lens.token_text.get)(lens.top_ids)).all()
    assert np.abs((arrays["probabilities"] / 255) ** 2 - lens.top_probabilities).max() <= 0.004
    entropy = arrays["entropy"] / 255 * payload["lens"]["entropy_top"]
    assert np.abs(entropy - lens.entropy_nats).max() <= payload["lens"]["entropy_top"] / 510 + 1e-9
    assert (arrays["word_rank"] == lens.word_rank).all()


def test_too_many_tokens_are_left_out_and_said_so() -> None:
    payload = clip_payload(make_result(make_lens(32, 400, 10, even_over=60_000), 64.0), "")
    assert payload_bytes(payload) <= MAX_BYTES
    assert payload["lens"]["top_k"] == unpack(payload)[0]["tokens"].shape[2] < 5


def test_envelope_is_relative_to_the_peak_and_covers_the_clip() -> None:
    result = make_result(make_lens(3, 20, 5))
    wave = np.zeros(48_000, dtype=np.float32)
    wave[24_000] = 0.25
    payload = clip_payload(replace(result, waveform=wave), "")
    shape = unpack(payload)[0]["envelope"]
    assert payload["peak"] == 0.25
    assert shape.shape == (2, 600) and shape.max() == 127
    assert int(shape[1].argmax()) == 300


def test_silence_gives_a_picture_and_no_warning() -> None:
    result = make_result(make_lens(3, 20, 5))
    payload = clip_payload(replace(result, waveform=np.zeros(16_000, dtype=np.float32)), "")
    arrays, _ = unpack(payload)
    assert not arrays["mel"].any() and not arrays["envelope"].any()


def test_html_in_words_names_and_answers_survives_as_text() -> None:
    payload = json.loads(json.dumps(clip_payload(make_result(make_lens(3, 20, 5)), "")))
    cascade = payload["lanes"][1]
    assert payload["audio"]["name"] == f"{HOSTILE}.wav"
    assert cascade["words"][1] == [HOSTILE, 0.2, 0.9]
    assert cascade["answer"]["text"] == HOSTILE


def test_heard_is_held_against_the_reference() -> None:
    lane = clip_payload(make_result(make_lens(3, 20, 5)), "")["lanes"][0]
    assert lane["against"] == "the true transcript"
    assert lane["parts"] == [
        {"kind": "same", "text": "kick the"},
        {"kind": "missing", "text": "red"},
        {"kind": "same", "text": "ball"},
    ]


def test_without_reference_the_speech_llm_is_held_against_the_cascade() -> None:
    lanes = clip_payload(replace(make_result(make_lens(3, 20, 5)), reference=None), "")["lanes"]
    assert [lane["against"] for lane in lanes] == ["the cascade's text", None]


def test_right_is_said_only_where_it_is_known() -> None:
    result = make_result(make_lens(3, 20, 5))
    lanes = clip_payload(result, "")["lanes"]
    assert [lane["right"] for lane in lanes] == [True, None]
    assert [lane["right"] for lane in clip_payload(replace(result, gold=None), "")["lanes"]] == [None, None]


def test_missing_numbers_stay_missing() -> None:
    arm = ArmResult(make_answer(), 0.0, None, 0.0)
    outcome = ErasureOutcome(
        "boc", 26, (1, 2), "audio", "linear", arm, arm, arm, "plain states", None, "Not measured here."
    )
    payload = clip_payload(replace(make_result(make_lens(3, 20, 5)), erasures=(outcome,)), "")
    assert payload["erasures"][0]["proof"] == "Not measured here."
    assert payload["erasures"][0]["fitted_on"] == "plain states"
    assert payload["erasures"][0]["plain"]["right_log_likelihood_change"] is None
    json.dumps(payload, allow_nan=False)


def test_comparison_gives_the_other_answers() -> None:
    result = make_result(make_lens(3, 20, 5))
    clean = replace(result, noise=None, snr_db=None, snr_db_achieved=None)
    comparison = clip_payload(result, "", clean)["comparison"]
    assert comparison["title"] == "clean run"
    assert comparison["lanes"]["speech_llm"]["label"] == "Sports"


@pytest.mark.parametrize(
    ("preset", "expected", "is_papers"),
    [((0, 5, 31), [0, 5, 31], True), (None, [0, 4, 8, 12, 16, 19, 23, 27, 31], False)],
)
def test_preset_layers(preset: tuple[int, ...] | None, expected: list[int], is_papers: bool) -> None:
    lens = clip_payload(make_result(make_lens(32, 10, 3)), "", preset_layers=preset)["lens"]
    assert lens["preset_layers"] == expected
    assert lens["preset_is_the_papers"] is is_papers


def test_a_cut_answer_says_so_on_the_page_and_in_the_json() -> None:
    """Fault: an answer that ended at the token limit looked like any other, in lanes, erasures and the download."""
    cut = replace(make_answer(), note=f"{CUT_OFF} 40 tokens.")
    arm, whole = ArmResult(cut, 0.0, None, 0.0), ArmResult(make_answer(), 0.0, None, 0.0)
    outcome = ErasureOutcome(
        "boc", 26, (1, 2), "audio", "linear", whole, arm, whole, "plain states", None, "Not measured here."
    )
    result = make_result(make_lens(3, 20, 5))
    speech, cascade = result.lanes
    result = replace(result, lanes=(replace(speech, answer=cut), cascade), erasures=(outcome,))
    page, download = clip_payload(result, "", result), result_to_json(result)
    told = [page["lanes"][0]["answer"], page["erasures"][0]["erased"]["answer"], download["systems"][0]]
    told += [page["comparison"]["lanes"]["speech_llm"], download["erasures"][0]["erased"]]
    assert [one["note"] for one in told] == ["Cut off at the limit of 40 tokens."] * 5
    silent = [page["lanes"][1]["answer"], page["erasures"][0]["plain"]["answer"], download["systems"][1]]
    assert [one["note"] for one in silent] == [""] * 3


def test_states_before_and_around_a_run() -> None:
    assert empty_value() == {"status": "empty"}
    assert running_value("Hearing", 0.5) == {"status": "running", "message": "Hearing", "fraction": 0.5}
    assert running_value("Hearing")["fraction"] is None
    assert error_value("No sound.")["status"] == "error"
