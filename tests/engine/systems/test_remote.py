"""How a service is asked: what is tried again, how requests are spaced, how far a reply, address or key may go."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio import AudioClip, load_clip
from engine.errors import ServiceError
from engine.systems.remote import (
    NO_SECRET,
    TELL_EVERY_S,
    Caller,
    Failure,
    RateLimiter,
    RetryPolicy,
    Secret,
    check_address,
    check_request_size,
    failure_of_code,
    fingerprint_of,
    http_client,
    secret_from,
    wait_asked,
    wav_of,
)
from tests.engine.fake_service import QUICK, SENTINEL, Sent, Waits, caller, serving

BUSY = Failure("is busy; try again later", may_pass=True)
BROKEN = Failure("rejects the request; change it")


def attempts(*outcomes: Any) -> tuple[Any, list[int]]:
    """Return a function that gives the outcomes in turn, and the list that counts its calls."""
    calls: list[int] = []

    def attempt() -> Any:
        calls.append(len(calls))
        return outcomes[min(len(calls), len(outcomes)) - 1]

    return attempt, calls


def test_the_first_value_counts_and_its_attempts_are_told() -> None:
    attempt, calls = attempts(BUSY, BUSY, "yes")
    called = caller().call(attempt)
    assert (called.value, called.attempts, len(calls)) == ("yes", 3, 3)


def test_waits_double_with_jitter_below_the_cap() -> None:
    retry = replace(QUICK, attempts=8, first_wait_s=1.0, longest_wait_s=10.0)
    waits = Waits()
    attempt, _ = attempts(*[BUSY] * 7, "yes")
    caller(retry=retry, waits=waits).call(attempt)
    full = [1, 2, 4, 8, 10, 10, 10]
    assert len(waits.slept) == len(full)
    assert all(0.5 * most <= slept <= most for slept, most in zip(waits.slept, full, strict=True))
    assert len({slept / most for slept, most in zip(waits.slept, full, strict=True)}) == len(full)


def test_seconds_are_those_of_the_attempt_that_answered() -> None:
    waits = Waits()
    outcomes = [(5.0, BUSY), (0.25, "yes")]

    def attempt() -> Any:
        seconds, outcome = outcomes.pop(0)
        waits.now_s += seconds
        return outcome

    assert caller(waits=waits).call(attempt).seconds == pytest.approx(0.25)


def test_what_the_service_asks_to_wait_is_waited() -> None:
    waits = Waits()
    attempt, _ = attempts(replace(BUSY, wait_s=37.0), "yes")
    caller(waits=waits).call(attempt)
    assert waits.slept == [37.0]


@pytest.mark.parametrize(
    ("failure", "n_attempts", "sentence"),
    [
        (BUSY, 3, "Fake is busy; try again later (3 attempts)."),
        (BROKEN, 1, "Fake rejects the request; change it."),
        (replace(BUSY, wait_s=3600.0), 1, "Fake is busy; try again later."),
    ],
    ids=["busy to the last", "cannot pass", "asks for too long a wait"],
)
def test_after_the_last_attempt_there_is_one_sentence_and_nothing_behind_it(
    failure: Failure, n_attempts: int, sentence: str
) -> None:
    attempt, calls = attempts(failure)
    waits = Waits()
    with pytest.raises(ServiceError) as caught:
        caller(waits=waits).call(attempt)
    assert str(caught.value) == sentence
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert len(calls) == n_attempts and len(waits.slept) == n_attempts - 1


def test_requests_are_spaced_over_calls_and_attempts_alike() -> None:
    waits = Waits()
    one = caller(retry=replace(QUICK, requests_per_minute=30.0, first_wait_s=0.5), waits=waits)
    starts: list[float] = []
    outcomes: list[Any] = ["a", BUSY, "b", "c"]

    def attempt() -> Any:
        starts.append(waits.now_s)
        return outcomes.pop(0)

    for _ in range(3):
        one.call(attempt)
    assert starts == pytest.approx([0.0, 2.0, 4.0, 6.0])


class SlowToRead(dict[str, float]):
    """Next turns that let other threads in between the reading of one and its giving away."""

    def get(self, key: str, default: float = 0.0) -> float:  # type: ignore[override]
        found = super().get(key, default)
        time.sleep(0.001)
        return found


def test_threads_share_one_spacing() -> None:
    """On a clock that stands still each of 40 requests is given a slot of its own."""
    slept: list[float] = []
    turns = RateLimiter(clock=lambda: 0.0)
    turns._next_start = SlowToRead()
    retry = replace(QUICK, requests_per_minute=60.0)
    one = Caller("Fake", retry, take_turn=turns.take, sleep=slept.append, clock=lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one.call(lambda: "yes"), range(40)))
    assert sorted(slept) == [float(slot) for slot in range(1, 40)]


def test_callers_that_take_turns_at_one_place_share_a_rate_and_each_service_has_its_own() -> None:
    turns = RateLimiter(clock=lambda: 0.0)
    slept: list[float] = []
    for name, n_callers in (("Gemini", 3), ("The endpoint", 2)):
        for _ in range(n_callers):
            retry = replace(QUICK, requests_per_minute=30.0)
            caller = Caller(name, retry, take_turn=turns.take, sleep=slept.append)
            caller.call(lambda: "yes")
    assert slept == [2.0, 4.0, 2.0]


@given(steps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_minute_holds_more_requests_than_may_be_sent_in_one(steps: list[float]) -> None:
    """Whoever comes, and whenever: here 20 a minute, so that the 21st is at least a minute behind the first."""
    waits = Waits()
    turns = RateLimiter(clock=waits.clock)
    starts = []
    for step in steps:
        waits.now_s += step
        starts.append(waits.now_s + turns.take("Fake", 20.0))
    assert all(later - first >= 60 - 1e-6 for first, later in zip(starts, starts[20:], strict=False))


def test_who_comes_late_enough_does_not_wait() -> None:
    waits = Waits()
    one = caller(retry=replace(QUICK, requests_per_minute=30.0), waits=waits)
    one.call(lambda: "a")
    waits.now_s = 100.0
    one.call(lambda: "b")
    assert not waits.slept


def test_who_waits_is_told_and_the_waits_are_as_long_as_without() -> None:
    told: list[str] = []
    waits, quiet = Waits(), Waits()
    retry = replace(QUICK, first_wait_s=2.0)
    called = caller(retry=retry, waits=waits).call(attempts(BUSY, "yes")[0], told.append)
    caller(retry=retry, waits=quiet).call(attempts(BUSY, "yes")[0])
    assert (called.value, called.attempts) == ("yes", 2)
    assert sum(waits.slept) == pytest.approx(sum(quiet.slept)) and max(waits.slept) <= TELL_EVERY_S
    assert told[0] == "waiting for Fake to answer" and told[-1] == told[0]
    assert set(told[1:-1]) == {f"Fake is busy: asking again in {sum(quiet.slept):.0f} s"}


def test_a_fault_of_the_attempt_itself_reaches_who_waits() -> None:
    with pytest.raises(ZeroDivisionError):
        caller().call(lambda: 1 // 0, lambda what: None)


def test_what_is_raised_while_waiting_ends_it_and_leaves_the_attempt_behind() -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def attempt() -> bool:
        is_asked.set()
        return may_answer.wait(30)

    def stop(what: str) -> None:
        if is_asked.is_set():
            raise KeyError(what)

    with pytest.raises(KeyError, match="waiting for Fake to answer"):
        caller().call(attempt, stop)
    may_answer.set()


def test_the_log_names_the_service_and_the_wait_only(caplog: pytest.LogCaptureFixture) -> None:
    attempt, _ = attempts(BUSY, "yes")
    with caplog.at_level(logging.DEBUG):
        caller().call(attempt)
    assert [record.message[:38] for record in caplog.records] == ["Fake: attempt 1 gave nothing, waiting "]


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": 0},
        {"timeout_s": 0.0},
        {"first_wait_s": -1.0},
        {"longest_wait_s": float("inf")},
        {"requests_per_minute": float("nan")},
    ],
)
def test_patience_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="must be above 0"):
        RetryPolicy(**change)


def test_a_cascade_and_an_oracle_ask_alike_and_a_speech_llm_does_not() -> None:
    settings = {"model": "m", "retry": {"attempts": 3}}
    one, other, hears = (
        fingerprint_of("endpoint", kind, settings) for kind in ("cascade", "text_llm", "speech_llm")
    )
    assert one == other != hears
    assert fingerprint_of("endpoint", "cascade", settings | {"retry": None}) == one
    assert fingerprint_of("endpoint", "cascade", settings | {"model": "n"}) != one


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), (None, None), ("soon", None)]
)
def test_a_wait_in_seconds_is_read(header: str | None, seconds: float | None) -> None:
    assert wait_asked(header) == seconds


def test_a_wait_until_a_date_is_read() -> None:
    assert wait_asked(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=30)
    assert wait_asked(formatdate(time.time() - 100, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    "model", ["gemini-3.5-flash", "Qwen/Qwen2-Audio-7B-Instruct", "llama3.1:8b", "accounts/a/models/b@1"]
)
@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:8000/v1", "https://example.org/v1/", "http://[::1]:8000"]
)
def test_usual_addresses_pass(model: str, url: str | None) -> None:
    check_address("Fake", model, url)


@pytest.mark.parametrize("model", ["", " ", "a b", "../files", "a/../b", "a?key=b", "a\nb", "x" * 121])
def test_what_is_no_model_id_is_refused(model: str) -> None:
    with pytest.raises(
        ServiceError, match=r"^Fake has no usable model id; write it as the service lists it\.$"
    ):
        check_address("Fake", model, None)


@pytest.mark.parametrize(
    "url", ["", "localhost", "localhost:8000/v1", "ftp://host/v1", "http://", "http://a:b/v1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match=r"^Fake has no usable base URL; write it as "):
        check_address("Fake", "model", url)


@pytest.mark.parametrize(
    "url", ["http://me:pass@host/v1", "https://host/v1?key=pass", "https://host/v1#pass"]
)
def test_a_key_in_an_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ServiceError, match="put the key into its variable") as caught:
        check_address("Fake", "model", url)
    assert "pass" not in str(caught.value)


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's HTTP_PROXY kept a local vLLM from being reached."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(Sent({"well": True})) as service, http_client(10.0, NO_SECRET) as client:
        assert client.post(f"{service.url}/v1", json={}).json() == {"well": True}


def test_a_proxy_of_another_kind_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("socks5://127.0.0.1:9", "gopher://x", "http://[::1"):
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(ServiceError, match="proxy that the environment names cannot be used"):
            http_client(10.0, NO_SECRET)


def test_a_services_own_words_are_one_line_and_short() -> None:
    what = failure_of_code(400, message="too\nlong \x1b[31m\u202e" + "x" * 500).what
    assert (
        what
        == f'rejects the request (HTTP 400): "too long [31m {"x" * 146}"; check the model id and the settings'
    )


def test_a_reply_may_be_as_long_as_the_limit_and_is_asked_for_uncompressed() -> None:
    with serving(Sent(b" " * 2_000_000)) as service, http_client(30.0, NO_SECRET) as client:
        assert len(client.post(service.url, json={}).content) == 2_000_000
    assert service.asked[0].headers["accept-encoding"] == "identity"


def test_a_key_that_comes_back_in_a_header_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    reply = Sent({}, headers={"x-echo": SENTINEL})
    with (
        serving(reply) as service,
        http_client(30.0, Secret(SENTINEL)) as client,
        caplog.at_level(logging.DEBUG),
    ):
        answer = client.post(service.url, json={}, headers={"x-key": SENTINEL})
    assert answer.headers["x-echo"] == SENTINEL
    assert "x-echo" in caplog.text and "***" in caplog.text and SENTINEL[:8] not in caplog.text


NAMES = ("FIRST_KEY", "SECOND_KEY")


def test_a_key_shows_in_no_form_but_the_one_asked_for() -> None:
    secret = Secret(SENTINEL)
    shown = f"{secret} {secret!r} {secret!s} {[secret]} { {'key': secret} }"
    assert SENTINEL not in shown and SENTINEL[:8] not in shown
    assert secret.reveal() == SENTINEL
    assert not hasattr(secret, "__dict__")


def test_a_key_is_neither_copied_nor_written() -> None:
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="own environment") as caught:
            write(Secret(SENTINEL))
        assert SENTINEL not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"bad key {SENTINEL}!", "bad key ***!"),
        (f"{SENTINEL}{SENTINEL}", "***"),
        (f"{SENTINEL} and {SENTINEL}", "*** and ***"),
        (f"starts {SENTINEL[:8]}...", "starts ***..."),
        (f"ends in {SENTINEL[-8:]}", "ends in ***"),
        (f"seven {SENTINEL[:7]}", f"seven {SENTINEL[:7]}"),
        ("the queen scored three goals", "the queen scored three goals"),
        ("", ""),
    ],
)
def test_parts_of_the_key_are_taken_out_of_foreign_text(text: str, hidden: str) -> None:
    assert Secret(SENTINEL).hide_in(text) == hidden


def test_a_word_that_stands_for_no_key_is_left_in_answers() -> None:
    """vLLM's examples send EMPTY; an answer may say it."""
    assert Secret("EMPTY").hide_in("EMPTY shelf") == "EMPTY shelf"
    assert Secret("").hide_in("shelf") == "shelf"


