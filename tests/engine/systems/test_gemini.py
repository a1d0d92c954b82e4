"""Gemini on a service of this machine that speaks its REST shape: what goes out, what comes back, what goes wrong."""

from __future__ import annotations

import base64
import io
import logging
import math
import traceback
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.answers import answer_behaviour
from engine.audio import AudioClip
from engine.errors import ServiceError
from engine.request import Question
from engine.systems.base import BehaviourModel, WhiteBoxModel
from engine.systems.catalogue import GEMINI_KEYS, SystemSpec
from engine.systems.gemini import Gemini, GeminiSettings
from engine.systems.remote import Patience, Secret, secret_from
from engine.tasks import TASKS, instruction_for
from tests.engine.fake_service import (
    FAULTS,
    QUICK,
    SENTINEL,
    FakeService,
    Sent,
    Waits,
    caller,
    free_port,
    serving,
)

SPEC = SystemSpec(
    "gemini", "Gemini", "speech_llm", "gemini", None, "", None, ("answer",), math.nan, "API terms"
)
CLIP = AudioClip((0.5 * np.sin(np.arange(8000) / 20)).astype(np.float32), "tone.wav")
ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "Sports"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 2, "thoughtsTokenCount": 5},
    "modelVersion": "gemini-fake-001",
}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *GEMINI_KEYS,
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_GENAI_API_VERSION",
        "HTTP_PROXY",
        "http_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def gemini(url: str, patience: Patience = QUICK, spec: SystemSpec = SPEC) -> Iterator[Gemini]:
    settings = GeminiSettings("gemini-fake", url, patience=patience)
    system = Gemini(spec, settings, Secret(SENTINEL), caller(spec.name, patience))
    try:
        yield system
    finally:
        system.close()


def asked(*script: Sent, instruction: str = "Which topic?") -> tuple[Any, FakeService]:
    with serving(*script) as service, gemini(service.url) as system:
        return system.ask(CLIP, instruction), service


def reply_with(candidate: dict[str, Any], **rest: Any) -> Sent:
    return Sent({**ANSWER, "candidates": [candidate], **rest})


def test_the_answer_comes_with_its_version_and_its_tokens() -> None:
    reply, _ = asked(Sent(ANSWER))
    assert (reply.text, reply.refusal, reply.note, reply.attempts) == ("Sports", "", "", 1)
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("gemini-fake-001", 40, 7)


