"""Runs can be watched and stopped, errors come out where they are awaited, results stay bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dashboard import session
from dashboard.session import Answered, Durations, Finished, ResultStore, Step, job_steps, run_once, run_steps
from engine.audio import AudioClip
from engine.errors import PromptError
from engine.request import RunRequest
from engine.results import RunResult
from tests.dashboard.test_links import form


@pytest.fixture
def request_() -> RunRequest:
    return RunRequest(AudioClip(np.full(16_000, 0.1, np.float32), "clip.wav"), "topic")


def finished(request: RunRequest, result: RunResult) -> Finished:
    return Finished(request, result, form(), "clip.wav", None)


def test_steps_come_first_and_the_result_last(request_: RunRequest, stand_in_models: RunResult) -> None:
    news = list(run_steps(request_))
    assert isinstance(news[-1], RunResult)
    assert Step(0.5, "answering") in news
    assert all(isinstance(one, Step) for one in news[:-1])


def test_answers_come_before_the_rest_of_their_verdict(
    request_: RunRequest, result: RunResult, monkeypatch: Any
) -> None:
    """A run on topic stood still for two more seconds while the speech LLM was asked for its transcript."""
    first, last = replace(result, seconds=1.0), replace(result, seconds=2.0)

    def run(request: RunRequest, progress: Any, answered: Callable[[RunResult], None]) -> RunResult:
        answered(first)
        progress(0.9, "comparing")
        return last

    monkeypatch.setattr("engine.run.run", run)
    news = [one for one in run_steps(request_) if one != Step(0.0, "Starting")]
    at = news.index(Answered(first))
    assert Step(0.9, "comparing") in news[at:] and news[-1] is last
    assert run_once(request_) is last, "who does not watch gets the whole"


def test_an_error_of_the_engine_is_raised_to_the_caller(request_: RunRequest, monkeypatch: Any) -> None:
    def refuse(request: RunRequest, progress: Any, answered: Any) -> RunResult:
        raise PromptError("No.")

    monkeypatch.setattr("engine.run.run", refuse)
    with pytest.raises(PromptError, match=r"No\."):
        run_once(request_)


def test_any_job_is_watched_in_the_same_way() -> None:
    def job(progress: Callable[[float, str], None]) -> str:
        progress(0.5, "half")
        return "found"

    news = list(job_steps(job))
    assert news[-1] == "found" and Step(0.5, "half") in news
    with pytest.raises(PromptError, match=r"No\."):
        list(job_steps(lambda progress: (_ for _ in ()).throw(PromptError("No."))))


def test_closing_stops_the_run_at_its_next_step(request_: RunRequest, monkeypatch: Any) -> None:
    ended = threading.Event()

    def endless(request: RunRequest, progress: Callable[[float, str], None], answered: Any) -> RunResult:
        try:
            while True:
                progress(0.1, "still running")
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr("engine.run.run", endless)
    steps = run_steps(request_)
    while next(steps) != Step(0.1, "still running"):
        pass
    steps.close()
    assert ended.wait(5)


def test_a_silent_engine_still_gives_a_sign_of_life(
    request_: RunRequest, monkeypatch: Any, result: Any
) -> None:
    def slow(request: RunRequest, progress: Any, answered: Any) -> RunResult:
        time.sleep(3 * session.HEARTBEAT_S)
        return result

    monkeypatch.setattr("engine.run.run", slow)
    assert len(list(run_steps(request_))) >= 3


def test_the_store_is_bounded_in_number_and_age(
    request_: RunRequest, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore()
    keys = [store.put(finished(request_, result)) for _ in range(session.MOST_RESULTS + 1)]
    assert store.get(keys[0]) is None
    assert store.get(keys[-1]) is not None
    now = time.monotonic()
    monkeypatch.setattr("dashboard.session.time.monotonic", lambda: now + session.LONGEST_KEPT_S + 1)
    assert store.get(keys[-1]) is None


def test_an_amended_result_keeps_its_id_and_a_dropped_one_stays_away(
    request_: RunRequest, result: RunResult
) -> None:
    store = ResultStore()
    key, whole = store.put(finished(request_, result)), replace(result, seconds=99.0)
    store.amend(key, whole)
    store.amend("gone", whole)
    kept = store.get(key)
    assert kept is not None and kept.result is whole and kept.request is request_
    assert store.get("gone") is None


def test_ids_cannot_be_guessed(request_: RunRequest, result: RunResult) -> None:
    store = ResultStore()
    keys = {store.put(finished(request_, result)) for _ in range(20)}
    assert len(keys) == 20
    assert all(len(key) >= 22 for key in keys)
    assert store.get("") is None and store.get(None) is None


def test_the_estimate_comes_from_runs_with_as_many_erasures() -> None:
    durations = Durations()
    assert "warm up" in durations.line(0)
    for seconds in (60.0, 1.0, 2.0, 9.0):
        durations.add(1, seconds)
    assert "About 2.0 s" in durations.line(1) and "3 runs" in durations.line(1)
    assert "No estimate yet" in durations.line(2)


def test_a_run_at_strength_0_counts_as_one_without_erasures() -> None:
    assert [session.n_erased(2, strength) for strength in (0, 0.25, 1.0)] == [0, 2, 2]
