"""A Ray cluster as a run finds it: what its nodes have, and whether they run the same code.

Nodes import the code themselves: the checkout must lie at the same path on each, as must models and recordings.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from precompute.executors import ExecutorError, n_cores

API = "api"  # nodes started with this resource may ask services
CHECKOUT = Path(__file__).resolve().parents[1]
OBJECT_STORE_BYTES = 200_000_000  # of a cluster started here: units and outcomes are small
ANSWER_S = 10.0
PROBE_S = 120.0


@dataclass(frozen=True)
class Cluster:
    """What actors are placed by.

    Attributes:
        ray: the library, connected.
        n_threads: cores for each actor.
        device_gb: memory of the smallest GPU; 0 without GPUs, NaN where none would tell.
    """

    ray: Any
    n_threads: int
    device_gb: float

    def nodes(self) -> dict[str, Mapping[str, float]]:
        """Return what each living node has: its id -> resource -> amount."""
        return {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}

    def has_room(self, wanted: Mapping[str, float]) -> bool:
        """Return whether a node has these resources, free or taken."""
        return any(
            all(node.get(name, 0) >= amount for name, amount in wanted.items())
            for node in self.nodes().values()
        )


def connect(address: str | None, n_workers: int) -> Cluster:
    """Connect to the cluster at `address`, or start one on this machine.

    Raises:
        ExecutorError: Ray is not installed; no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray starts a cluster
    try:
        import ray
    except ImportError as error:
        raise ExecutorError("Ray is not installed; run pip install -r requirements-cluster.txt.") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=max(n_cores(), n_workers),
                resources={API: n_workers},
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        else:
            _check_answers(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises whatever its parts raise
        where = f"at {address}" if address else "on this machine"
        raise ExecutorError(
            f"No Ray cluster can be reached {where} ({type(error).__name__}); run this on one of its nodes, "
            "or leave --address out."
        ) from error
    found = Cluster(ray, 1, 0.0)
    cores = [int(node.get("CPU", 0)) for node in found.nodes().values()]
    with_gpus = [name for name, node in found.nodes().items() if node.get("GPU")]
    return Cluster(ray, threads_each(cores, n_workers), _smallest_gpu_gb(ray, with_gpus))


def _check_answers(address: str) -> None:
    """Raise an OSError or a ValueError unless something listens there: Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def threads_each(cores: Sequence[int], n_workers: int) -> int:
    """Return the most threads with which `n_workers` processes fit on nodes of so many cores; 1 if none do."""
    fitting = (n for n in range(1, max(cores, default=1) + 1) if sum(c // n for c in cores) >= n_workers)
    return max(fitting, default=1)


def start_here(ray: Any, actor: type) -> Any:
    """Start an actor on the driver's node: it lives as long as the run does, and no core is kept for it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(actor).options(**options).remote()


def _smallest_gpu_gb(ray: Any, nodes: Sequence[str]) -> float:
    """Ask each node that has GPUs for their memory."""
    if not nodes:
        return 0.0
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        ray.remote(gpu_gb_here)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote()
        for node in nodes
    ]
    try:
        said: list[float] = ray.get(asked, timeout=PROBE_S)
    except ray.exceptions.RayError:
        return math.nan
    return math.nan if any(map(math.isnan, said)) else min(said)


def gpu_gb_here() -> float:
    """Return the memory of this machine's smallest GPU in GB, NaN where torch sees none."""
    import torch

    sizes = [
        torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())
    ]
    return min(sizes, default=math.nan) / 1e9


@cache
def code_hash() -> str:
    """Return a sha256 over the code that results depend on, as it lies on this machine."""
    digest = hashlib.sha256()
    for file in sorted(file for room in ("engine", "precompute") for file in (CHECKOUT / room).rglob("*.py")):
        digest.update(str(file.relative_to(CHECKOUT)).encode() + file.read_bytes())
    return digest.hexdigest()
