"""Facts about work on a cluster: lost nodes, killed drivers and doubled outcomes change no table."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.systems.profiles import PROFILES, Profile, use_profile
from engine.systems.residency import LOADED
from precompute import ray_cluster, ray_executor
from precompute.benchmark import ledger_of, run_plan
from precompute.executors import ExecutorError
from precompute.ledger import LedgerRow
from precompute.placement import Needs
from precompute.ray_executor import RayExecutor
from precompute.units import Load, Outcome, Unit
from tests.precompute import fake_family
from tests.precompute.fake_asking import ASK, assert_two_processes_keep_to_one_rate
from tests.precompute.fake_cluster import cluster_of, wait_for_two
from tests.precompute.fake_family import fake_plan, run_fake, write_models
from tests.precompute.test_executors import LLAMA, WordsUnit
from tests.precompute.test_executors import PERFORM as PERFORM_WORDS
from tests.precompute.test_executors import perform as perform_words
from tests.precompute.whole_runs import (
    assert_nothing_twice,
    assert_same_tables,
    started,
    wait_for_the_ledger,
)

PERFORM = "tests.precompute.test_ray_executor:perform"
HOLD = "tests.precompute.test_ray_executor:hold"
GPU_GB = 80.0


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


def hold(unit: Unit) -> Outcome:
    """Load models that only say that they are so many GB, and tell which are there."""
    rows = []
    for gb in unit.keys:
        LOADED.get(gb, object, name=gb, size=partial(int, float(gb) * 1e9))
        rows.append(LedgerRow(gb, "read", "x", text=" ".join(map(str, LOADED.loaded))))
    return Outcome(tuple(rows))


def perform_together(unit: Unit) -> Outcome:
    """Work once two nodes are at work."""
    import ray

    wait_for_two(unit.models, ray.get_runtime_context().get_node_id())  # type: ignore[attr-defined]
    time.sleep(0.1)
    return fake_family.perform(unit)


def perform_side_by_side(unit: Unit) -> Outcome:
    """Work once two processes are at work, and say when."""
    wait_for_two(unit.notes, str(os.getpid()))  # type: ignore[attr-defined]
    return perform(unit)


def most_at_once(outcomes: list[Outcome]) -> int:
    """Return how many units were worked on at a time, at most."""
    spans = [(float(o.findings["began"]), float(o.findings["ended"])) for o in outcomes]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


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


@pytest.fixture(scope="module")
def mixed() -> Iterator[Any]:
    """A node with a GPU that is only declared, and one that may ask services."""
    with cluster_of({"num_cpus": 3, "num_gpus": 1}, {"num_cpus": 2, "resources": {"api": 1}}) as cluster:
        yield cluster


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


def test_two_actors_share_a_gpu_and_a_third_waits(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_smallest_gpu_gb", lambda *_: GPU_GB)
    half = Needs(gpu_gb=GPU_GB / 2)
    units = [
        WordsUnit((f"{model}{i}",), tmp_path, model) for model in ("one", "two", "three") for i in range(2)
    ]
    by = "tests.precompute.test_ray_executor:perform_side_by_side"
    with RayExecutor(by, 3, mixed.address, needs=lambda load: half) as working:
        outcomes = list(working.run(units))
    assert len(outcomes) == 6 and most_at_once(outcomes) == 2
    assert {outcome.findings["gpu"] for outcome in outcomes} == {"0"}


def test_an_actors_models_keep_within_its_share_of_a_gpu(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 80 GB: two models of 15 GB are there side by side, a third makes room, and one of 45 GB is refused."""
    monkeypatch.setattr(ray_cluster, "_smallest_gpu_gb", lambda *_: GPU_GB)
    half = Needs(gpu_gb=GPU_GB / 2)
    units = [WordsUnit((gb,), tmp_path) for gb in ("15", "15.1", "15.2", "45")]
    with RayExecutor(HOLD, 1, mixed.address, needs=lambda load: half) as working:
        rows = {row.key: row for outcome in working.run(units) for row in outcome.rows}
    assert [rows[gb].text for gb in ("15", "15.1", "15.2")] == ["15", "15 15.1", "15.1 15.2"]
    assert rows["45"].reason.startswith("45 needs about 41.9 GiB and 36.3 GiB may be used")


def test_a_gpu_that_does_not_tell_its_memory_serves_one_actor(mixed: Any, tmp_path: Path) -> None:
    units = [WordsUnit((model,), tmp_path, model) for model in ("one", "two")]
    with RayExecutor(PERFORM, 2, mixed.address, needs=lambda load: Needs(gpu_gb=1.0)) as working:
        outcomes = list(working.run(units))
    assert len(outcomes) == 2 and most_at_once(outcomes) == 1


def test_services_are_asked_from_the_nodes_that_may(mixed: Any, tmp_path: Path) -> None:
    """One actor for each "api" of the cluster, and none of them is given a GPU."""
    units = [WordsUnit((f"a{i}",), tmp_path, "service") for i in range(4)]
    with RayExecutor(PERFORM, 3, mixed.address, needs=lambda load: Needs(asks_service=True)) as working:
        outcomes = list(working.run(units))
    asking = {node.node_id for node in mixed.worker_nodes}
    assert {outcome.findings["node"] for outcome in outcomes} == asking and most_at_once(outcomes) == 1
    assert {outcome.findings["gpu"] for outcome in outcomes} == {""}


def test_every_node_is_told_the_profile(mixed: Any, own_profile: str, tmp_path: Path) -> None:
    """One unit for a node with a GPU, one for the node that may ask services."""
    units = [WordsUnit((model,), tmp_path, model) for model in ("here", "service")]
    needs = {"here": Needs(gpu_gb=1.0), "service": Needs(asks_service=True)}
    with RayExecutor(PERFORM, 2, mixed.address, needs=lambda load: needs[load.model]) as working:
        outcomes = list(working.run(units))
    assert len({outcome.findings["node"] for outcome in outcomes}) == 2
    assert {outcome.findings["placed"] for outcome in outcomes} == {own_profile}


def test_a_folder_of_the_profile_that_a_node_lacks_is_one_sentence(ray_address: str, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    use_profile(Profile("own", "mine", (), (), folders={LLAMA: tmp_path / "weights"}))
    (tmp_path / "weights").rmdir()  # all nodes of the tests are this machine
    try:
        with (
            pytest.raises(
                ExecutorError, match=rf"^On \S+: The profile's folder for {LLAMA} does not exist; mend"
            ),
            RayExecutor(PERFORM_WORDS, 1, ray_address) as working,
        ):
            list(working.run([WordsUnit(("a",), tmp_path)]))
    finally:
        use_profile(PROFILES["mini"])


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
