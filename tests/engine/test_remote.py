"""Facts about patience: what is tried again, how long it waits, how requests are spaced."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ServiceError
from engine.systems.remote import (
    TELL_EVERY_S,
    Caller,
    Failure,
    Patience,
    Turns,
    fingerprint_of,
)
from tests.engine.fake_service import QUICK, Waits, caller

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
    patience = replace(QUICK, attempts=8, first_wait_s=1.0, longest_wait_s=10.0)
    waits = Waits()
    attempt, _ = attempts(*[BUSY] * 7, "yes")
    caller(patience=patience, waits=waits).call(attempt)
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


def test_a_service_that_asks_for_too_long_a_wait_is_not_asked_again() -> None:
    waits = Waits()
    attempt, calls = attempts(replace(BUSY, wait_s=3600.0), "yes")
    with pytest.raises(ServiceError):
        caller(waits=waits).call(attempt)
    assert len(calls) == 1 and not waits.slept


def test_what_cannot_pass_is_not_tried_again() -> None:
    attempt, calls = attempts(BROKEN, "yes")
    with pytest.raises(ServiceError) as caught:
        caller().call(attempt)
    assert str(caught.value) == "Fake rejects the request; change it." and len(calls) == 1


def test_after_the_last_attempt_there_is_one_sentence_and_nothing_behind_it() -> None:
    attempt, calls = attempts(BUSY)
    waits = Waits()
    with pytest.raises(ServiceError) as caught:
        caller(waits=waits).call(attempt)
    assert str(caught.value) == "Fake is busy; try again later (3 attempts)."
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert len(calls) == 3 and len(waits.slept) == 2


def test_requests_are_spaced_over_calls_and_attempts_alike() -> None:
    waits = Waits()
    one = caller(patience=replace(QUICK, requests_per_minute=30.0, first_wait_s=0.5), waits=waits)
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
    turns = Turns(clock=lambda: 0.0)
    turns._next_start = SlowToRead()
    patience = replace(QUICK, requests_per_minute=60.0)
    one = Caller("Fake", patience, take_turn=turns.take, sleep=slept.append, clock=lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one.call(lambda: "yes"), range(40)))
    assert sorted(slept) == [float(slot) for slot in range(1, 40)]


def test_callers_that_take_turns_at_one_place_share_a_rate_and_each_service_has_its_own() -> None:
    turns = Turns(clock=lambda: 0.0)
    slept: list[float] = []
    for name, n_callers in (("Gemini", 3), ("The endpoint", 2)):
        for _ in range(n_callers):
            patience = replace(QUICK, requests_per_minute=30.0)
            caller = Caller(name, patience, take_turn=turns.take, sleep=slept.append)
            caller.call(lambda: "yes")
    assert slept == [2.0, 4.0, 2.0]


@given(steps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_minute_holds_more_requests_than_may_be_sent_in_one(steps: list[float]) -> None:
    """Whoever comes, and whenever: here 20 a minute, so that the 21st is at least a minute behind the first."""
    waits = Waits()
    turns = Turns(clock=waits.clock)
    starts = []
    for step in steps:
        waits.now_s += step
        starts.append(waits.now_s + turns.take("Fake", 20.0))
    assert all(later - first >= 60 - 1e-6 for first, later in zip(starts, starts[20:], strict=False))


def test_who_comes_late_enough_does_not_wait() -> None:
    waits = Waits()
    one = caller(patience=replace(QUICK, requests_per_minute=30.0), waits=waits)
    one.call(lambda: "a")
    waits.now_s = 100.0
    one.call(lambda: "b")
    assert not waits.slept


def test_who_waits_is_told_and_the_waits_are_as_long_as_without() -> None:
    told: list[str] = []
    waits, quiet = Waits(), Waits()
    patience = replace(QUICK, first_wait_s=2.0)
    called = caller(patience=patience, waits=waits).call(attempts(BUSY, "yes")[0], told.append)
    caller(patience=patience, waits=quiet).call(attempts(BUSY, "yes")[0])
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
        Patience(**change)


def test_a_cascade_and_an_oracle_ask_alike_and_a_speech_llm_does_not() -> None:
    settings = {"model": "m", "patience": {"attempts": 3}}
    one, other, hears = (
        fingerprint_of("endpoint", kind, settings) for kind in ("cascade", "text_llm", "speech_llm")
    )
    assert one == other != hears
    assert fingerprint_of("endpoint", "cascade", settings | {"patience": None}) == one
    assert fingerprint_of("endpoint", "cascade", settings | {"model": "n"}) != one
