"""Services on this machine that speak as an endpoint or as Gemini: what goes out, what comes back, what goes wrong."""

from __future__ import annotations

import base64
import logging
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.answers import answer_behaviour
from engine.audio import AudioClip, load_clip
from engine.errors import ServiceError
from engine.request import Question
from engine.systems.base import BehaviourModel, WhiteBoxModel
from engine.systems.catalogue import GEMINI_KEYS, SystemKind, SystemSpec
from engine.systems.remote import (
    NO_SECRET,
    Endpoint,
    EndpointSettings,
    Gemini,
    GeminiSettings,
    Secret,
    Service,
    endpoint_from,
    secret_from,
)
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

CLIP = AudioClip((0.5 * np.sin(np.arange(8000) / 20)).astype(np.float32), "tone.wav")
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*GEMINI_KEYS, "GOOGLE_GEMINI_BASE_URL", *PROXIES):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Interface:
    """How a kind of service words what all of them say."""

    name: str
    service: type[Service]
    settings: Callable[..., Any]
    answer: dict[str, Any]
    version: str
    n_tokens: tuple[int, int]
    ended: Callable[[str | None, str], dict[str, Any]]  # what a reply says of an answer that ended so
    words_for: dict[str, str]  # "done", "cut off" and "blocked" in its own words
    cut_off: str
    key_in: str
    sent_sound: Callable[
        [dict[str, Any]], tuple[str, Any]
    ]  # the sound in a request's body, and the words beside it

    def spec(self, kind: SystemKind) -> SystemSpec:
        return SystemSpec(self.name, self.name, kind, "any", None, "", None, ("answer",), math.nan, "terms")

    def replying(self, text: str | None, ended: str = "done", **rest: Any) -> Sent:
        return Sent({**self.answer, **self.ended(text, self.words_for[ended]), **rest})


