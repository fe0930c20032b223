"""A Ray cluster of two nodes on this machine, on addresses that nothing outside it can reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

# Not 127.0.0.1, which Ray replaces by the machine's own address.
HOST = "127.0.0.2"
_NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "node_ip_address": HOST,
    "include_dashboard": False,
}


class TwoNodes:
    """The head, which stays, and a second node, which can be taken away and put back."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=_NODE)
        self._second: Any = None
        self.add_second()

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the head."""
        return str(self._cluster.address)

    def add_second(self) -> None:
        """Start the second node, unless it is there."""
        if self._second is None:
            self._second = self._cluster.add_node(**_NODE)

    def kill_second(self) -> None:
        """Kill the second node and its workers."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def working_on_second(self) -> list[psutil.Process]:
        """The second node's processes that run a task right now, by the title that Ray gives them."""
        if self._second is None:
            return []
        (raylet,) = self._second.all_processes["raylet"]
        workers = psutil.Process(raylet.process.pid).children(recursive=True)
        return [worker for worker in workers if _title(worker).startswith("ray::_read")]

    def close(self) -> None:
        """Stop all of it."""
        self._cluster.shutdown()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """A running cluster; without usage statistics."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = TwoNodes()
    try:
        yield cluster
    finally:
        cluster.close()
