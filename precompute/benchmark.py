"""The one loop that works through a plan of any kind, and how far it is.

Whatever comes back is in the store before the next is counted: a run that is stopped by anything goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from precompute.estimate import duration
from precompute.jobs import ANSWERS, EXPORTS, STOPPED, Batch, Outcome, RunPlan, named, stages_of
from precompute.store import Store
from precompute.workers import Workers, attempt

LINE_EVERY_S = 15.0
MOVE_EVERY_S = 0.5


@dataclass(frozen=True)
class Report:
    """What a run did: results made now, rows in its tables, results that failed."""

    n_made: int
    n_rows: int
    n_failed: int


def run_plan(plan: RunPlan, out: Path, workers: Workers, stream: TextIO) -> Report:
    """Do what is not done of a plan of any kind, and write its tables.

    Raises:
        StoreError: the disk is full, or another run has the folder.
        EngineError: weights are missing; workers cannot be started.
    """
    store = Store(out)
    stream.write(f"{store.damage}\n" if store.damage else "")
    with store.writing(), workers:
        findings: dict[str, str] = {}
        n_before = len(store.rows)
        is_answered = plan.kind != "behaviour" and (out / ANSWERS).exists()
        for stage in stages_of(plan, store):
            _work_through(stage.name, stage.batches_of(plan, store), store, workers, findings, stream)
        n_rows = n_failed = 0
        if not is_answered:
            written: tuple[int, int] = named("precompute.stages.assemble:write_results")(
                plan.behaviour, store, out, findings
            )
            n_rows, n_failed = written
        if plan.kind in EXPORTS:
            n_rows, n_failed = named(EXPORTS[plan.kind])(plan, store, out)
        return Report(len(store.rows) - n_before, n_rows, n_failed)


def _work_through(
    name: str,
    batches: Sequence[Batch],
    store: Store,
    workers: Workers,
    findings: dict[str, str],
    stream: TextIO,
) -> None:
    """Do these batches, each outcome into the store as it comes; `findings` gains what was found about batches."""
    progress = Progress(stream, name, sum(len(batch.jobs) for batch in batches))
    lock = threading.Lock()

    def settle(outcome: Outcome) -> None:
        with lock:
            store.add(outcome.rows)
            for who, sentence in outcome.findings.items():
                if findings.get(who) != sentence:
                    stream.write(f"{who}: {sentence}.\n")
                findings[who] = sentence
            progress.add(len(outcome.rows), sum(row.failed for row in outcome.rows))

    with _asking([batch for batch in batches if batch.is_request], workers, settle) as check:
        for outcome in workers.run([batch for batch in batches if not batch.is_request]):
            settle(outcome)
            check()
    progress.finish()


@contextmanager
def _asking(
    requests: Sequence[Batch], workers: Workers, settle: Callable[[Outcome], None]
) -> Iterator[Callable[[], None]]:
    """Ask services on threads of this process while others work, so that their rates and keys stay here.

    Yields:
        What raises the first fault of a thread.
    """
    faults: list[BaseException] = []
    perform = named(workers.perform)

    def check() -> None:
        if faults:
            raise faults[0]

    def ask(batch: Batch) -> None:
        try:
            if not STOPPED.is_set():
                settle(attempt(perform, batch))
        except BaseException as error:  # carried to the thread that runs
            faults.append(error)
            STOPPED.set()

    STOPPED.clear()
    with ThreadPoolExecutor(workers.n_workers, thread_name_prefix="service") as threads:
        try:
            asked = [threads.submit(ask, batch) for batch in requests]
            yield check
            wait(asked)
            check()
        except BaseException:
            STOPPED.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


class Progress:
    """How far a stage is, on standard error: one line that moves on a terminal, a line now and then elsewhere."""

    def __init__(self, stream: TextIO, stage: str, total: int) -> None:
        self._stream = stream
        self._stage = stage
        self._total = total
        self._done = 0
        self._failed = 0
        self._started = self._said = time.monotonic()
        self._moves = stream.isatty()

    def add(self, n_done: int, n_failed: int) -> None:
        """Count results; say so when it is time."""
        self._done += n_done
        self._failed += n_failed
        now = time.monotonic()
        if now - self._said >= (MOVE_EVERY_S if self._moves else LINE_EVERY_S):
            self._said = now
            self._write(self.sentence(now - self._started))

    def finish(self) -> None:
        """Say how the stage ended."""
        if self._total:
            took = time.monotonic() - self._started
            self._write(f"{self._counts()}, done in {duration(took)}", last=True)

    def sentence(self, elapsed_s: float) -> str:
        """Return how far it is, how fast, and how long it will still take."""
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        left = f", about {duration((self._total - self._done) / rate)} left" if rate else ""
        return f"{self._counts()}, {rate:.1f}/s{left}"

    def _counts(self) -> str:
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{self._stage}: {self._done:,} of {self._total:,}{failed}"

    def _write(self, text: str, last: bool = False) -> None:
        if self._moves:
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
