"""Facts about who works where on a cluster: shares of a GPU, nodes that may ask services, what every node is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.systems.loading import LOADED
from engine.systems.profiles import PROFILES, Profile, use_profile
from precompute import ray_cluster
from precompute.executors import ExecutorError
from precompute.ledger import LedgerRow
from precompute.placement import Needs
from precompute.ray_executor import RayExecutor
from precompute.units import Outcome, Unit
from tests.precompute.fake_cluster import cluster_of, wait_for_two
from tests.precompute.test_executors import LLAMA, WordsUnit
from tests.precompute.test_executors import PERFORM as PERFORM_WORDS
from tests.precompute.test_ray_executor import PERFORM, perform

HOLD = "tests.precompute.test_ray_placement:hold"
SIDE_BY_SIDE = "tests.precompute.test_ray_placement:perform_side_by_side"
GPU_GB = 80.0


def hold(unit: Unit) -> Outcome:
    """Load models that only say that they are so many GB, and tell which are there."""
    rows = []
    for gb in unit.keys:
        LOADED.get(gb, object, name=gb, size=partial(int, float(gb) * 1e9))
        rows.append(LedgerRow(gb, "read", "x", text=" ".join(map(str, LOADED.loaded))))
    return Outcome(tuple(rows))


def perform_side_by_side(unit: Unit) -> Outcome:
    """Work once two processes are at work, and say when."""
    wait_for_two(unit.notes, str(os.getpid()))  # type: ignore[attr-defined]
    return perform(unit)


def most_at_once(outcomes: list[Outcome]) -> int:
    """Return how many units were worked on at a time, at most."""
    spans = [(float(o.findings["began"]), float(o.findings["ended"])) for o in outcomes]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


@pytest.fixture(scope="module")
def mixed() -> Iterator[Any]:
    """A node with a GPU that is only declared, and one that may ask services."""
    with cluster_of({"num_cpus": 3, "num_gpus": 1}, {"num_cpus": 2, "resources": {"api": 1}}) as cluster:
        yield cluster


def test_two_actors_share_a_gpu_and_a_third_waits(
    mixed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_smallest_gpu_gb", lambda *_: GPU_GB)
    half = Needs(gpu_gb=GPU_GB / 2)
    units = [
        WordsUnit((f"{model}{i}",), tmp_path, model) for model in ("one", "two", "three") for i in range(2)
    ]
    with RayExecutor(SIDE_BY_SIDE, 3, mixed.address, needs=lambda load: half) as working:
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