def test_the_clip_goes_out_before_the_question_as_published() -> None:
    _, service = asked(Sent(ANSWER))
    (request,) = service.asked
    assert request.path.split("?")[0] in {
        f"/{version}/models/gemini-fake:generateContent" for version in ("v1", "v1beta")
    }
    assert request.headers["x-goog-api-key"] == SENTINEL and SENTINEL not in request.path
    (content,) = request.body["contents"]
    clip, words = content["parts"]
    sound = clip["inlineData"]
    assert words == {"text": "Which topic?"}
    assert sound.get("mime_type", sound.get("mimeType")) == "audio/wav"
    generation = request.body["generationConfig"]
    assert (generation["temperature"], generation["seed"], generation["maxOutputTokens"]) == (0, 0, 2048)
    # The SDK writes base64 in the alphabet for URLs, which Google's JSON takes as well.
    with wave.open(io.BytesIO(base64.urlsafe_b64decode(sound["data"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
    assert np.abs(heard - CLIP.samples).max() <= 2**-16


def test_a_text_model_is_given_the_transcript_in_the_clips_place() -> None:
    spec = replace(SPEC, kind="text_llm")
    with serving(Sent(ANSWER)) as service, gemini(service.url, spec=spec) as system:
        system.ask("the queen scored", "Which topic?")
        system.ask("", "Which topic?")
    parts = [request.body["contents"][0]["parts"] for request in service.asked]
    assert parts == [[{"text": "the queen scored"}, {"text": "Which topic?"}], [{"text": "Which topic?"}]]


@pytest.mark.parametrize("given", ["words", CLIP])
def test_what_the_row_does_not_take_is_our_own_fault(given: AudioClip | str) -> None:
    spec = replace(SPEC, kind="text_llm" if isinstance(given, AudioClip) else "speech_llm")
    with gemini("http://127.0.0.1:1", spec=spec) as system, pytest.raises(AssertionError):
        system.ask(given, "Which topic?")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_is_asked_again(code: int) -> None:
    reply, service = asked(Sent({}, code), Sent({}, code), Sent(ANSWER))
    assert (reply.text, reply.attempts, len(service.asked)) == ("Sports", 3, 3)


def test_googles_own_word_on_the_wait_is_kept() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}]
    limit = Sent({"error": {"code": 429, "message": "quota", "details": details}}, 429)
    waits = Waits()
    with serving(limit, Sent(ANSWER)) as service:
        settings = GeminiSettings("gemini-fake", service.url, patience=QUICK)
        system = Gemini(SPEC, settings, Secret(SENTINEL), caller(waits=waits))
        system.ask(CLIP, "Which topic?")
        system.close()
    assert waits.slept == [7.5]


@pytest.mark.parametrize(
    ("reply", "word", "text"),
    [
        (Sent({"promptFeedback": {"blockReason": "SAFETY"}}), "SAFETY", ""),
        (Sent({"promptFeedback": {"blockReason": "OTHER"}, "candidates": []}), "OTHER", ""),
        (reply_with({"finishReason": "SAFETY"}), "SAFETY", ""),
        (reply_with({"finishReason": "PROHIBITED_CONTENT", "content": {}}), "PROHIBITED_CONTENT", ""),
        (reply_with({"finishReason": "SAFETY", "content": {"parts": [{"text": "Spo"}]}}), "SAFETY", "Spo"),
    ],
)
def test_a_block_is_a_refusal_with_googles_word(reply: Sent, word: str, text: str) -> None:
    found, service = asked(reply)
    assert (found.refusal, found.text, len(service.asked)) == (word, text, 1)


def test_a_block_is_read_as_refused_and_an_odd_answer_as_unparsed() -> None:
    task = TASKS["topic"]
    question = Question(task, instruction_for(task), task.labels)
    odd = {"content": {"parts": [{"text": "Weather"}]}, "finishReason": "STOP"}
    scripts = (Sent(ANSWER), Sent({"promptFeedback": {"blockReason": "SAFETY"}}), reply_with(odd))
    found = []
    for script in scripts:
        with serving(script) as service, gemini(service.url) as system:
            answer = answer_behaviour(system, CLIP, question)
            found.append((answer.label, answer.status, answer.note))
        assert service.asked[0].body["contents"][0]["parts"][1] == {"text": question.instruction}
    blocked = (None, "refused", "Refused by the service: SAFETY.")
    assert found == [("Sports", "parsed", ""), blocked, (None, "unparsed", "")]


def test_thoughts_are_no_part_of_the_answer() -> None:
    parts = [{"text": "Business? No.", "thought": True}, {"text": "Spo"}, {"text": "rts"}]
    reply, _ = asked(reply_with({"content": {"parts": parts}, "finishReason": "STOP"}))
    assert reply.text == "Sports"


def test_an_answer_cut_off_at_its_limit_says_so() -> None:
    for content in ({"parts": [{"text": "Spo"}]}, {}):
        reply, _ = asked(reply_with({"content": content, "finishReason": "MAX_TOKENS"}))
        assert reply.note == "Cut off at the limit of tokens, thoughts included." and not reply.refusal


def test_an_end_without_an_answer_is_a_failure() -> None:
    with pytest.raises(ServiceError) as caught:
        asked(reply_with({"finishReason": "MALFORMED_RESPONSE"}))
    assert "ended without an answer (MALFORMED_RESPONSE)" in str(caught.value)


def test_numbers_that_the_service_leaves_out_are_none() -> None:
    reply, _ = asked(Sent({"candidates": ANSWER["candidates"]}))
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("", None, None)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_sentence_without_the_key(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    reply, sentence, n_requests = FAULTS[fault]
    with caplog.at_level(logging.DEBUG), serving(reply) as service, gemini(service.url) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask(CLIP, "Which topic?")
        shown = "".join((repr(system), repr(system.settings), str(system.spec), system.fingerprint))
    assert str(caught.value).startswith(f"Gemini {sentence}") and len(service.asked) == n_requests
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    shown += "".join((caplog.text, repr(caught.value), *traceback.format_exception(caught.value)))
    assert len(caplog.records) > 0 and SENTINEL[:8] not in shown
    assert service.asked[0].headers["x-goog-api-key"] == SENTINEL  # it was there to be found


def test_googles_wrong_key_is_told_from_a_wrong_request() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {
        "error": {
            "code": 400,
            "status": "INVALID_ARGUMENT",
            "message": "API key not valid.",
            "details": details,
        }
    }
    with pytest.raises(ServiceError, match="refuses the key"):
        asked(Sent(error, 400))


@pytest.mark.parametrize("reply", [Sent(ANSWER, delay_s=3.0), Sent(ANSWER, drip_s=0.1)])
def test_a_late_reply_and_one_that_trickles_are_given_up(reply: Sent) -> None:
    patience = replace(QUICK, timeout_s=0.5, attempts=2)
    with serving(reply) as service, gemini(service.url, patience) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask(CLIP, "Which topic?")
        assert len(service.asked) == 2
    sentence = "Gemini did not answer within 0.5 s; try again later or allow more time (2 attempts)."
    assert str(caught.value) == sentence


def test_where_nobody_listens_is_one_sentence() -> None:
    with gemini(f"http://127.0.0.1:{free_port()}") as system, pytest.raises(ServiceError) as caught:
        system.ask(CLIP, "Which topic?")
    assert str(caught.value) == "Gemini cannot be reached; check the network and the base URL (3 attempts)."


def test_a_redirect_does_not_take_the_key_along() -> None:
    with serving(Sent(ANSWER)) as other, serving(Sent({}, 307, {"location": f"{other.url}/v1"})) as service:
        with gemini(service.url) as system, pytest.raises(ServiceError, match="sends elsewhere"):
            system.ask(CLIP, "Which topic?")
        assert not other.asked


def test_a_service_that_echoes_the_key_does_not_get_it_into_the_answer() -> None:
    candidate = {"content": {"parts": [{"text": f"Sports {SENTINEL}"}]}, "finishReason": "STOP"}
    reply, _ = asked(reply_with(candidate, modelVersion=SENTINEL))
    assert (reply.text, reply.model_version) == ("Sports ***", "***")


def test_a_clip_beyond_the_inline_limit_is_refused_before_anything_is_sent() -> None:
    long = AudioClip(np.zeros(480 * 16_000, np.float32), "long.wav")
    with serving(Sent(ANSWER)) as service, gemini(service.url) as system:
        with pytest.raises(ServiceError, match=r"a request of 20\.5 MB and Gemini takes 20 MB; cut"):
            system.ask(long, "Which topic?")
        assert not service.asked


def test_it_is_a_behaviour_model_and_no_white_box() -> None:
    with gemini("http://127.0.0.1:1") as system:
        assert isinstance(system, BehaviourModel) and not isinstance(system, WhiteBoxModel)


def test_the_fingerprint_is_of_what_shapes_an_answer() -> None:
    settings = GeminiSettings("gemini-fake")
    changes: dict[str, dict[str, Any]] = {
        "same": {"patience": QUICK},
        "model": {"model": "gemini-other"},
        "seed": {"seed": 1},
        "length": {"max_output_tokens": 64},
    }
    prints = {}
    for name, change in changes.items():
        system = Gemini(SPEC, replace(settings, **change), Secret(SENTINEL))
        prints[name] = system.fingerprint
        system.close()
    plain = Gemini(SPEC, settings, Secret("another-key"))
    plain.close()
    assert prints.pop("same") == plain.fingerprint
    assert len({plain.fingerprint, *prints.values()}) == len(changes)


def test_googles_variable_stands_before_ours_as_in_the_sdk() -> None:
    both = {"GEMINI_API_KEY": "b", "GOOGLE_API_KEY": "a"}
    assert secret_from(GEMINI_KEYS, "Gemini", both).reveal() == "a"
