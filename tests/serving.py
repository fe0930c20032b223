"""Real servers for tests: ``vsearch serve`` as a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[1]


class Server:
    """One ``vsearch serve``; use it as a context manager.

    Args:
        index: the index directory.
        arguments: more of the command line.
        port: 0 takes a free one.
        environment: more variables.
    """

    program: tuple[str, ...] = ("-m", "vsearch")

    def __init__(self, index: Path, *arguments: str, port: int = 0, **environment: str) -> None:
        command = ["serve", "--index", str(index), "--port", str(port), *arguments]
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("VSEARCH_")}
        self.process = subprocess.Popen(
            [sys.executable, *self.program, *command],
            cwd=ROOT,
            env={**inherited, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://\S+:(\d+)", line)
        if found is None:
            raise AssertionError(line + self.process.communicate()[1])
        self.url = found[0]
        self.port = int(found[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def http(self, **options: Any) -> httpx.Client:
        """A plain HTTP client of it."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def kill(self) -> None:
        """SIGKILL: no time to clean up."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """SIGTERM, as a service manager would; returns what it wrote to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[1] or ""


class GraphServer(Server):
    """A server that answers from the collection, however small the index is."""

    program = (
        "-c",
        "import vsearch.answering; vsearch.answering.SCAN_BYTES = 0; from vsearch.cli import main; main()",
    )


def eventually(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``condition()`` is true; for what happens soon, but not at once."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(0.05)
