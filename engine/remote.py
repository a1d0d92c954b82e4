"""Asking a model behind a network: one patient way for every service.

Adapters of remote systems hand `Caller.call` one attempt; here lie the rate limit and the waits between
attempts. Nothing of a request is logged. No service is known here, and no HTTP (engine.remote_http).
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.errors import ServiceError

logger = logging.getLogger(__name__)
Value = TypeVar("Value")
# Told what is waited for; what it raises ends the waiting.
Tell = Callable[[str], None]
TELL_EVERY_S = 0.4
# Takes the next turn at a service, by its name and the requests per minute: how many seconds away it is.
TakeTurn = Callable[[str, float], float]


@dataclass(frozen=True)
class Patience:
    """How long and how often a service is asked.

    Attributes:
        timeout_s: of one attempt; a reply that trickles in beyond it counts as late.
        attempts: at most, the first one included.
        first_wait_s: before the second attempt; doubles from attempt to attempt.
        longest_wait_s: cap of a wait; a service that asks for more is not asked again.
        requests_per_minute: of all who take turns at one place, attempts evenly spaced.
    """

    timeout_s: float = 60.0
    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    requests_per_minute: float = 60.0

    def __post_init__(self) -> None:
        times = (self.timeout_s, self.first_wait_s, self.longest_wait_s, self.requests_per_minute)
        if self.attempts < 1 or not all(0 < value < float("inf") for value in times):
            raise ServiceError(
                "Timeout, waits and requests per minute must be above 0, and attempts 1 or more; change them."
            )


@dataclass(frozen=True)
class Failure:
    """Why one attempt gave nothing.

    Attributes:
        what: follows the service's name in the sentence; found and what to do.
        may_pass: whether another attempt may succeed.
        wait_s: what the service asks to wait before it, if it says.
    """

    what: str
    may_pass: bool = False
    wait_s: float | None = None


@dataclass(frozen=True)
class Called(Generic[Value]):
    """A value that a service gave, the seconds of the attempt that gave it, and the number of attempts."""

    value: Value
    seconds: float
    attempts: int


class Turns:
    """The place where turns at services are taken, evenly spaced for each. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_start: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, name: str, requests_per_minute: float) -> float:
        """Take the next turn at this service and return how many seconds away it is."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next_start.get(name, now))
            self._next_start[name] = start + 60.0 / requests_per_minute
            return start - now


_ELSEWHERE: list[TakeTurn] = []


def take_turns_at(take_turn: TakeTurn) -> None:
    """Let callers made from now on take their turns where other processes of the run take theirs."""
    _ELSEWHERE[:] = [take_turn]


class Caller:
    """Calls one service: spaces its requests and tries again what may pass. Safe for several threads.

    Args:
        name: of the service, for sentences.
        patience: how long and how often.
        take_turn: takes the next turn at the service; by default as `take_turns_at` says, else a turn of its own.
        sleep, clock: of the process; a test hands in its own.
        jitter: draws the part of each wait, so that many processes do not come back at the same moment; it
            plays no part in any answer.
    """

    def __init__(
        self,
        name: str,
        patience: Patience,
        *,
        take_turn: TakeTurn | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        self.name = name
        self.patience = patience
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter or random.Random()
        self._take_turn = take_turn or (_ELSEWHERE[0] if _ELSEWHERE else Turns(clock).take)

    def call(self, attempt: Callable[[], Value | Failure], tell: Tell | None = None) -> Called[Value]:
        """Return the value of the first attempt that gives one.

        Args:
            attempt: asks once.
            tell: called every `TELL_EVERY_S` seconds with what is waited for. When it raises, an attempt under
                way is left to its own time limit and its reply is dropped.

        Raises:
            ServiceError: no attempt did. Its sentence is ours; no error of a library is chained to it, since
                such an error may hold the request, and with it the key.
        """
        for n_attempts in range(1, self.patience.attempts + 1):
            self._wait_for_turn(tell)
            began = self._clock()
            found = attempt() if tell is None else _told(attempt, tell, f"waiting for {self.name} to answer")
            if not isinstance(found, Failure):
                return Called(found, self._clock() - began, n_attempts)
            failure = found
            wait_s = self._wait_after(failure, n_attempts)
            if wait_s is None:
                break
            logger.info("%s: attempt %d gave nothing, waiting %.1f s", self.name, n_attempts, wait_s)
            self._pause(
                wait_s, tell, f"{self.name} {failure.what.split(';')[0]}: asking again in {wait_s:.0f} s"
            )
        times = f" ({n_attempts} attempts)" if n_attempts > 1 else ""
        raise ServiceError(f"{self.name} {failure.what}{times}.")

    def _wait_for_turn(self, tell: Tell | None) -> None:
        away_s = self._take_turn(self.name, self.patience.requests_per_minute)
        if away_s > 0:
            self._pause(away_s, tell, f"waiting for a turn: {self.name} is asked so many times a minute")

    def _pause(self, seconds: float, tell: Tell | None, what: str) -> None:
        while tell is not None and seconds > TELL_EVERY_S:
            tell(what)
            self._sleep(TELL_EVERY_S)
            seconds -= TELL_EVERY_S
        self._sleep(seconds)

    def _wait_after(self, failure: Failure, n_attempts: int) -> float | None:
        """Return seconds until the next attempt, None when there shall be none."""
        longest_s = self.patience.longest_wait_s
        if not failure.may_pass or n_attempts == self.patience.attempts:
            return None
        if failure.wait_s is not None and failure.wait_s > longest_s:
            return None
        backoff_s = min(longest_s, self.patience.first_wait_s * 2 ** (n_attempts - 1))
        return max(failure.wait_s or 0.0, backoff_s * self._jitter.uniform(0.5, 1.0))


def _told(attempt: Callable[[], Value], tell: Tell, what: str) -> Value:
    """Return what an attempt gives, made on a thread of its own so that `tell` may end the waiting."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(attempt())
        except Exception as error:  # carried to the thread that waits
            future.set_exception(error)

    tell(what)
    threading.Thread(target=work, name="request", daemon=True).start()
    while not wait([future], TELL_EVERY_S).done:
        tell(what)
    return future.result()


def fingerprint_of(service: str, kind: str, settings: Mapping[str, Any]) -> str:
    """Return a sha256 over everything that shapes a service's answers: its settings, but for `patience`.

    A cascade and an oracle ask alike, so that a prompt of both is answered once.
    """
    shape = {name: value for name, value in settings.items() if name != "patience"}
    shape |= {"service": service, "given": "clip" if kind == "speech_llm" else "text"}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
