"""Facts about work on a cluster: lost nodes, killed drivers and doubled outcomes change no table."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from precompute import ray_executor
from precompute.benchmark import ledger_of, run_plan
from precompute.executors import ExecutorError
from precompute.ledger import LedgerRow
from precompute.ray_executor import RayExecutor
from precompute.units import Load, Outcome, Unit
from tests.precompute import fake_family
from tests.precompute.fake_asking import ASK, assert_two_processes_keep_to_one_rate
from tests.precompute.fake_cluster import cluster_of, wait_for_two
from tests.precompute.fake_family import fake_plan, run_fake, write_models
from tests.precompute.test_executors import PERFORM as PERFORM_WORDS
from tests.precompute.test_executors import WordsUnit
from tests.precompute.test_executors import perform as perform_words
from tests.precompute.whole_runs import (
    assert_nothing_twice,
    assert_same_tables,
    started,
    wait_for_the_ledger,
)

PERFORM = "tests.precompute.test_ray_executor:perform"


def perform(unit: Unit) -> Outcome:
    """Work for half a second and say when, where, and on which GPU."""
    import ray

    began = time.time()
    done = perform_words(unit)
    time.sleep(0.5)
    facts = {
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
        "node": ray.get_runtime_context().get_node_id(),
        "began": str(began),
        "ended": str(time.time()),
    }
    return Outcome(done.rows, {**done.findings, **facts})


def perform_together(unit: Unit) -> Outcome:
    """Work once two nodes are at work."""
    import ray

    wait_for_two(unit.models, ray.get_runtime_context().get_node_id())  # type: ignore[attr-defined]
    time.sleep(0.1)
    return fake_family.perform(unit)


class Wrapped:
    """An executor whose outcomes are handed on by a function of its own."""

    def __init__(self, inner: RayExecutor, hand_on: Callable[[Iterable[Outcome]], Iterator[Outcome]]) -> None:
        self._inner = inner
        self._hand_on = hand_on

    def __enter__(self) -> Wrapped:
        self._inner.__enter__()
        return self

    def __exit__(self, *fault: object) -> None:
        self._inner.__exit__(*fault)

    def run(self, units: Iterable[Unit]) -> Iterator[Outcome]:
        return self._hand_on(self._inner.run(units))


def test_a_node_that_is_removed_in_a_run_costs_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes: the driver's, and two with a core each; one of the two goes while it is at work."""
    monkeypatch.setattr(ray_executor, "PATIENCE_S", 0.2)  # what is left has room for one actor at a time
    gone: list[str] = []
    with cluster_of({"num_cpus": 0}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        inner = RayExecutor("tests.precompute.test_ray_executor:perform_together", 2, cluster.address)

        def remove_one(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
            for outcome in outcomes:
                yield outcome
                busy = {actor.node for actor in inner._actors if actor.unit}
                for node in [node for node in cluster.worker_nodes if node.node_id in busy and not gone]:
                    gone.append(node.node_id)
                    cluster.remove_node(node, allow_graceful=False)

        plan, out = fake_plan(write_models(tmp_path / "models")), tmp_path / "out"
        report = run_plan(plan, out, Wrapped(inner, remove_one), sys.stderr)
        assert len(gone) == 1 and len(cluster.list_all_nodes()) == 2
    assert report.n_failed == 0
    assert_nothing_twice(out)
    assert_same_tables(out, undisturbed)


@pytest.mark.parametrize(("first", "then"), [("inline", "ray"), ("ray", "inline")])
def test_a_killed_run_goes_on_with_another_executor(
    first: str, then: str, ray_address: str, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    process = started(tmp_path, models, first, ray_address)
    wait_for_the_ledger(process, tmp_path)
    deadline = time.monotonic() + 60
    while len(ledger_of(tmp_path).rows) < 200 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    n_before = len(ledger_of(tmp_path).rows)
    report = run_fake(fake_plan(models), tmp_path, then, ray_address)
    assert 200 <= n_before < n_before + report.n_made == len(ledger_of(undisturbed).rows)
    assert_nothing_twice(tmp_path)
    assert_same_tables(tmp_path, undisturbed)


def test_an_outcome_delivered_twice_is_written_once(
    ray_address: str, tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    def twice(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            yield outcome
            yield outcome

    doubled = Wrapped(RayExecutor(fake_family.PERFORM, 2, ray_address), twice)
    run_plan(fake_plan(models), tmp_path, doubled, sys.stderr)
    assert_nothing_twice(tmp_path)
    assert_same_tables(tmp_path, undisturbed)


def test_an_actor_killed_from_outside_at_its_work_loses_nothing(ray_address: str, tmp_path: Path) -> None:
    units = [WordsUnit((f"a{i}", f"b{i}"), tmp_path) for i in range(4)]
    killed: list[int] = []
    with RayExecutor(PERFORM, 1, ray_address) as working:
        rows: list[LedgerRow] = []
        for outcome in working.run(units):
            rows += outcome.rows
            if not killed:  # the actor has the next unit by the time this is settled
                killed.append(int(outcome.findings["process"]))
                os.kill(killed[0], signal.SIGKILL)
    assert sorted(row.key for row in rows) == sorted(key for unit in units for key in unit.keys)
    assert not any(row.failed for row in rows)


def test_the_rate_of_a_service_is_that_of_all_actors_together(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_two_processes_keep_to_one_rate(RayExecutor(ASK, 2, ray_address), tmp_path, monkeypatch)


def test_a_cluster_that_may_not_ask_services_is_one_sentence(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "API", "elsewhere")
    unit = WordsUnit(("a",), tmp_path, "gemini")
    with (
        pytest.raises(ExecutorError, match=r"^gemini is a service, and no node .* '\{\"elsewhere\": 1\}'"),
        RayExecutor(PERFORM_WORDS, 1, ray_address) as working,
    ):
        list(working.run([unit]))


def test_what_no_node_can_hold_is_given_up_with_a_sentence(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "NO_ROOM_S", 1.0)
    with RayExecutor(PERFORM_WORDS, 1, ray_address) as working:
        monkeypatch.setattr(working, "_wanted", lambda load: {"CPU": 99})
        with pytest.raises(ExecutorError, match=r"^No node of the cluster has 99 CPU for own-model\.$"):
            list(working.run([WordsUnit(("a",), tmp_path, "own-model")]))


def test_a_node_with_other_code_is_refused(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "code_hash", lambda: "of an older checkout")
    with (
        pytest.raises(ExecutorError, match="runs other code than this one"),
        RayExecutor(PERFORM_WORDS, 1, ray_address) as working,
    ):
        list(working.run([WordsUnit(("a",), tmp_path)]))


def test_work_that_cannot_be_imported_ends_the_run(ray_address: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ExecutorError, match="cannot work: ModuleNotFoundError: No module named 'nowhere'"),
        RayExecutor("nowhere:perform", 1, ray_address) as working,
    ):
        list(working.run([WordsUnit(("a",), tmp_path)]))


@pytest.mark.usefixtures("ray_address")  # which says where Ray may write
def test_a_cluster_is_started_here_without_an_address(
    tmp_path: Path, models: Path, undisturbed: Path
) -> None:
    assert started(tmp_path, models, "ray").wait(120) == 0
    assert_same_tables(tmp_path, undisturbed)


def test_one_actor_for_each_model_and_no_more_than_asked(ray_address: str, tmp_path: Path) -> None:
    """What is loaded once is used for all its units, though they come mixed."""
    units = [WordsUnit((f"{model}{i}",), tmp_path, model) for i in range(6) for model in ("one", "two")]
    with RayExecutor(PERFORM_WORDS, 2, ray_address) as working:
        outcomes = list(working.run(units))
    processes: dict[str, set[str]] = {}
    for outcome in outcomes:
        processes.setdefault(outcome.rows[0].key[:3], set()).add(outcome.findings["process"])
    assert processes["one"].isdisjoint(processes["two"])
    assert len(processes["one"] | processes["two"]) <= 3, (
        "an idle actor may give way to one more of the other"
    )
    assert Load("one") != Load("one", "read")