def _choice(text: str | None, ended: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": ended}]}


def _candidate(text: str | None, ended: str) -> dict[str, Any]:
    content = {} if text is None else {"parts": [{"text": text}], "role": "model"}
    return {"candidates": [{"content": content, "finishReason": ended}]}


def _of_endpoint(body: dict[str, Any]) -> tuple[str, Any]:
    clip, words = body["messages"][0]["content"]
    assert clip["type"] == "input_audio" and clip["input_audio"]["format"] == "wav"
    assert words.pop("type") == "text"
    return clip["input_audio"]["data"], words


def _of_gemini(body: dict[str, Any]) -> tuple[str, Any]:
    ((clip, words),) = (content["parts"] for content in body["contents"])
    assert clip["inlineData"]["mimeType"] == "audio/wav"
    return clip["inlineData"]["data"], words


ENDPOINT = Interface(
    "Served",
    Endpoint,
    lambda url, **more: EndpointSettings(f"{url}/v1", "served-7b", **more),
    {
        **_choice("Sports", "stop"),
        "model": "served-7b",
        "system_fingerprint": "vllm-0.9",
        "usage": {"prompt_tokens": 40, "completion_tokens": 2},
    },
    "served-7b (vllm-0.9)",
    (40, 2),
    _choice,
    {"done": "stop", "cut off": "length", "blocked": "content_filter"},
    "Cut off at the limit of tokens.",
    "authorization",
    _of_endpoint,
)
GEMINI = Interface(
    "Gemini",
    Gemini,
    lambda url, **more: GeminiSettings("gemini-fake", url, **more),
    {
        **_candidate("Sports", "STOP"),
        "usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 2, "thoughtsTokenCount": 5},
        "modelVersion": "gemini-fake-001",
    },
    "gemini-fake-001",
    (40, 7),
    _candidate,
    {"done": "STOP", "cut off": "MAX_TOKENS", "blocked": "SAFETY"},
    "Cut off at the limit of tokens, thoughts included.",
    "x-goog-api-key",
    _of_gemini,
)


@pytest.fixture(params=[ENDPOINT, GEMINI], ids=lambda one: one.name)
def one(request: pytest.FixtureRequest) -> Interface:
    found: Interface = request.param
    return found


@contextmanager
def made(
    one: Interface, url: str, kind: SystemKind = "speech_llm", key: Secret | None = None, **change: Any
) -> Iterator[Service]:
    settings = one.settings(url, **{"retry": QUICK, **change})
    system = one.service(one.spec(kind), settings, key or Secret(SENTINEL), caller(one.name, settings.retry))
    try:
        yield system
    finally:
        system.close()


def asked(
    one: Interface, *script: Sent, given: AudioClip | str = CLIP, **change: Any
) -> tuple[Any, FakeService]:
    kind: SystemKind = "speech_llm" if isinstance(given, AudioClip) else "text_llm"
    with serving(*script) as service, made(one, service.url, kind, **change) as system:
        return system.ask(given, "Which topic?"), service


def test_the_answer_comes_with_its_version_and_its_tokens(one: Interface) -> None:
    reply, _ = asked(one, Sent(one.answer))
    assert (reply.text, reply.refusal, reply.note, reply.attempts) == ("Sports", "", "", 1)
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == (one.version, *one.n_tokens)
    reply, _ = asked(one, Sent(one.ended("Sports", one.words_for["done"])))
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("", None, None)


def test_the_clip_goes_out_before_the_question(one: Interface, tmp_path: Path) -> None:
    _, service = asked(one, Sent(one.answer))
    data, words = one.sent_sound(service.asked[0].body)
    assert words == {"text": "Which topic?"}
    file = tmp_path / "heard.wav"
    file.write_bytes(base64.b64decode(data, validate=True))
    assert np.abs(load_clip(file).samples - CLIP.samples).max() <= 2**-16


@pytest.mark.parametrize("given", ["words", CLIP], ids=["words", "clip"])
def test_what_the_row_does_not_take_is_our_own_fault(one: Interface, given: AudioClip | str) -> None:
    kind: SystemKind = "text_llm" if isinstance(given, AudioClip) else "speech_llm"
    with made(one, "http://127.0.0.1:1", kind) as system, pytest.raises(AssertionError):
        system.ask(given, "Which topic?")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_is_asked_again(one: Interface, code: int) -> None:
    reply, service = asked(one, Sent({}, code), Sent({}, code), Sent(one.answer))
    assert (reply.text, reply.attempts, len(service.asked)) == ("Sports", 3, 3)


def test_a_block_is_read_as_refused_and_an_odd_answer_as_unparsed(one: Interface) -> None:
    task = TASKS["topic"]
    question = Question(task, instruction_for(task), task.labels)
    found = []
    for reply in (Sent(one.answer), one.replying("Sports", "blocked"), one.replying("Weather")):
        with serving(reply) as service, made(one, service.url) as system:
            answer = answer_behaviour(system, CLIP, question)
            found.append((answer.label, answer.status, answer.note))
        assert one.sent_sound(service.asked[0].body)[1] == {"text": question.instruction}
    blocked = (None, "refused", f"Refused by the service: {one.words_for['blocked']}.")
    assert found == [("Sports", "parsed", ""), blocked, (None, "unparsed", "")]


def test_an_answer_cut_off_at_its_limit_says_so(one: Interface) -> None:
    for text in ("Spo", None):
        reply, _ = asked(one, one.replying(text, "cut off"))
        assert reply.note == one.cut_off and not reply.refusal


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_sentence_without_the_key(
    one: Interface, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply, sentence, n_requests = FAULTS[fault]
    with caplog.at_level(logging.DEBUG), serving(reply) as service, made(one, service.url) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask(CLIP, "Which topic?")
        shown = "".join((repr(system), repr(vars(system)), str(system.spec), system.fingerprint))
    assert str(caught.value).startswith(f"{one.name} {sentence}") and len(service.asked) == n_requests
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    shown += "".join((caplog.text, repr(caught.value), *traceback.format_exception(caught.value)))
    assert len(caplog.records) > 0 and SENTINEL[:8] not in shown
    request = service.asked[0]
    assert SENTINEL in request.headers[one.key_in] and SENTINEL not in request.path, (
        "it was there to be found"
    )


@pytest.mark.parametrize("slow", [{"delay_s": 3.0}, {"drip_s": 0.05}], ids=["late", "trickles"])
def test_a_late_reply_and_one_that_trickles_are_given_up(one: Interface, slow: dict[str, float]) -> None:
    retry = replace(QUICK, timeout_s=0.5, attempts=2)
    with serving(Sent(one.answer, **slow)) as service, made(one, service.url, retry=retry) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask(CLIP, "Which topic?")
        assert len(service.asked) == 2
    sentence = f"{one.name} did not answer within 0.5 s; try again later or allow more time (2 attempts)."
    assert str(caught.value) == sentence


def test_where_nobody_listens_is_one_sentence(one: Interface) -> None:
    with made(one, f"http://127.0.0.1:{free_port()}") as system, pytest.raises(ServiceError) as caught:
        system.ask(CLIP, "Which topic?")
    assert str(caught.value) == (
        f"{one.name} cannot be reached; check the network and the base URL (3 attempts)."
    )


def test_a_redirect_does_not_take_the_key_along(one: Interface) -> None:
    with (
        serving(Sent(one.answer)) as other,
        serving(Sent({}, 307, {"location": f"{other.url}/v1"})) as service,
    ):
        with made(one, service.url) as system, pytest.raises(ServiceError, match="sends elsewhere"):
            system.ask(CLIP, "Which topic?")
        assert not other.asked


def test_a_service_that_echoes_the_key_does_not_get_it_into_the_answer(one: Interface) -> None:
    reply, _ = asked(one, one.replying(f"Sports {SENTINEL}", model=SENTINEL, modelVersion=SENTINEL))
    assert reply.text == "Sports ***" and reply.model_version in ("***", "*** (vllm-0.9)")


def test_a_clip_beyond_the_limit_is_refused_before_anything_is_sent(one: Interface) -> None:
    long = AudioClip(np.zeros(480 * 16_000, np.float32), "long.wav")
    with serving(Sent(one.answer)) as service, made(one, service.url) as system:
        with pytest.raises(ServiceError, match=rf"a request of 20\.5 MB and {one.name} takes 20 MB; cut"):
            system.ask(long, "Which topic?")
        assert not service.asked


def test_it_is_a_behaviour_model_and_no_white_box(one: Interface) -> None:
    with made(one, "http://127.0.0.1:1") as system:
        assert isinstance(system, BehaviourModel) and not isinstance(system, WhiteBoxModel)


def test_the_fingerprint_is_of_what_shapes_an_answer(one: Interface) -> None:
    length = "max_tokens" if one is ENDPOINT else "max_output_tokens"
    prints: list[str] = []
    changes: tuple[dict[str, Any], ...] = (
        {"model": "other"},
        {"seed": 1},
        {length: 64},
        {},
        {"retry": replace(QUICK, attempts=1)},
    )
    for change in changes:
        settings = replace(one.settings("http://here"), **change)
        system = one.service(one.spec("text_llm"), settings, Secret(str(len(prints))))
        prints.append(system.fingerprint)
        system.close()
    assert prints[-1] == prints[-2] and len(set(prints)) == len(prints) - 1


# What endpoints alone do.


def test_a_transcript_goes_out_before_the_question_as_one_message() -> None:
    _, service = asked(ENDPOINT, Sent(ENDPOINT.answer), given="the queen")
    (request,) = service.asked
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {SENTINEL}"
    assert request.body == {
        "model": "served-7b",
        "messages": [{"role": "user", "content": "the queen\nWhich topic?"}],
        "stream": False,
        "max_tokens": 512,
        "temperature": 0.0,
        "seed": 0,
    }
    _, service = asked(ENDPOINT, Sent(ENDPOINT.answer), given="")
    assert service.asked[0].body["messages"][0]["content"] == "Which topic?"


def test_fields_that_some_models_refuse_can_be_left_out_or_renamed() -> None:
    change = {"temperature": None, "seed": None, "limit_field": "max_completion_tokens", "max_tokens": 64}
    _, service = asked(ENDPOINT, Sent(ENDPOINT.answer), **change)
    body = service.asked[0].body
    assert body["max_completion_tokens"] == 64 and not {"temperature", "seed", "max_tokens"} & body.keys()


SAID: dict[str, Callable[[str], Any]] = {
    "openai": lambda name: {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}},
    "openai, in words": lambda name: {
        "error": {"message": f"Unrecognized request argument supplied: {name}"}
    },
    "fastapi": lambda name: {"detail": [{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]},
    "mistral": lambda name: {"object": "error", "message": {"detail": [{"loc": ["body", name]}]}},
    "google": lambda name: [{"error": {"message": f'Unknown name "{name}": Cannot find field.'}}],
    "a sentence": lambda name: {"error": f"{name} is not allowed here"},
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", ["seed", "temperature"])
def test_a_refused_setting_is_left_out_and_told(name: str, said: str) -> None:
    refused = Sent(SAID[said](name), 422 if said == "fastapi" else 400)
    answer = Sent(ENDPOINT.answer)
    with (
        serving(refused, answer, answer) as service,
        made(ENDPOINT, service.url, "text_llm") as system,
    ):
        replies = [system.ask("the queen", question) for question in ("Which topic?", "Again?")]
    first, second, third = (request.body for request in service.asked)
    assert name in first and first.keys() - second.keys() == {name} and second.keys() == third.keys()
    for reply in replies:
        assert (reply.text, reply.note) == ("Sports", f"The endpoint refuses {name}: asked without.")


def test_a_refused_limit_goes_by_its_other_name_before_it_is_left_out() -> None:
    refuse = [
        Sent(SAID["openai"](name), 400) for name in ("max_tokens", "max_completion_tokens", "temperature")
    ]
    reply, service = asked(ENDPOINT, refuse[0], Sent(ENDPOINT.answer))
    assert service.asked[1].body["max_completion_tokens"] == 512 and "max_tokens" not in service.asked[1].body
    assert reply.note == ""
    reply, service = asked(ENDPOINT, *refuse, Sent(ENDPOINT.answer))
    assert service.asked[-1].body.keys() == {"model", "messages", "stream", "seed"}
    assert "max_completion_tokens and max_tokens and temperature" in reply.note and reply.attempts == 1


def test_a_refusal_of_anything_else_is_not_asked_again() -> None:
    for sent in (SAID["openai"]("messages"), SAID["openai"]("model"), {"error": "the seedling is too long"}):
        with (
            serving(Sent(sent, 400)) as service,
            made(ENDPOINT, service.url, "text_llm") as system,
            pytest.raises(ServiceError, match="rejects"),
        ):
            system.ask("the queen", "Which topic?")
        assert len(service.asked) == 1


def test_without_a_key_none_is_sent() -> None:
    _, service = asked(ENDPOINT, Sent(ENDPOINT.answer), key=NO_SECRET)
    assert "authorization" not in service.asked[0].headers


def choice(message: Any, finish_reason: Any = "stop") -> Sent:
    choices = [{"message": message, "finish_reason": finish_reason}]
    return Sent({**ENDPOINT.answer, "choices": choices})


@pytest.mark.parametrize(
    ("reply", "word", "text"),
    [
        (choice({"content": None, "refusal": "I will not."}), "refusal", "I will not."),
        (choice({"content": ""}, "content_filter"), "content_filter", ""),
        (choice({"content": "Spo"}, "content_filter"), "content_filter", "Spo"),
        (Sent({"error": {"code": "content_filter", "message": "filtered"}}, 400), "content_filter", ""),
    ],
)
def test_a_block_at_an_endpoint_is_a_refusal(reply: Sent, word: str, text: str) -> None:
    found, service = asked(ENDPOINT, reply)
    assert (found.refusal, found.text, len(service.asked)) == (word, text, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Sports", "Sports"),
        (None, ""),
        ([{"type": "text", "text": "Spo"}, {"text": "rts"}, {}], "Sports"),
        ([], ""),
    ],
)
def test_content_comes_as_words_as_parts_or_not_at_all(content: Any, text: str) -> None:
    assert asked(ENDPOINT, choice({"content": content}))[0].text == text


@pytest.mark.parametrize(
    "reply",
    [
        choice({"content": 7}),
        choice({"content": ["Sports"]}),
        choice("Sports"),
        choice({"content": "half a character \ud83d"}),
        choice({"content": None}, "tool_calls"),
        Sent({**ENDPOINT.answer, "choices": []}),
        Sent({**ENDPOINT.answer, "choices": {"0": "Sports"}}),
        Sent({"error": {"message": "no such luck"}}),
    ],
)
def test_a_reply_of_another_shape_is_a_failure_at_once(reply: Sent) -> None:
    with serving(reply) as service, made(ENDPOINT, service.url, "text_llm") as system:
        with pytest.raises(
            ServiceError, match=r"^Served sent a reply that .*; check that it speaks this interface"
        ):
            system.ask("the queen", "Which topic?")
        assert len(service.asked) == 1


def test_what_is_no_number_or_name_is_left_out() -> None:
    odd = {
        "usage": {"prompt_tokens": "40", "completion_tokens": True},
        "model": 7,
        "system_fingerprint": None,
    }
    reply, _ = asked(ENDPOINT, Sent({**ENDPOINT.answer, **odd}))
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("", None, None)
    assert asked(ENDPOINT, Sent({**_choice("Sports", "stop"), "usage": []}))[0].text == "Sports"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no audio here", "code": 400}},  # OpenAI, vLLM
        {"error": "no audio here", "error_type": "validation"},  # TGI
        {"object": "error", "message": "no audio here"},  # vLLM before 0.9
    ],
)
def test_each_programs_own_words_on_a_wrong_request_are_shown(body: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        asked(ENDPOINT, Sent(body, 400))
    words = 'Served rejects the request (HTTP 400): "no audio here"; check the model id and the settings.'
    assert str(caught.value) == words


def test_address_model_and_key_come_from_the_environment_under_one_prefix() -> None:
    there = {
        "EARS_URL": "http://host/v1",
        "EARS_MODEL": "served-7b",
        "EARS_KEY": SENTINEL,
        "MOUTH_KEY": "other",
    }
    settings, key = endpoint_from("EARS", there)
    assert settings == EndpointSettings("http://host/v1", "served-7b") and key.reveal() == SENTINEL
    assert endpoint_from("EARS", {**there, "EARS_KEY": ""})[1] is NO_SECRET
    with pytest.raises(ServiceError, match="set MOUTH_URL and MOUTH_MODEL in the environment"):
        endpoint_from("MOUTH", there)


# What Gemini alone does.


def test_a_request_to_gemini_is_as_published() -> None:
    _, service = asked(GEMINI, Sent(GEMINI.answer))
    (request,) = service.asked
    assert request.path == "/v1beta/models/gemini-fake:generateContent"
    assert request.headers["x-goog-api-key"] == SENTINEL
    assert request.body["generationConfig"] == {"temperature": 0.0, "seed": 0, "maxOutputTokens": 2048}
    assert [content["role"] for content in request.body["contents"]] == ["user"]


def test_gemini_is_given_the_transcript_in_the_clips_place() -> None:
    parts = []
    for given in ("the queen scored", ""):
        _, service = asked(GEMINI, Sent(GEMINI.answer), given=given)
        parts.append(service.asked[0].body["contents"][0]["parts"])
    assert parts == [[{"text": "the queen scored"}, {"text": "Which topic?"}], [{"text": "Which topic?"}]]


@pytest.mark.parametrize(("header", "waited_s"), [({}, 7.5), ({"retry-after": "30"}, 7.5)])
def test_googles_own_word_on_the_wait_is_kept(header: dict[str, str], waited_s: float) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}]
    limit = Sent({"error": {"code": 429, "message": "quota", "details": details}}, 429, header)
    waits = Waits()
    with serving(limit, Sent(GEMINI.answer)) as service:
        settings = GeminiSettings("gemini-fake", service.url, retry=QUICK)
        system = Gemini(GEMINI.spec("speech_llm"), settings, Secret(SENTINEL), caller(waits=waits))
        system.ask(CLIP, "Which topic?")
        system.close()
    assert waits.slept == [waited_s]


