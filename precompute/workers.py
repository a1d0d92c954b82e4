"""Where batches are worked on: in this process, in others of this machine, or on a cluster (`precompute.ray_workers`).

All give the same outcomes for the same batches. A batch that raises is tried again job by job; a job that fails
alone is recorded with its reason. A process that dies, by whatever signal, is replaced, and what it was at is tried
again job by job. Services are asked by none of them: `precompute.benchmark` does it on threads of the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Protocol, Self

from engine.errors import EngineError, ModelFilesError
from engine.systems.profiles import Profile, profile_in_use, use_profile
from precompute.jobs import Batch, Outcome, named

Perform = Callable[[Batch], Outcome]

RAY = "precompute.ray_workers:RayWorkers"
MAX_WORKERS = {"pool": 64, "ray": 1024}
MAX_REASON_CHARACTERS = 300
DEATHS_IN_A_ROW = 16  # with nothing finished in between: not one clip's fault
_FOLDERS = re.compile(r"(/[^\s/:'\"]+)+/")


class WorkersError(EngineError):
    """Work cannot go on; the message says what to try."""


class Workers(AbstractContextManager["Workers"], Protocol):
    """Work on batches in any order.

    Attributes:
        perform: "package.module:function" that does a batch.
        n_workers: batches that are worked on at a time.
    """

    perform: str
    n_workers: int

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        """Yield outcomes as they come; together they hold one row for every job.

        Raises:
            EngineError: something that no job is to blame for, such as missing weights.
        """
        ...


def attempt(perform: Perform, batch: Batch) -> Outcome:
    """Return what the batch yields; where it raises, each of its jobs is tried again alone.

    Raises:
        ModelFilesError: weights are missing or damaged, so nothing would succeed.
    """
    try:
        return perform(batch)
    except ModelFilesError:
        raise
    except Exception:  # whatever a job does to a library; `_alone` records what it was
        outcomes = [_alone(perform, single) for single in batch.alone()]
    findings = {who: found for outcome in outcomes for who, found in outcome.findings.items()}
    return Outcome(tuple(row for outcome in outcomes for row in outcome.rows), findings)


def _alone(perform: Perform, single: Batch) -> Outcome:
    try:
        return perform(single)
    except ModelFilesError:
        raise
    except Exception as error:
        return single.failed(reason_of(error))


def reason_of(error: Exception) -> str:
    """Return one line fit for a table: no folders of this machine, not long."""
    text = " ".join(_FOLDERS.sub("", str(error)).split())
    told = text if isinstance(error, EngineError) else f"{type(error).__name__}: {text}"
    return told[:MAX_REASON_CHARACTERS]


class Deaths:
    """Judges batches whose process died at them, so that none is tried for ever."""

    def __init__(self) -> None:
        self._of_key: Counter[str] = Counter()
        self._in_a_row = 0

    def end_row(self) -> None:
        """Note that something was finished: processes do live here."""
        self._in_a_row = 0

    def count(self, ended: str) -> None:
        """Count a process's death.

        Raises:
            WorkersError: process after process dies and nothing is finished.
        """
        self._in_a_row += 1
        if self._in_a_row > DEATHS_IN_A_ROW:
            raise WorkersError(f"Worker processes end at once ({ended}); try --executor inline.")

    def after(self, batch: Batch, ended: str) -> tuple[Outcome | None, list[Batch]]:
        """Count a process's death at this batch.

        Returns:
            The outcome of a job that has now ended two processes and so has failed, or None; and what is to be tried
            again, job by job.

        Raises:
            WorkersError: process after process dies and nothing is finished.
        """
        self.count(ended)
        self._of_key.update(batch.keys)
        if max(self._of_key[key] for key in batch.keys) < 2:
            return None, batch.alone()
        return batch.failed(f"the process that worked on it was ended ({ended})"), []


class InlineWorkers:
    """Works in this process, one batch after another."""

    n_workers = 1

    def __init__(self, perform: str) -> None:
        self.perform = perform

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        """Yield outcomes in the order of the batches."""
        function = named(self.perform)
        for batch in batches:
            yield attempt(function, batch)


@dataclass
class _Worker:
    """A process of the pool; `batch` is what it is at."""

    process: BaseProcess
    pipe: Connection
    batch: Batch | None = None

    def receive(self) -> object:
        """Return what it sent, None when it is gone."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return None


