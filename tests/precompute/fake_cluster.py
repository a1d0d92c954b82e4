"""Ray clusters of this machine alone: every node is some processes of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Node = Mapping[str, Any]


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
        for node in nodes:
            cluster.add_node(include_dashboard=False, **node)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before