def candidate(**about: Any) -> Sent:
    return Sent({**GEMINI.answer, "candidates": [about]})


@pytest.mark.parametrize(
    ("reply", "word", "text"),
    [
        (Sent({"promptFeedback": {"blockReason": "SAFETY"}}), "SAFETY", ""),
        (Sent({"promptFeedback": {"blockReason": "OTHER"}, "candidates": []}), "OTHER", ""),
        (candidate(finishReason="SAFETY"), "SAFETY", ""),
        (candidate(finishReason="PROHIBITED_CONTENT", content={}), "PROHIBITED_CONTENT", ""),
        (candidate(finishReason="SAFETY", content={"parts": [{"text": "Spo"}]}), "SAFETY", "Spo"),
    ],
)
def test_a_block_is_a_refusal_with_googles_word(reply: Sent, word: str, text: str) -> None:
    found, service = asked(GEMINI, reply)
    assert (found.refusal, found.text, len(service.asked)) == (word, text, 1)


def test_thoughts_are_no_part_of_the_answer() -> None:
    parts = [{"text": "Business? No.", "thought": True}, {"text": "Spo"}, {"text": "rts"}]
    reply, _ = asked(GEMINI, candidate(content={"parts": parts}, finishReason="STOP"))
    assert reply.text == "Sports"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"finishReason": "MALFORMED_RESPONSE"}, r"ended without an answer \(MALFORMED_RESPONSE\)"),
        ({}, r"ended without an answer \(no reason given\)"),
        (
            {"content": {"parts": [{"text": "half a character \ud83d"}]}, "finishReason": "STOP"},
            "is no text",
        ),
    ],
)
def test_an_end_without_an_answer_is_a_failure(about: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceError, match=words):
        asked(GEMINI, candidate(**about))


def test_googles_wrong_key_is_told_from_a_wrong_request() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid.", "details": details}
    with pytest.raises(ServiceError, match="refuses the key"):
        asked(GEMINI, Sent({"error": error}, 400))


def test_googles_variable_stands_before_ours_as_in_its_own_library() -> None:
    both = {"GEMINI_API_KEY": "b", "GOOGLE_API_KEY": "a"}
    assert secret_from(GEMINI_KEYS, "Gemini", both).reveal() == "a"
