"""An OpenAI-compatible endpoint on this machine: what goes out as text and as sound, what comes back, what fails."""

from __future__ import annotations

import base64
import logging
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.answers import answer_behaviour
from engine.audio import AudioClip, load_clip
from engine.errors import ServiceError
from engine.request import Question
from engine.systems.base import BehaviourModel, WhiteBoxModel
from engine.systems.catalogue import SystemSpec
from engine.systems.remote import NO_SECRET, Endpoint, EndpointSettings, Secret, endpoint_from
from engine.tasks import TASKS, instruction_for
from tests.engine.fake_service import FAULTS, QUICK, SENTINEL, FakeService, Sent, caller, free_port, serving

READS = SystemSpec(
    "served", "Served", "text_llm", "endpoint", None, "", None, ("answer",), math.nan, "its own"
)
HEARS = replace(READS, kind="speech_llm")
CLIP = AudioClip((0.5 * np.sin(np.arange(8000) / 20)).astype(np.float32), "tone.wav")
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "served-7b",
    "system_fingerprint": "vllm-0.9",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sports"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42},
}


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def endpoint(
    url: str, spec: SystemSpec = READS, key: Secret | None = None, **change: Any
) -> Iterator[Endpoint]:
    settings = replace(EndpointSettings(f"{url}/v1", "served-7b", patience=QUICK), **change)
    system = Endpoint(spec, settings, key or Secret(SENTINEL), caller(spec.name, settings.patience))
    try:
        yield system
    finally:
        system.close()


def asked(*script: Sent, given: AudioClip | str = "the queen", **change: Any) -> tuple[Any, FakeService]:
    spec = HEARS if isinstance(given, AudioClip) else READS
    with serving(*script) as service, endpoint(service.url, spec, **change) as system:
        return system.ask(given, "Which topic?"), service


def choice(message: Any, finish_reason: Any = "stop") -> Sent:
    return Sent({**ANSWER, "choices": [{"message": message, "finish_reason": finish_reason}]})


def test_the_answer_comes_with_its_version_and_its_tokens() -> None:
    reply, _ = asked(Sent(ANSWER))
    assert (reply.text, reply.refusal, reply.note, reply.attempts) == ("Sports", "", "", 1)
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("served-7b (vllm-0.9)", 40, 2)


def test_a_transcript_goes_out_before_the_question_as_one_message() -> None:
    _, service = asked(Sent(ANSWER))
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


def test_an_empty_transcript_leaves_the_question_alone() -> None:
    _, service = asked(Sent(ANSWER), given="")
    assert service.asked[0].body["messages"][0]["content"] == "Which topic?"


def test_a_clip_goes_out_as_input_audio_before_the_question(tmp_path: Path) -> None:
    _, service = asked(Sent(ANSWER), given=CLIP)
    clip, words = service.asked[0].body["messages"][0]["content"]
    assert words == {"type": "text", "text": "Which topic?"}
    assert clip["type"] == "input_audio" and clip["input_audio"]["format"] == "wav"
    file = tmp_path / "heard.wav"
    file.write_bytes(base64.b64decode(clip["input_audio"]["data"], validate=True))
    assert np.abs(load_clip(file).samples - CLIP.samples).max() <= 2**-16


def test_fields_that_some_models_refuse_can_be_left_out_or_renamed() -> None:
    change = {"temperature": None, "seed": None, "limit_field": "max_completion_tokens", "max_tokens": 64}
    _, service = asked(Sent(ANSWER), **change)
    body = service.asked[0].body
    assert body["max_completion_tokens"] == 64 and not {"temperature", "seed", "max_tokens"} & body.keys()


