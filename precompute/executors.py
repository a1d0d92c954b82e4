"""Where units are worked on: in this process, in others (`precompute.pool`), or on a cluster (`ray_executor`).

All give the same outcomes for the same units. A unit that raises is tried again in portions of one result;
a result that fails alone is recorded with its reason. A worker that dies, by whatever signal, is replaced.
"""

from __future__ import annotations

import importlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from engine.errors import EngineError, ModelFilesError
from precompute.units import Outcome, Unit

Perform = Callable[[Unit], Outcome]

MAX_WORKERS = {"pool": 64, "ray": 1024}
MAX_REASON_CHARACTERS = 300
DEATHS_IN_A_ROW = 16  # with nothing finished in between: not one clip's fault
_FOLDERS = re.compile(r"(/[^\s/:'\"]+)+/")


class ExecutorError(EngineError):
    """Work cannot go on; the message says what to try."""


class Executor(AbstractContextManager["Executor"], Protocol):
    """Works on units in any order."""

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Yield outcomes as they come; together they hold one row for every key.

        Raises:
            EngineError: something that no item is to blame for, such as missing weights.
        """
        ...


def attempt(perform: Perform, unit: Unit) -> Outcome:
    """Return what the unit yields; where it raises, each of its results is tried again alone.

    Raises:
        ModelFilesError: weights are missing or damaged, so nothing would succeed.
    """
    try:
        return perform(unit)
    except ModelFilesError:
        raise
    except Exception:  # whatever an item does to a library; `_alone` records what it was
        outcomes = [_alone(perform, single) for single in unit.alone()]
    findings = {who: found for outcome in outcomes for who, found in outcome.findings.items()}
    return Outcome(tuple(row for outcome in outcomes for row in outcome.rows), findings)


def _alone(perform: Perform, unit: Unit) -> Outcome:
    try:
        return perform(unit)
    except ModelFilesError:
        raise
    except Exception as error:
        return unit.failed(reason_of(error))


def reason_of(error: Exception) -> str:
    """Return one line fit for a table: no folders of this machine, not long."""
    text = " ".join(_FOLDERS.sub("", str(error)).split())
    named = text if isinstance(error, EngineError) else f"{type(error).__name__}: {text}"
    return named[:MAX_REASON_CHARACTERS]


def perform_named(name: str) -> Perform:
    """Return the function that "package.module:function" names; its module is imported now."""
    module, _, function = name.partition(":")
    found: Perform = getattr(importlib.import_module(module), function)
    return found


class Deaths:
    """Judges units whose worker died at them, so that none is tried for ever."""

    def __init__(self) -> None:
        self._of_key: Counter[str] = Counter()
        self._in_a_row = 0

    def end_row(self) -> None:
        """Note that something was finished: workers do live here."""
        self._in_a_row = 0

    def count(self, ended: str) -> None:
        """Count a worker's death.

        Raises:
            ExecutorError: worker after worker dies and nothing is finished.
        """
        self._in_a_row += 1
        if self._in_a_row > DEATHS_IN_A_ROW:
            raise ExecutorError(f"Worker processes end at once ({ended}); try --executor inline.")

    def after(self, unit: Unit, ended: str) -> Outcome | Sequence[Unit]:
        """Count the death of a worker at this unit; return its results to be tried alone.

        A result that has now ended two workers has failed: the outcome says so. Raises as `count`.
        """
        self.count(ended)
        self._of_key.update(unit.keys)
        if max(self._of_key[key] for key in unit.keys) < 2:
            return unit.alone()
        return unit.failed(f"the process that worked on it was ended ({ended})")


class InlineExecutor:
    """Works in this process, one unit after another."""

    def __init__(self, perform: str) -> None:
        self._perform = perform_named(perform)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        """Yield outcomes in the order of the units."""
        for unit in units:
            yield attempt(self._perform, unit)


def n_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def n_workers_of(kind: str, asked: int | None, address: str | None = None) -> int:
    """Return how many units are worked on at a time: a worker for each core of this machine unless told otherwise.

    Raises:
        ExecutorError: a number out of range; an address without Ray, or without a number.
    """
    most = MAX_WORKERS.get(kind, MAX_WORKERS["pool"])
    if asked is not None and not 1 <= asked <= most:
        raise ExecutorError(f"The number of workers is {asked}; give 1 to {most}.")
    if address is not None and kind != "ray":
        raise ExecutorError("An --address is a Ray cluster's; add --executor ray.")
    if address is not None and asked is None:
        raise ExecutorError("Say with --workers how many processes this run may have on the cluster.")
    return 1 if kind == "inline" else asked or min(n_cores(), most)


def make_executor(kind: str, n_workers: int, perform: str, address: str | None = None) -> Executor:
    """Return the executor called "inline", "pool" or "ray", which is at `address` or starts a cluster here."""
    if kind == "inline":
        return InlineExecutor(perform)
    # Both build on this file.
    if kind == "ray":
        from precompute.ray_executor import RayExecutor

        return RayExecutor(perform, n_workers, address)
    from precompute.pool import PoolExecutor

    return PoolExecutor(perform, n_workers)