class PoolWorkers:
    """Works in `n_workers` processes that are started afresh (spawn) and share out the cores' threads."""

    def __init__(self, perform: str, n_workers: int) -> None:
        self.perform = perform
        self.n_workers = n_workers
        self._n_threads = max(1, n_cores() // n_workers)
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()  # an idle worker ends by itself
            if worker.batch is not None or kind is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def run(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        """Yield outcomes as processes finish."""
        waiting = deque(batches)
        deaths = Deaths()
        while waiting or any(worker.batch for worker in self._workers):
            self._hand_out(waiting)
            busy = [worker for worker in self._workers if worker.batch]
            ready = set(wait([worker.pipe for worker in busy]))
            for worker in (worker for worker in busy if worker.pipe in ready):
                batch, said = worker.batch, worker.receive()
                assert batch is not None
                worker.batch = None
                if isinstance(said, str):
                    raise WorkersError(said)
                outcome: Outcome | None
                if isinstance(said, Outcome):
                    deaths.end_row()
                    outcome = said
                else:
                    outcome, again = deaths.after(batch, self._bury(worker))
                    waiting.extendleft(reversed(again))
                if outcome is not None:
                    yield outcome

    def _hand_out(self, waiting: deque[Batch]) -> None:
        wanted = min(self.n_workers, len(waiting) + sum(worker.batch is not None for worker in self._workers))
        while len(self._workers) < wanted:
            self._workers.append(self._start())
        for worker in list(self._workers):
            if worker.batch is None and waiting:
                batch = waiting.popleft()
                try:
                    worker.pipe.send(batch)
                except OSError:  # it died while it was idle
                    waiting.appendleft(batch)
                    self._bury(worker)
                    continue
                worker.batch = batch
        if waiting and not any(worker.batch for worker in self._workers):
            self._hand_out(waiting)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        given = (theirs, self.perform, self._n_threads, profile_in_use())
        process = context.Process(target=_serve, args=given, daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _bury(self, worker: _Worker) -> str:
        """Forget a process that died; say how it ended."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _serve(pipe: Connection, perform: str, n_threads: int, profile: Profile) -> None:
    """Work on what comes through the pipe until it is closed, as it is when the other process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the one that asked decides
    # Read by torch and CTranslate2 when they are first imported, which is below.
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    use_profile(profile)
    while True:
        try:
            batch = pipe.recv()
        except (EOFError, OSError):
            return
        said: Outcome | str
        try:
            said = attempt(named(perform), batch)
        except EngineError as error:
            said = str(error)
        try:
            pipe.send(said)
        except OSError:
            return


def n_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def n_workers_of(kind: str, asked: int | None, address: str | None = None) -> int:
    """Return how many batches are worked on at a time: a process for each core of this machine unless told otherwise.

    Raises:
        WorkersError: a number out of range; an address without Ray, or without a number.
    """
    most = MAX_WORKERS.get(kind, MAX_WORKERS["pool"])
    if asked is not None and not 1 <= asked <= most:
        raise WorkersError(f"The number of workers is {asked}; give 1 to {most}.")
    if address is not None and kind != "ray":
        raise WorkersError("An --address is a Ray cluster's; add --executor ray.")
    if address is not None and asked is None:
        raise WorkersError("Say with --workers how many processes this run may have on the cluster.")
    return 1 if kind == "inline" else asked or min(n_cores(), most)


def make_workers(kind: str, n_workers: int, perform: str, address: str | None = None) -> Workers:
    """Return the workers called "inline", "pool" or "ray", which are at `address` or on a cluster started here."""
    if kind == "inline":
        return InlineWorkers(perform)
    if kind == "ray":
        ray_workers: Workers = named(RAY)(perform, n_workers, address)  # it builds on this file
        return ray_workers
    return PoolWorkers(perform, n_workers)
