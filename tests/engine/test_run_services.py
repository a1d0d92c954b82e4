"""Runs with services in place of a speech LLM, of a cascade's text LLM, or of both; only the services are faked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from engine.errors import EngineError, ServiceError
from engine.hearing import did_it_hear
from engine.interventions import sweep_layers
from engine.request import RunRequest
from engine.results import Answer, BehaviourAnswer, RunResult
from engine.run import ask_lens_text, run, track_token
from engine.systems.catalogue import UNAVAILABLE
from engine.tasks import TASKS
from tests.engine.fake_service import FakeService, Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, KEYS, forget_services, point_to
from tests.engine.tiny_systems import WORDS, sound

REQUEST = RunRequest(sound(1.7), "topic", reference="the market fell", gold="Sports")
BUSY = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}

pytestmark = pytest.mark.usefixtures("tiny_models")


@dataclass
class Services:
    """Three fake services and where they are."""

    gemini: FakeService
    text: FakeService
    audio: FakeService

    @property
    def n_asked(self) -> tuple[int, int, int]:
        return len(self.gemini.asked), len(self.text.asked), len(self.audio.asked)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with (
        serving(Sent(GEMINI_SAYS)) as gemini,
        serving(Sent(ENDPOINT_SAYS)) as text,
        serving(Sent(ENDPOINT_SAYS)) as audio,
    ):
        point_to(monkeypatch, gemini=gemini.url, text=text.url, audio=audio.url)
        yield Services(gemini, text, audio)
    forget_services()


def asked(pair: str, **changes: object) -> RunResult:
    return run(replace(REQUEST, pair=pair, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pair, remote, requests",
    [
        ("gemini-mini", (True, False, False), (1, 0, 0)),
        ("endpoint-mini", (True, False, False), (0, 0, 1)),
        ("gemini-endpoint-mini", (True, True, True), (1, 2, 0)),
        ("mini-ultravox-endpoint", (False, True, True), (0, 2, 0)),
    ],
)
def test_each_lane_is_answered_by_who_the_pair_says(
    services: Services, pair: str, remote: tuple[bool, ...], requests: tuple[int, ...]
) -> None:
    """Speech LLM, cascade, oracle; one request for each that is a service, and none for the others."""
    result = asked(pair)
    assert [lane.role for lane in result.lanes] == ["speech_llm", "cascade", "text_oracle"]
    assert tuple(isinstance(lane.answer, BehaviourAnswer) for lane in result.lanes) == remote
    assert services.n_asked == requests
    for lane, is_remote in zip(result.lanes, remote, strict=True):
        if is_remote:
            assert (lane.answer.label, lane.answer.forced_choice, lane.answer.log_likelihood) == (
                "Sports",
                None,
                None,
            )
            assert lane.revision in ("gemini-fake-001", "served-7b (vllm-0.9)")
        else:
            assert isinstance(lane.answer, Answer) and lane.answer.forced_choice
    assert (result.lens is None) == remote[0] and result.erasures == ()
    assert ("lens" in result.not_measured, "erasure" in result.not_measured) == (remote[0], remote[0])
    assert result.not_measured["match"] == UNAVAILABLE["match"] and result.match == "none"


def test_a_run_without_services_measures_everything() -> None:
    result = run(REQUEST)
    assert result.not_measured == {} and result.lens is not None


def test_the_clip_goes_to_the_speech_service_and_the_words_to_the_text_service(services: Services) -> None:
    asked("gemini-endpoint-mini")
    parts = services.gemini.asked[0].body["contents"][0]["parts"]
    assert "inlineData" in parts[0] and parts[1]["text"] == TASKS["topic"].instruction
    cascade, oracle = (one.body["messages"][0]["content"] for one in services.text.asked)
    assert cascade.startswith("the queen\n") and oracle.startswith("the market fell\n")


def test_a_service_says_nothing_of_what_it_heard_and_the_words_stay_on_the_clock(services: Services) -> None:
    result = asked("gemini-endpoint-mini")
    speech, cascade, _ = result.lanes
    assert (speech.heard, speech.words, speech.encoder_seconds) == ("", (), None)
    assert cascade.heard == "the queen" and cascade.words == WORDS and cascade.heard_from == "mini-Whisper"


def test_services_agree_as_systems_do(services: Services) -> None:
    assert asked("gemini-endpoint-mini").agreement.kind == "both right"
    assert asked("gemini-endpoint-mini", gold=None).agreement.kind == "same answer"


def test_an_edited_transcript_reaches_the_service(services: Services) -> None:
    result = asked("mini-ultravox-endpoint", transcript_override="a dull screen", reference=None)
    assert services.text.asked[0].body["messages"][0]["content"].startswith("a dull screen\n")
    assert result.lanes[1].heard_from == "edited by hand"


def test_the_same_lens_and_erasures_stand_beside_a_served_cascade(services: Services) -> None:
    here = asked("mini-ultravox", erasures=("boc",), layers=(1, 3))
    served = asked("mini-ultravox-endpoint", erasures=("boc",), layers=(1, 3))
    assert here.lens is not None and served.lens is not None
    assert (here.lens.top_ids == served.lens.top_ids).all()
    assert [one.kept_rank for one in served.erasures] == [one.kept_rank for one in here.erasures]
    assert services.n_asked == (0, 2, 0)


@pytest.mark.parametrize("what", ["erasure", "sweep", "token", "implicit", "hearing"])
def test_what_needs_states_is_refused_in_one_sentence_before_anything_is_sent(
    services: Services, what: str
) -> None:
    request = replace(REQUEST, pair="gemini-mini")
    asks = {
        "erasure": lambda: run(replace(request, erasures=("boc",))),
        "sweep": lambda: sweep_layers(request, "boc", "single layer"),
        "token": lambda: track_token(request, "market"),
        "implicit": lambda: ask_lens_text(request, None, 3),
        "hearing": lambda: did_it_hear(request),
    }
    with pytest.raises(
        ServiceError, match=r"^Not with Gemini: .*\. Choose a pair whose speech LLM runs here\.$"
    ):
        asks[what]()
    assert services.n_asked == (0, 0, 0)


def test_an_implicit_cascade_may_read_by_a_service(services: Services) -> None:
    result = asked("mini-ultravox-endpoint", reference=None)
    found = ask_lens_text(replace(REQUEST, pair="mini-ultravox-endpoint"), result.lens, 2)
    assert isinstance(found.answer, BehaviourAnswer) and found.answer.label == "Sports"
    said = services.text.asked[-1].body["messages"][0]["content"]
    assert said.startswith(found.text) and found.backbone == "mini-cascade-endpoint"


def test_a_refusal_is_a_refused_answer_and_cannot_be_compared(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.gemini.script = [Sent({"promptFeedback": {"blockReason": "SAFETY"}})]
    result = asked("gemini-mini")
    answer = result.lanes[0].answer
    assert isinstance(answer, BehaviourAnswer)
    assert (answer.label, answer.status, answer.note) == (None, "refused", "Refused by the service: SAFETY.")
    assert result.agreement.kind == "not comparable" and "refused" in result.agreement.sentence


def test_a_busy_service_is_asked_again_and_the_waiting_is_told(services: Services) -> None:
    services.gemini.script = [Sent(BUSY, 429), Sent(GEMINI_SAYS)]
    told: list[str] = []
    result = run(replace(REQUEST, pair="gemini-mini"), lambda share, what: told.append(what))
    assert result.lanes[0].answer.label == "Sports" and services.n_asked == (2, 0, 0)
    assert any("the clip is sent out; waiting for Gemini to answer" in what for what in told)
    assert any("Gemini limits requests (HTTP 429): asking again in" in what for what in told)


def test_who_waits_for_a_service_can_stop_at_once(services: Services) -> None:
    services.gemini.script = [Sent(GEMINI_SAYS, delay_s=20.0)]

    class StoppedError(Exception):
        pass

    def progress(share: float, what: str) -> None:
        if services.gemini.asked:
            raise StoppedError

    started = time.perf_counter()
    with pytest.raises(StoppedError):
        run(replace(REQUEST, pair="gemini-mini"), progress)
    assert time.perf_counter() - started < 15.0


def test_a_service_that_fails_ends_the_run_with_its_sentence(services: Services) -> None:
    services.gemini.script = [Sent({"error": {"code": 401, "message": f"bad key {KEYS[0]}"}}, 401)]
    with pytest.raises(ServiceError, match=r"^Gemini refuses the key \(HTTP 401\); check the key"):
        asked("gemini-mini")


def test_without_a_key_the_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch)
    with pytest.raises(EngineError, match=r"^Gemini cannot be asked: set GEMINI_MODEL and"):
        asked("gemini-mini")


def test_no_key_is_in_a_result_or_a_log(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "google_genai"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    services.gemini.script = [Sent(BUSY | {"echo": KEYS[0]}, 429), Sent(GEMINI_SAYS)]
    result = asked("gemini-endpoint-mini")
    written = repr(result) + caplog.text
    assert len(caplog.records) > 3
    for key in KEYS:
        assert key not in written and key[8:20] not in written
