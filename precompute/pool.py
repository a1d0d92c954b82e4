"""Units in several processes of this machine that each load the models themselves.

The process that starts them hands out the units, and the turns at services: their rate is the run's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple, Self

from engine.errors import EngineError
from engine.systems.profiles import Profile, profile_to_send, use_profile
from engine.systems.remote import Turns, take_turns_at
from precompute.executors import Deaths, ExecutorError, attempt, n_cores, perform_named
from precompute.units import Outcome, Unit


class _Turn(NamedTuple):
    """What a worker says when it wants to ask a service."""

    name: str
    requests_per_minute: float


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None


class PoolExecutor:
    """Works in `n_workers` processes that are started afresh (spawn) and share out the cores' threads."""

    def __init__(self, perform: str, n_workers: int) -> None:
        self._perform = perform
        self._n_workers = n_workers
        self._n_threads = max(1, n_cores() // n_workers)
        self._workers: list[_Worker] = []
        self._turns = Turns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()  # an idle worker ends by itself
            if worker.unit is not None or kind is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Yield outcomes as workers finish."""
        waiting = deque(units)
        deaths = Deaths()
        while waiting or any(worker.unit for worker in self._workers):
            self._hand_out(waiting)
            busy = [worker for worker in self._workers if worker.unit]
            ready = set(wait([worker.pipe for worker in busy]))
            for worker in (worker for worker in busy if worker.pipe in ready):
                unit, worker_said = worker.unit, _receive(worker)
                assert unit is not None
                if isinstance(worker_said, _Turn):
                    self._give(worker, worker_said)
                    continue
                worker.unit = None
                if isinstance(worker_said, Outcome):
                    deaths.end_row()
                    yield worker_said
                elif isinstance(worker_said, str):
                    raise ExecutorError(worker_said)
                else:
                    found = deaths.after(unit, self._bury(worker))
                    if isinstance(found, Outcome):
                        yield found
                    else:
                        waiting.extendleft(reversed(found))

    def _hand_out(self, waiting: deque[Unit]) -> None:
        wanted = min(self._n_workers, len(waiting) + sum(worker.unit is not None for worker in self._workers))
        while len(self._workers) < wanted:
            self._workers.append(_start(self._perform, self._n_threads))
        for worker in list(self._workers):
            if worker.unit is None and waiting:
                unit = waiting.popleft()
                try:
                    worker.pipe.send(unit)
                except OSError:  # it died while it was idle
                    waiting.appendleft(unit)
                    self._bury(worker)
                    continue
                worker.unit = unit
        if waiting and not any(worker.unit for worker in self._workers):
            self._hand_out(waiting)

    def _give(self, worker: _Worker, turn: _Turn) -> None:
        """Tell a worker when its turn at a service comes; all workers take theirs here."""
        with suppress(OSError):  # it died while it waited, which the next look at its pipe tells
            worker.pipe.send(self._turns.take(*turn))

    def _bury(self, worker: _Worker) -> str:
        """Forget a worker that died; say how it ended."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _receive(worker: _Worker) -> object:
    """Return what a worker sent, None when it is gone."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        return None


def _start(perform: str, n_threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    given = (theirs, perform, n_threads, profile_to_send())
    process = context.Process(target=_serve, args=given, daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _asked(pipe: Connection, turn: _Turn) -> float:
    """Take a turn at a service in the process that hands out the units."""
    pipe.send(turn)
    away_s: float = pipe.recv()
    return away_s


def _serve(pipe: Connection, perform: str, n_threads: int, profile: Profile) -> None:
    """Work on what comes through the pipe until it is closed, as it is when the other process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the one that asked decides
    # Read by torch and CTranslate2 when they are first imported, which is below.
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    use_profile(profile)
    take_turns_at(lambda name, requests_per_minute: _asked(pipe, _Turn(name, requests_per_minute)))
    function = perform_named(perform)
    while True:
        try:
            unit = pipe.recv()
        except (EOFError, OSError):
            return
        said: Outcome | str
        try:
            said = attempt(function, unit)
        except EngineError as error:
            said = str(error)
        try:
            pipe.send(said)
        except OSError:
            return
