"""Facts about a cluster as a run finds it: threads, code, and one sentence where there is none."""

from __future__ import annotations

import os
import sys

import pytest

from precompute import ray_cluster
from precompute.executors import ExecutorError
from precompute.ray_cluster import connect, threads_each


@pytest.mark.parametrize(
    ("cores", "n_workers", "threads"),
    [
        ([2], 2, 1),
        ([6], 2, 3),
        ([8], 3, 2),
        ([4, 4], 2, 4),
        ([3, 3, 3], 4, 1),  # two threads each would leave room for three
        ([0, 16], 4, 4),  # a head that takes no work
        ([2], 5, 1),
        ([], 1, 1),
    ],
)
def test_threads_are_shared_out_over_nodes(cores: list[int], n_workers: int, threads: int) -> None:
    assert threads_each(cores, n_workers) == threads


def test_a_missing_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ExecutorError, match=r"^Ray is not installed; run pip install -r requirements-cluster"
    ):
        connect(None, 1)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "ray://127.0.0.1:9"])
def test_no_cluster_at_an_address_is_one_sentence(address: str) -> None:
    with pytest.raises(ExecutorError, match=rf"^No Ray cluster can be reached at {address} "):
        connect(address, 1)


def test_statistics_of_use_are_off(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    cluster = connect(ray_address, 2)
    try:
        from ray._common.usage.usage_lib import usage_stats_enabled

        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and not usage_stats_enabled()
        assert (cluster.n_threads, cluster.device_gb) == (1, 0.0)
        assert cluster.has_room({"CPU": 2, "api": 1}) and not cluster.has_room({"CPU": 3})
    finally:
        cluster.ray.shutdown()


def test_the_hash_of_the_code_follows_the_code(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "CHECKOUT", tmp_path)
    (tmp_path / "engine").mkdir()
    file = tmp_path / "engine" / "lens.py"

    def hash_with(text: str) -> str:
        file.write_text(text)
        return ray_cluster.code_hash.__wrapped__()

    assert hash_with("a = 1\n") == hash_with("a = 1\n") != hash_with("a = 2\n")
