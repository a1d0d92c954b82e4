"""Facts about workers, the same for all: every key comes back once, failures are tried alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engine.errors import EngineError, ModelFilesError
from engine.systems.profiles import profile_in_use
from engine.systems.weights import folder_of
from precompute.jobs import Batch, Job, ModelKey, Outcome, batches_of
from precompute.store import ResultRow, Store
from precompute.workers import PoolWorkers, Workers, WorkersError, make_workers, n_workers_of, reason_of

PERFORM = "tests.precompute.test_workers:perform"
LLAMA = "llama-3.2-1b-instruct"


def words_batch(words: Sequence[str], notes: Path, model: str = "") -> Batch:
    """Return words to be said; what a word does, its own name says. Notes are taken of how often it was tried."""
    return Batch(tuple(Job("read", word, model) for word in words), notes)


def perform(batch: Batch) -> Outcome:
    notes: Path = batch.shared
    for word in batch.keys:
        with (notes / word).open("a") as file:
            file.write(f"{len(batch.jobs)}\n")
        times = len((notes / word).read_text().split())
        if word.startswith("raise") or (word.startswith("once") and times == 1):
            raise ValueError(f"{word} at /tmp/somewhere/deep/file.py")
        if word.startswith("kill") or (word.startswith("die-once") and times == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if word.startswith("weights"):
            raise ModelFilesError("The weights are gone.")
        if word.startswith("sleep"):
            time.sleep(60)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    rows = tuple(job.row(text=f"{job.key}!") for job in batch.jobs)
    placed = f"{profile_in_use()}, {folder_of(LLAMA)}"
    return Outcome(rows, {"threads": threads, "process": str(os.getpid()), "placed": placed})


Start = Callable[[int], Workers]


def start_of(kind: str, request: pytest.FixtureRequest) -> Start:
    address = request.getfixturevalue("ray_address") if kind == "ray" else None
    return lambda n_workers: make_workers(kind, n_workers, PERFORM, address)


RAY = pytest.param("ray", marks=pytest.mark.slow)


@pytest.fixture(params=["inline", "pool", RAY])
def start(request: pytest.FixtureRequest) -> Start:
    return start_of(request.param, request)


@pytest.fixture(params=["pool", RAY])
def start_processes(request: pytest.FixtureRequest) -> Start:
    """Workers that are other processes."""
    return start_of(request.param, request)


def rows_of(start: Start, batches: Sequence[Batch], n_workers: int = 2) -> dict[str, ResultRow]:
    with start(n_workers) as working:
        rows = [row for outcome in working.run(batches) for row in outcome.rows]
    found = {row.key: row for row in rows}
    assert len(found) == len(rows) and found.keys() == {key for batch in batches for key in batch.keys}
    return found


def test_every_key_comes_back_once(start: Start, tmp_path: Path) -> None:
    batches = [words_batch((f"a{i}", f"b{i}"), tmp_path) for i in range(7)]
    assert all(row.text == f"{key}!" for key, row in rows_of(start, batches).items())
    assert rows_of(start, []) == {}


def test_the_same_workers_take_several_stages(start: Start, tmp_path: Path) -> None:
    with start(2) as working:
        first = [o.findings["process"] for o in working.run([words_batch(("a",), tmp_path)])]
        second = [o.findings["process"] for o in working.run([words_batch(("b",), tmp_path)])]
    assert first == second, "what a worker has loaded it keeps"


def test_a_failed_result_is_tried_again_alone_and_spoils_no_other(start: Start, tmp_path: Path) -> None:
    portions = (("good", "raise", "fine"), ("once", "also-good"), ("raise-2",))
    rows = rows_of(start, [words_batch(words, tmp_path) for words in portions])
    assert {word for word, row in rows.items() if row.failed} == {"raise", "raise-2"}
    assert rows["raise"].reason == "ValueError: raise at file.py"
    assert (tmp_path / "raise").read_text().split() == ["3", "1"]
    assert (tmp_path / "raise-2").read_text().split() == ["1", "1"]


def test_missing_weights_end_the_run_with_their_sentence(start: Start, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^The weights are gone.$"):
        rows_of(start, [words_batch(("weights",), tmp_path), words_batch(("a",), tmp_path)])


def test_a_worker_that_is_killed_costs_only_the_result_that_kills_it(
    start_processes: Start, tmp_path: Path
) -> None:
    words = ("good", "kill", "fine")
    rows = rows_of(start_processes, [words_batch(words, tmp_path), words_batch(("die-once",), tmp_path)])
    assert [rows[word].failed for word in (*words, "die-once")] == [False, True, False, False]
    assert rows["kill"].reason in {
        f"the process that worked on it was ended ({how})" for how in ("signal 9", "its Ray actor died")
    }
    assert (tmp_path / "kill").read_text().split() == ["3", "1"]


def test_workers_that_never_live_are_given_up(
    start_processes: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("precompute.workers.DEATHS_IN_A_ROW", 3)
    batches = [words_batch((f"kill-{i}",), tmp_path) for i in range(2)]  # each dies twice
    with pytest.raises(
        WorkersError, match=r"end at once \((signal 9|its Ray actor died)\).*--executor inline"
    ):
        rows_of(start_processes, batches, n_workers=1)


def test_a_profile_of_ones_own_reaches_the_workers(
    start_processes: Start, own_profile: str, tmp_path: Path
) -> None:
    with start_processes(1) as working:
        outcomes = list(working.run([words_batch(("a",), tmp_path)]))
    assert [outcome.findings["placed"] for outcome in outcomes] == [own_profile]


def test_leaving_early_ends_the_workers_at_once(start_processes: Start, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - the executor must be left by the error
        with start_processes(2) as working:
            for _ in working.run([words_batch(("a",), tmp_path), words_batch(("sleep",), tmp_path)]):
                raise KeyboardInterrupt
    assert time.monotonic() - began < 20


def test_numbers_of_workers() -> None:
    assert n_workers_of("inline", 5) == 1 and n_workers_of("pool", 3) == 3
    assert n_workers_of("pool", None) >= 1
    for wrong in (0, -1, 65):
        with pytest.raises(WorkersError, match="1 to 64"):
            n_workers_of("pool", wrong)
    assert n_workers_of("ray", 65, "auto") == 65
    with pytest.raises(WorkersError, match="--workers how many"):
        n_workers_of("ray", None, "auto")
    with pytest.raises(WorkersError, match="add --executor ray"):
        n_workers_of("pool", 2, "auto")


def test_a_reason_is_one_line_without_folders() -> None:
    assert reason_of(ModelFilesError("Gone.")) == "Gone."
    assert reason_of(OSError("no /home/me/x/file.wav\n here")) == "OSError: no file.wav here"
    assert len(reason_of(ValueError("x" * 999))) == 300


def test_threads_are_shared_out_and_the_pool_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precompute.workers.n_cores", lambda: 6)
    batches = [words_batch((f"a{i}",), tmp_path) for i in range(12)]
    with PoolWorkers(PERFORM, 2) as working:
        outcomes = list(working.run(batches))
    assert {outcome.findings["threads"] for outcome in outcomes} == {"3"}
    assert str(os.getpid()) not in {outcome.findings["process"] for outcome in outcomes}


def test_a_batch_is_of_one_kind_and_one_model_and_holds_each_key_once(tmp_path: Path) -> None:
    with Store(tmp_path).writing() as store:
        store.add([ResultRow("done", "listen", "one"), ResultRow("failed", "read", "two", status="failed")])
    jobs = [
        *(Job("listen", key, "one") for key in ("done", "a", "b", "a", "c")),
        *(Job(kind, f"{kind} two", "two") for kind in ("listen", "read", "memory", "lens")),
        Job("read", "failed", "two"),
    ]
    batches = batches_of(jobs, Store(tmp_path), 2, "shared")
    assert [batch.keys for batch in batches] == [
        ("a", "b"),
        ("c",),
        ("listen two",),
        ("read two", "failed"),
        ("memory two",),
        ("lens two",),
    ]
    assert {batch.shared for batch in batches} == {"shared"}
    # A text LLM in a speech LLM's folder, and a system measured beside itself, are loaded by themselves.
    assert [batch.model_key for batch in batches[2:]] == [
        ModelKey("two"),
        ModelKey("two", "read"),
        ModelKey("two", "memory"),
        ModelKey("two"),
    ]


def test_a_batch_falls_apart_and_says_what_failed() -> None:
    batch = Batch((Job("read", "a", "x"), Job("read", "b", "x")), "shared")
    assert [single.keys for single in batch.alone()] == [("a",), ("b",)]
    assert {single.shared for single in batch.alone()} == {"shared"}
    rows = batch.failed("no").rows
    assert [(row.key, row.stage, row.who, row.reason, row.failed) for row in rows] == [
        ("a", "read", "x", "no", True),
        ("b", "read", "x", "no", True),
    ]
    assert Batch((Job("listen", "a", "gemini"),)).is_request and not batch.is_request
