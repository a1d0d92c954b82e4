"""Ray clusters of this machine alone: every node is some processes of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Node = Mapping[str, Any]
# By default it takes Ray over ten seconds to find that a node is gone.
QUICK_TO_SEE = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}


def wait_for_two(folder: Path, mark: str) -> None:
    """Leave a mark and wait until there are two: on a slow machine one would be done before another came."""
    (folder / f"at-work-{mark}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("at-work-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)


@contextmanager
def cluster_of(*nodes: Node) -> Iterator[Any]:
    """Start a cluster; the first node is the head, on which the driver is."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # 15 by default: beside other work on two cores its workers would starve.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling
    from ray.cluster_utils import Cluster

    # Short, for sockets lie in it; its own, for Ray notes there which cluster is the latest.
    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = folder
    cluster = Cluster()
    try:
        for index, node in enumerate(nodes):
            config = {} if index else {"_system_config": QUICK_TO_SEE}
            cluster.add_node(include_dashboard=False, **config, **node)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