def test_the_first_variable_that_is_set_counts() -> None:
    assert secret_from(NAMES, "Fake", {"SECOND_KEY": "b", "FIRST_KEY": " a\n"}).reveal() == "a"
    assert secret_from(NAMES, "Fake", {"FIRST_KEY": "  ", "SECOND_KEY": "b"}).reveal() == "b"


def test_a_missing_key_is_one_sentence() -> None:
    with pytest.raises(ServiceError) as caught:
        secret_from(NAMES, "Fake", {})
    assert str(caught.value) == "Fake needs a key; set FIRST_KEY or SECOND_KEY in the environment."


@pytest.mark.parametrize("bad", ["two words of it", "line\nbreak-of-it", "umlaut-ä-in-it", "tab\tinside-it"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(bad: str) -> None:
    """The HTTP library's own error would quote it."""
    with pytest.raises(ServiceError) as caught:
        secret_from(NAMES, "Fake", {"FIRST_KEY": bad})
    assert str(caught.value) == "The key in FIRST_KEY holds characters that no key has; copy it there again."


LIMIT_BYTES = 14_998_500  # of a WAV: in base64 a third more, and 2,000 bytes around it


def test_the_file_holds_the_clip(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 4001).astype(np.float32)
    samples[:2] = (1.0, -1.0)
    file = tmp_path / "clip.wav"
    file.write_bytes(wav_of(AudioClip(samples, "clip.wav")))
    away = np.abs(load_clip(file).samples - samples)
    assert away[0] == 2**-15  # full scale itself is one step beyond 16 bits
    assert away[1:].max() <= 2**-16


def test_the_limit_counts_base64_and_the_words() -> None:
    check_request_size("Fake", bytes(LIMIT_BYTES), "")
    for wav, words in ((bytes(LIMIT_BYTES + 3), ""), (bytes(LIMIT_BYTES), "é")):
        with pytest.raises(ServiceError) as caught:
            check_request_size("Fake", wav, words)
        sentence = "The clip makes a request of 20.0 MB and Fake takes 20 MB; cut out the part you need."
        assert str(caught.value) == sentence