SAID = {
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
    code = 422 if said == "fastapi" else 400
    with (
        serving(Sent(SAID[said](name), code), Sent(ANSWER), Sent(ANSWER)) as service,
        endpoint(service.url) as system,
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
    reply, service = asked(refuse[0], Sent(ANSWER))
    assert service.asked[1].body["max_completion_tokens"] == 512 and "max_tokens" not in service.asked[1].body
    assert reply.note == ""
    reply, service = asked(*refuse, Sent(ANSWER))
    assert service.asked[-1].body.keys() == {"model", "messages", "stream", "seed"}
    assert "max_completion_tokens and max_tokens and temperature" in reply.note and reply.attempts == 1


def test_a_refusal_of_anything_else_is_not_asked_again() -> None:
    for sent in (SAID["openai"]("messages"), SAID["openai"]("model"), {"error": "the seedling is too long"}):
        with (
            serving(Sent(sent, 400)) as service,
            endpoint(service.url) as system,
            pytest.raises(ServiceError, match="rejects"),
        ):
            system.ask("the queen", "Which topic?")
        assert len(service.asked) == 1


def test_without_a_key_none_is_sent() -> None:
    _, service = asked(Sent(ANSWER), key=NO_SECRET)
    assert "authorization" not in service.asked[0].headers


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_is_asked_again(code: int) -> None:
    reply, service = asked(Sent({}, code), Sent({}, code), Sent(ANSWER))
    assert (reply.text, reply.attempts, len(service.asked)) == ("Sports", 3, 3)


@pytest.mark.parametrize(
    ("reply", "word", "text"),
    [
        (choice({"content": None, "refusal": "I will not."}), "refusal", "I will not."),
        (choice({"content": ""}, "content_filter"), "content_filter", ""),
        (choice({"content": "Spo"}, "content_filter"), "content_filter", "Spo"),
        (Sent({"error": {"code": "content_filter", "message": "filtered"}}, 400), "content_filter", ""),
    ],
)
def test_a_block_is_a_refusal(reply: Sent, word: str, text: str) -> None:
    found, service = asked(reply)
    assert (found.refusal, found.text, len(service.asked)) == (word, text, 1)


def test_a_block_is_read_as_refused_and_an_odd_answer_as_unparsed() -> None:
    task = TASKS["topic"]
    question = Question(task, instruction_for(task), task.labels)
    found = []
    for reply in (
        Sent(ANSWER),
        choice({"content": "Sports"}, "content_filter"),
        choice({"content": "Weather"}),
    ):
        with serving(reply) as service, endpoint(service.url, HEARS) as system:
            answer = answer_behaviour(system, CLIP, question)
            found.append((answer.label, answer.status))
    assert found == [("Sports", "parsed"), (None, "refused"), (None, "unparsed")]


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
    reply, _ = asked(choice({"content": content}))
    assert reply.text == text


def test_an_answer_cut_off_at_its_limit_says_so() -> None:
    for content in ("Spo", None):
        reply, _ = asked(choice({"content": content}, "length"))
        assert reply.note == "Cut off at the limit of tokens." and not reply.refusal


@pytest.mark.parametrize(
    "reply",
    [
        choice({"content": 7}),
        choice({"content": ["Sports"]}),
        choice("Sports"),
        choice({"content": "half a character \ud83d"}),
        choice({"content": None}, "tool_calls"),
        Sent({**ANSWER, "choices": []}),
        Sent({**ANSWER, "choices": {"0": "Sports"}}),
        Sent({"error": {"message": "no such luck"}}),
    ],
)
def test_a_reply_of_another_shape_is_a_failure_at_once(reply: Sent) -> None:
    with serving(reply) as service, endpoint(service.url) as system:
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
    reply, _ = asked(Sent({**ANSWER, **odd}))
    assert (reply.model_version, reply.prompt_tokens, reply.answer_tokens) == ("", None, None)
    assert asked(Sent({"choices": ANSWER["choices"], "usage": []}))[0].text == "Sports"


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
        asked(Sent(body, 400), given=CLIP)
    words = 'Served rejects the request (HTTP 400): "no audio here"; check the model id and the settings.'
    assert str(caught.value) == words


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_sentence_without_the_key(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    reply, sentence, n_requests = FAULTS[fault]
    with caplog.at_level(logging.DEBUG), serving(reply) as service, endpoint(service.url) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask("the queen", "Which topic?")
        shown = "".join((repr(system), repr(vars(system)), str(system.spec), system.fingerprint))
    assert str(caught.value).startswith(f"Served {sentence}") and len(service.asked) == n_requests
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    shown += "".join((caplog.text, repr(caught.value), *traceback.format_exception(caught.value)))
    assert len(caplog.records) > 0 and SENTINEL[:8] not in shown
    assert SENTINEL in service.asked[0].headers["authorization"]  # it was there to be found


@pytest.mark.parametrize("reply", [Sent(ANSWER, delay_s=3.0), Sent(ANSWER, drip_s=0.05)])
def test_a_late_reply_and_one_that_trickles_are_given_up(reply: Sent) -> None:
    patience = replace(QUICK, timeout_s=0.5, attempts=2)
    with serving(reply) as service, endpoint(service.url, patience=patience) as system:
        with pytest.raises(ServiceError) as caught:
            system.ask("the queen", "Which topic?")
        assert len(service.asked) == 2
    sentence = "Served did not answer within 0.5 s; try again later or allow more time (2 attempts)."
    assert str(caught.value) == sentence


def test_where_nobody_listens_is_one_sentence() -> None:
    with endpoint(f"http://127.0.0.1:{free_port()}") as system, pytest.raises(ServiceError) as caught:
        system.ask("the queen", "Which topic?")
    assert str(caught.value) == "Served cannot be reached; check the network and the base URL (3 attempts)."


def test_a_redirect_does_not_take_the_key_along() -> None:
    with serving(Sent(ANSWER)) as other, serving(Sent({}, 307, {"location": f"{other.url}/v1"})) as service:
        with endpoint(service.url) as system, pytest.raises(ServiceError, match="sends elsewhere"):
            system.ask("the queen", "Which topic?")
        assert not other.asked


def test_an_endpoint_that_echoes_the_key_does_not_get_it_into_the_answer() -> None:
    echo = {**ANSWER, "model": SENTINEL, "choices": [{"message": {"content": f"Sports {SENTINEL}"}}]}
    reply, _ = asked(Sent(echo))
    assert (reply.text, reply.model_version) == ("Sports ***", "*** (vllm-0.9)")


def test_a_clip_beyond_the_limit_is_refused_before_anything_is_sent() -> None:
    long = AudioClip(np.zeros(480 * 16_000, np.float32), "long.wav")
    with serving(Sent(ANSWER)) as service, endpoint(service.url, HEARS) as system:
        with pytest.raises(ServiceError, match=r"a request of 20\.5 MB and Served takes 20 MB; cut"):
            system.ask(long, "Which topic?")
        assert not service.asked


def test_it_is_a_behaviour_model_and_no_white_box() -> None:
    with endpoint("http://127.0.0.1:1") as system:
        assert isinstance(system, BehaviourModel) and not isinstance(system, WhiteBoxModel)
        with pytest.raises(AssertionError):
            system.ask(CLIP, "Which topic?")


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
