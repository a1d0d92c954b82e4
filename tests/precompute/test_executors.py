"""Facts about executors, the same for all: every key comes back once, failures are tried alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.errors import EngineError, ModelFilesError
from engine.systems.profiles import profile_in_use, settings_in_use
from engine.systems.weights import folder_of
from precompute.executors import Executor, ExecutorError, make_executor, n_workers_of, reason_of
from precompute.ledger import LedgerRow
from precompute.units import Load, Outcome, Unit

PERFORM = "tests.precompute.test_executors:perform"
LLAMA = "llama-3.2-1b-instruct"


@dataclass(frozen=True)
class WordsUnit:
    """Words to be said; what a word does, its own name says."""

    words: tuple[str, ...]
    notes: Path
    model: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.words

    def alone(self) -> Sequence[WordsUnit]:
        return [replace(self, words=(word,)) for word in self.words]

    def by_load(self) -> Mapping[Load, WordsUnit]:
        return {Load(self.model): self}

    def failed(self, reason: str) -> Outcome:
        return Outcome(tuple(LedgerRow(w, "read", "x", status="failed", reason=reason) for w in self.words))


def perform(unit: Unit) -> Outcome:
    assert isinstance(unit, WordsUnit)
    for word in unit.words:
        with (unit.notes / word).open("a") as file:
            file.write(f"{len(unit.words)}\n")
        times = len((unit.notes / word).read_text().split())
        if word.startswith("raise") or (word.startswith("once") and times == 1):
            raise ValueError(f"{word} at /tmp/somewhere/deep/file.py")
        if word.startswith("kill") or (word.startswith("die-once") and times == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if word.startswith("weights"):
            raise ModelFilesError("The weights are gone.")
        if word.startswith("sleep"):
            time.sleep(60)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    rows = tuple(LedgerRow(word, "read", "x", text=f"{word}!") for word in unit.words)
    placed = f"{profile_in_use().key}, {settings_in_use()}, {folder_of(LLAMA)}"
    return Outcome(rows, {"threads": threads, "process": str(os.getpid()), "placed": placed})


Start = Callable[[int], Executor]


def start_of(kind: str, request: pytest.FixtureRequest) -> Start:
    address = request.getfixturevalue("ray_address") if kind == "ray" else None
    return lambda n_workers: make_executor(kind, n_workers, PERFORM, address)


@pytest.fixture(params=["inline", "pool", "ray"])
def start(request: pytest.FixtureRequest) -> Start:
    return start_of(request.param, request)


@pytest.fixture(params=["pool", "ray"])
def start_processes(request: pytest.FixtureRequest) -> Start:
    """Executors whose work is in other processes."""
    return start_of(request.param, request)


def rows_of(start: Start, units: Sequence[WordsUnit], n_workers: int = 2) -> dict[str, LedgerRow]:
    with start(n_workers) as working:
        rows = [row for outcome in working.run(units) for row in outcome.rows]
    found = {row.key: row for row in rows}
    assert len(found) == len(rows) and found.keys() == {key for unit in units for key in unit.keys}
    return found


def test_every_key_comes_back_once(start: Start, tmp_path: Path) -> None:
    units = [WordsUnit((f"a{i}", f"b{i}"), tmp_path) for i in range(7)]
    assert all(row.text == f"{key}!" for key, row in rows_of(start, units).items())
    assert rows_of(start, []) == {}


def test_one_executor_takes_several_stages(start: Start, tmp_path: Path) -> None:
    with start(2) as working:
        first = [o.findings["process"] for o in working.run([WordsUnit(("a",), tmp_path)])]
        second = [o.findings["process"] for o in working.run([WordsUnit(("b",), tmp_path)])]
    assert first == second, "what a worker has loaded it keeps"


def test_a_failed_result_is_tried_again_alone_and_spoils_no_other(start: Start, tmp_path: Path) -> None:
    portions = (("good", "raise", "fine"), ("once", "also-good"), ("raise-2",))
    rows = rows_of(start, [WordsUnit(words, tmp_path) for words in portions])
    assert {word for word, row in rows.items() if row.failed} == {"raise", "raise-2"}
    assert rows["raise"].reason == "ValueError: raise at file.py"
    assert (tmp_path / "raise").read_text().split() == ["3", "1"]
    assert (tmp_path / "raise-2").read_text().split() == ["1", "1"]


def test_missing_weights_end_the_run_with_their_sentence(start: Start, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^The weights are gone.$"):
        rows_of(start, [WordsUnit(("weights",), tmp_path), WordsUnit(("a",), tmp_path)])


def test_a_worker_that_is_killed_costs_only_the_result_that_kills_it(
    start_processes: Start, tmp_path: Path
) -> None:
    words = ("good", "kill", "fine")
    rows = rows_of(start_processes, [WordsUnit(words, tmp_path), WordsUnit(("die-once",), tmp_path)])
    assert [rows[word].failed for word in (*words, "die-once")] == [False, True, False, False]
    assert rows["kill"].reason in {
        f"the process that worked on it was ended ({how})" for how in ("signal 9", "its Ray actor died")
    }
    assert (tmp_path / "kill").read_text().split() == ["3", "1"]


def test_workers_that_never_live_are_given_up(
    start_processes: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("precompute.executors.DEATHS_IN_A_ROW", 3)
    units = [WordsUnit((f"kill-{i}",), tmp_path) for i in range(2)]  # each dies twice
    with pytest.raises(
        ExecutorError, match=r"end at once \((signal 9|its Ray actor died)\).*--executor inline"
    ):
        rows_of(start_processes, units, n_workers=1)


def test_a_profile_of_ones_own_reaches_the_workers(
    start_processes: Start, own_profile: str, tmp_path: Path
) -> None:
    with start_processes(1) as working:
        outcomes = list(working.run([WordsUnit(("a",), tmp_path)]))
    assert [outcome.findings["placed"] for outcome in outcomes] == [own_profile]


def test_leaving_early_ends_the_workers_at_once(start_processes: Start, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - the executor must be left by the error
        with start_processes(2) as working:
            for _ in working.run([WordsUnit(("a",), tmp_path), WordsUnit(("sleep",), tmp_path)]):
                raise KeyboardInterrupt
    assert time.monotonic() - began < 20


def test_numbers_of_workers() -> None:
    assert n_workers_of("inline", 5) == 1 and n_workers_of("pool", 3) == 3
    assert n_workers_of("pool", None) >= 1
    for wrong in (0, -1, 65):
        with pytest.raises(ExecutorError, match="1 to 64"):
            n_workers_of("pool", wrong)
    assert n_workers_of("ray", 65, "auto") == 65
    with pytest.raises(ExecutorError, match="--workers how many"):
        n_workers_of("ray", None, "auto")
    with pytest.raises(ExecutorError, match="add --executor ray"):
        n_workers_of("pool", 2, "auto")


def test_a_reason_is_one_line_without_folders() -> None:
    assert reason_of(ModelFilesError("Gone.")) == "Gone."
    assert reason_of(OSError("no /home/me/x/file.wav\n here")) == "OSError: no file.wav here"
    assert len(reason_of(ValueError("x" * 999))) == 300
