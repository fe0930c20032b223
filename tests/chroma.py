"""Real Chroma servers for tests: ``chroma run`` as a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx

from vsearch.collection import Batch, Changes, ChromaServer


class ChromaProcess:
    """One ``chroma run``; use it as a context manager.

    Args:
        folder: where it keeps its data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, again on the same port, and wait until it answers."""
        program = Path(sysconfig.get_path("scripts"), "chroma")
        place = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [program, "run", *place],
            cwd=self.folder.parent,
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not self._is_up():
            assert self.process.poll() is None, "chroma run has ended"
            assert time.monotonic() < deadline, "chroma run does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def wipe(self) -> None:
        """Stop it, remove its data, and start it empty."""
        self.stop()
        shutil.rmtree(self.folder)
        self.start()

    def collections(self) -> dict[str, int]:
        """The collections, and how many records each has."""
        with ChromaServer(self.url).client() as client:
            return {photos.name: photos.count() for photos in client.list_collections()}

    def delete(self, name: str) -> None:
        """Delete one collection behind the index's back."""
        with ChromaServer(self.url).client() as client:
            client.delete_collection(name)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v2/heartbeat", trust_env=False).is_success
        except httpx.TransportError:
            return False


class Truth:
    """A catalog in miniature: what was put and removed, by sequence; the source of generations.

    Args:
        part_ids: how many ids share a part.
    """

    def __init__(self, part_ids: int = 1_000_000) -> None:
        self._part_ids = part_ids
        self.identity = uuid.uuid4().hex
        self.sequence = 0
        self._put: list[tuple[int, Batch]] = []
        self._removed: dict[str, int] = {}

    def put(self, batch: Batch) -> None:
        """Add rows, or replace them."""
        self.sequence += 1
        self._put.append((self.sequence, batch))
        for row in batch.ids:
            self._removed.pop(row, None)

    def remove(self, *ids: str) -> None:
        """Take rows out."""
        self.sequence += 1
        self._removed |= dict.fromkeys(ids, self.sequence)

    def since(self, sequence: int) -> list[Changes]:
        """What :meth:`vsearch.collection.Generations.publish` asks for."""
        changed = [row for number, batch in self._put if number > sequence for row in batch.ids]
        gone = [row for row, number in self._removed.items() if sequence and number > sequence]
        parts = {self._part(row) for row in [*changed, *gone]}
        return [self._changes(sequence, part, gone) for part in sorted(parts)]

    def _changes(self, sequence: int, part: int, gone: list[str]) -> Changes:
        newest = {row: number for number, batch in self._put for row in batch.ids}
        batches = []
        for number, batch in self._put:
            rows = [
                n
                for n, i in enumerate(batch.ids)
                if self._part(i) == part and newest[i] == number and i not in self._removed
            ]
            if number > sequence and rows:
                ids, metadatas = [batch.ids[n] for n in rows], [batch.metadatas[n] for n in rows]
                batches.append(Batch(ids, batch.vectors[rows], metadatas))
        count = sum(len(batch.ids) for batch in batches)
        return Changes(batches, count, [row for row in gone if self._part(row) == part], part)

    def _part(self, row: str) -> int:
        return int(row) // self._part_ids if row.isdecimal() else 0


class Proxy(ThreadingHTTPServer):
    """A reverse proxy that lets nobody through without the token, if there is one, and no larger bodies."""

    def __init__(self, target: str, token: str | None, limit: int | None) -> None:
        self.target, self.token, self.limit = target, token, limit
        self.seen: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Forward)
        self.url = f"http://127.0.0.1:{self.server_port}/chroma"


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        assert isinstance(self.server, Proxy)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        given = self.headers.get("Authorization")
        self.server.seen.append(given)
        if self.server.token is not None and given != f"Bearer {self.server.token}":
            self._answer(401, b"who are you?", "text/plain")
            return
        if self.server.limit is not None and len(body) > self.server.limit:
            self._answer(
                413, b"<html>\n<head><title>413 Request Entity Too Large</title></head>", "text/html"
            )
            return
        address = self.server.target + self.path.removeprefix("/chroma")
        with httpx.Client(trust_env=False, timeout=60) as client:
            done = client.request(
                self.command, address, content=body, headers={"Content-Type": "application/json"}
            )
        self._answer(done.status_code, done.content, done.headers["Content-Type"])

    do_GET = do_POST = do_DELETE = do_PUT = _forward

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def proxied(target: str, *, token: str | None = None, limit: int | None = None) -> Iterator[Proxy]:
    """A proxy before ``target`` that is at work; ``limit`` in bytes."""
    with Proxy(target, token, limit) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
