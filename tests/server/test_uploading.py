"""Uploads and requests that would cost a server too much: bounded, refused, given up."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
import time
import zlib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import vsearch
from tests import album
from tests.serving import Server, eventually
from vsearch.server.connections import HEAD_BYTES
from vsearch.server.problems import Problem
from vsearch.server.uploading import Uploading

FORM = [(b"content-type", b"multipart/form-data; boundary=x")]


def strip(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 49_999_999), (49_999_999, 1)])
def test_a_strip_of_pixels_is_no_photo(server: Server, size: tuple[int, int]) -> None:
    with server.http() as http:
        answer = http.post("/api/v1/query/upload", files={"image": strip(*size)})
    assert answer.status_code == 422
    assert "side longer than" in answer.json()["detail"]


def test_a_long_thin_picture_is_answered_soon(server: Server) -> None:
    file = io.BytesIO()
    Image.new("L", (3, 400_000)).save(file, "PNG")
    with server.http() as http:
        assert http.post("/api/v1/query/upload", files={"image": file.getvalue()}).status_code == 200


def scope_of(path: str, length: int) -> dict[str, Any]:
    length_header = (b"content-length", str(length).encode())
    return {"type": "http", "method": "POST", "path": path, "headers": [*FORM, length_header]}


class Answering:
    """An application whose answers take until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Client:
    """A client that sends its body at once, and leaves when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.sent = False

    async def receive(self) -> dict[str, Any]:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": b"x", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        pass


def test_what_nobody_waits_for_any_more_is_given_up_but_for_photos_to_add() -> None:
    async def leave(path: str) -> int:
        app, client = Answering(), Client()
        call = asyncio.create_task(Uploading(app, 100, 800)(scope_of(path, 50), client.receive, client.send))
        await asyncio.sleep(0.05)
        client.left.set()
        await asyncio.sleep(0.05)
        app.go.set()
        await call
        return app.cancelled

    assert asyncio.run(leave("/api/v1/query/upload")) == 1
    assert asyncio.run(leave("/api/v1/photos")) == 0


def test_uploads_under_way_have_a_bound_together() -> None:
    async def crowd() -> None:
        app = Answering()
        uploading = Uploading(app, 100, 250)

        def upload() -> Coroutine[Any, Any, None]:
            client = Client()
            return uploading(scope_of("/api/v1/query/upload", 100), client.receive, client.send)

        calls = [asyncio.create_task(upload()) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as caught:
            await upload()
        assert caught.value.status_code == 503
        app.go.set()
        await asyncio.gather(*calls)
        await upload()

    asyncio.run(crowd())


@pytest.mark.parametrize("piece", [b"X: " + b"a" * 4096, b"a" * 4096 + b": 1\r\n"])
def test_a_head_without_end_is_refused(server: Server, piece: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(OSError):
            for _ in range(40 * HEAD_BYTES // len(piece)):
                connection.sendall(piece)
                time.sleep(0.0005)
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200


def test_a_client_skips_what_is_too_large_and_sends_the_rest(index: vsearch.Index, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    album.write(large, 71)
    large.write_bytes(large.read_bytes() + bytes(2**20))
    small = album.write(tmp_path / "small.png", 72)
    with (
        Server(index.path, "--allow-add", "--max-upload", "1") as server,
        vsearch.connect(server.url) as client,
    ):
        report = client.add(large, small)
    assert report.added == 1
    assert [(skipped.path, "larger than 1 MiB" in skipped.reason) for skipped in report.skipped] == [
        (str(large), True)
    ]


def test_a_truncated_photo_is_neither_kept_nor_renamed(index: vsearch.Index, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    Image.effect_noise((400, 300), 80).save(broken)
    broken.write_bytes(broken.read_bytes()[:5000])
    good = album.write(tmp_path / "good.png", 73)
    with Server(index.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        report = client.add(broken, good)
        assert client.status().failed == 0
    assert report.added == 1
    assert [(skipped.path, skipped.reason) for skipped in report.skipped] == [(str(broken), "truncated JPEG")]
    assert len([path for path in tmp_path.rglob("vsearch uploads/*/*")]) == 1


def test_nothing_is_saved_where_no_disk_is_mounted(
    index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    data = album.write(tmp_path / "new.png", 74).read_bytes()
    elsewhere = vsearch.Index.create(tmp_path / "elsewhere", encoder=index.path / "encoder")
    elsewhere.add(photos)
    with Server(elsewhere.path, "--allow-add") as server, server.http() as http:
        photos.rename(tmp_path / "unmounted")
        answer = http.post("/api/v1/photos", files={"file": data})
        assert answer.status_code == 507
        assert "not there" in answer.json()["detail"]
        assert not photos.exists()


def test_duplicates_may_be_asked_for_at_once(index: vsearch.Index) -> None:
    def ask(_: int) -> int:
        url = f"{server.url}/api/v1/duplicates"
        return httpx.get(url, timeout=60, trust_env=False).status_code

    with Server(index.path) as server, server.http() as http, ThreadPoolExecutor(4) as pool:
        for left in (11, 10, 9):
            index.remove(index.path_of(next(index.photos())))
            eventually(lambda left=left: http.get("/api/v1/status").json()["photos"] == left)
            assert list(pool.map(ask, range(4))) == [200] * 4


def test_the_one_to_keep_of_equal_duplicates_is_the_one_that_was_named(
    index: vsearch.Index, photos: Path
) -> None:
    first = Path(index.path_of(next(index.photos())))
    twin = first.with_name("zz-twin.png")
    twin.write_bytes(first.read_bytes())
    index.add(twin)
    with Server(index.path) as server, server.http() as http:
        for path in (first, twin):
            (photo,) = (p for p in index.photos() if Path(index.path_of(p)) == path)
            decided = {"what": "keep", "photos": [str(photo.id)]}
            assert http.post("/api/v1/duplicates/decisions", json=decided).status_code == 201
            groups = http.get("/api/v1/duplicates?kind=identical", timeout=60).json()["groups"]
            assert [(group["keep"], group["why"]) for group in groups] == [(str(photo.id), "you decided so")]


def test_a_decision_that_cannot_be_made_or_undone_says_why(server: Server) -> None:
    both = {"what": "keep", "photos": ["1", "2"]}
    with server.http() as http:
        answer = http.post("/api/v1/duplicates/decisions", json=both)
        assert (answer.status_code, answer.json()["detail"]) == (
            422,
            "body: keep is decided about one photo, not-duplicates about two",
        )
        answer = http.delete("/api/v1/duplicates/decisions/01234567")
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no decision 01234567")
