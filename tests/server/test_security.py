"""What keeps photos private: a test for each promise of docs/serve.md."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import socket
import struct
import threading
import zlib
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import vsearch
from tests import album
from tests.conftest import Run
from tests.serving import Server
from vsearch.errors import UsageError
from vsearch.server.app import create_app
from vsearch.server.options import Options
from vsearch.server.problems import Problem
from vsearch.server.security import Guard, cookie_of
from vsearch.server.workers import Workers

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(served_index: Path) -> object:
    with Server(
        served_index, "--allow-host", "photos.example", "--max-upload", "1", VSEARCH_TOKEN=TOKEN
    ) as server:
        yield server


# -- where it listens ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "photos.example"])
def test_another_host_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        Options(host=host)
    Options(host=host, token=TOKEN)
    Options(host=host, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_none(host: str) -> None:
    assert Options(host=host).token is None


@pytest.mark.parametrize("token", ["", "short", "with space in the middle", "nön-äscii-charactérs"])
def test_weak_tokens_are_refused(token: str) -> None:
    with pytest.raises(UsageError, match="token"):
        Options(token=token)


def test_the_command_refuses_before_it_listens(command: Run, served_index: Path) -> None:
    done = command("serve", "--index", served_index, "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert b"--insecure" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_one_line(command: Run, served_index: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("serve", "--index", served_index, "--port", str(port))
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr.decode()


def test_no_index_and_no_encoder_are_one_line(command: Run, tmp_path: Path, toy_encoder: Path) -> None:
    done = command("serve", "--port", "0")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    with vsearch.Index.create(tmp_path / "x.vsearch", encoder=toy_encoder) as index:
        (index.path / "encoder" / "encoder.onnx").unlink()
    done = command("serve", "--index", tmp_path / "x.vsearch", "--port", "0")
    assert done.returncode == 2
    assert b"encoder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- token ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["/api/v1/status", "/api/v1/photos/2/thumbnail", "/metrics", "/api/v1/openapi.json"]
)
def test_the_token_is_wanted(guarded: Server, url: str) -> None:
    with guarded.http() as http:
        refused = http.get(url)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (
            http.get(url, headers={"Authorization": "Bearer wrong-token-of-some-length"}).status_code == 401
        )
        assert http.get(url, headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
        assert http.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert http.get(url, headers={"Cookie": f"{cookie_of(TOKEN)}={TOKEN}"}).status_code == 401


def test_the_page_and_health_are_open(guarded: Server) -> None:
    with guarded.http() as http:
        assert http.get("/").status_code == 200
        assert http.get("/healthz").status_code == 200


def test_the_cookie_is_http_only_strict_and_not_the_token(guarded: Server) -> None:
    with guarded.http() as http:
        assert http.post("/api/v1/session", json={"token": "wrong-token-of-some-length"}).status_code == 401
        answer = http.post("/api/v1/session", json={"token": TOKEN})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert http.get("/api/v1/status").status_code == 200  # the client kept the cookie
        assert http.delete("/api/v1/session").status_code == 204
        assert http.get("/api/v1/status").status_code == 401


def test_the_client_shows_its_token(guarded: Server) -> None:
    with vsearch.connect(guarded.url, token=TOKEN) as client:
        assert client.status().photos == 12
    with vsearch.connect(guarded.url) as client, pytest.raises(vsearch.ServerError, match="token"):
        client.status()


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = __import__("hmac").compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return bool(real(a, b))

    monkeypatch.setattr("vsearch.server.security.hmac.compare_digest", spy)
    guard = Guard(Starlette(), Options(token=TOKEN))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/status",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer nope")],
    }
    with pytest.raises(Problem):
        guard._check(scope)
    assert (b"nope", TOKEN.encode()) in compared


# -- names and origins ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "192.0.2.7"]
)
def test_names_that_are_not_ours_are_refused(server: Server, host: str) -> None:
    with server.http() as http:
        assert http.get("/api/v1/status", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8750", "[::1]:8750", "LOCALHOST", "localhost."])
def test_names_of_this_machine_are_answered(server: Server, host: str) -> None:
    with server.http() as http:
        assert http.get("/api/v1/status", headers={"Host": host}).status_code == 200


def test_allowed_names_are_answered(guarded: Server) -> None:
    with guarded.http() as http:
        assert http.get("/healthz", headers={"Host": "photos.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_cannot_post(server: Server, headers: dict[str, str]) -> None:
    with server.http() as http:
        body = {"images": ["2"]}
        assert http.post("/api/v1/query", json=body, headers=headers).status_code == 403
        assert http.post("/api/v1/query", json=body, headers={"Origin": server.url}).status_code == 200


def test_there_is_no_cors(server: Server) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    with server.http() as http:
        for response in (
            http.get("/api/v1/status", headers=headers),
            http.options("/api/v1/status", headers=headers),
        ):
            assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "url", ["/", "/static/app.js", "/api/v1/status", "/api/v1/photos/2/thumbnail", "/nothing"]
)
def test_every_answer_has_the_headers(server: Server, url: str) -> None:
    with server.http() as http:
        headers = http.get(url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"


# -- uploads -------------------------------------------------------------------------------------


def png(width: int, height: int, pixels: bytes = bytes(100), text: bytes = b"") -> bytes:
    """A PNG that claims a size; a few bytes, whatever it would decode to."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    said = [(b"zTXt", b"k\0\0" + zlib.compress(text))] if text else []
    parts = ((b"IHDR", header), *said, (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("url", ["/api/v1/query/upload", "/api/v1/pictures"])
def test_megapixels_are_bounded_before_decoding(server: Server, url: str) -> None:
    with server.http() as http:
        answer = http.post(url, files={"image": png(10_000, 5_001)})
    assert answer.status_code == 422
    assert "megapixel" in answer.json()["detail"]


def test_text_that_unpacks_to_too_much_is_refused(server: Server) -> None:
    data = png(8, 8, bytes(8 * 25), text=bytes(2**27))
    assert len(data) < 2**18
    with server.http() as http:
        answer = http.post("/api/v1/query/upload", files={"image": data})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("upload: damaged")


def test_a_photo_of_fifty_megapixels_is_answered(server: Server) -> None:
    data = io.BytesIO()
    album.picture(3).resize((8165, 6123)).save(data, "JPEG", quality=50)
    with server.http() as http:
        assert http.post("/api/v1/query/upload", files={"image": data.getvalue()}).status_code == 200


def test_bytes_are_bounded_by_what_is_promised(guarded: Server) -> None:
    with guarded.http(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        answer = http.post("/api/v1/pictures", files={"image": bytes(2**20 + 1)})
        assert answer.status_code == 413
        assert http.post("/api/v1/query", content=b" " * (2**20 + 1)).status_code == 413


@pytest.mark.parametrize(("size", "status"), [(9, 422), (2**20 + 1, 415)])
@pytest.mark.parametrize("kind", ["image/jpeg", "application/x-www-form-urlencoded"])
def test_a_picture_outside_a_form_is_told_to_come_in_one(
    server: Server, kind: str, size: int, status: int
) -> None:
    with server.http(headers={"Content-Type": kind}) as http:
        answer = http.post("/api/v1/pictures", content=bytes(size))
        assert answer.status_code == status
        assert "multipart/form-data, in the field `image`" in answer.json()["detail"]


def test_bytes_are_bounded_when_nothing_is_promised(guarded: Server) -> None:
    boundary = "b"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'.encode()
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
    }
    body = itertools.chain([head], (bytes(2**16) for _ in range(32)))
    with guarded.http(headers=headers) as http:
        assert http.post("/api/v1/pictures", content=body).status_code == 413


def test_names_of_uploads_are_never_paths(index: vsearch.Index, tmp_path: Path) -> None:
    data = album.write(tmp_path / "x.png", 300).read_bytes()
    before = set(tmp_path.rglob("*"))
    with Server(index.path, "--allow-add") as server, server.http() as http:
        answer = http.post("/api/v1/photos", files={"file": ("../../../evil.sh", data)})
    assert answer.status_code == 201
    (photo,) = answer.json()["photos"]
    assert photo["path"].startswith("vsearch uploads/")
    assert photo["path"].endswith(".png")
    assert not [path for path in set(tmp_path.rglob("*")) - before if "evil" in path.name]


def test_adding_is_off_by_default(server: Server) -> None:
    with server.http() as http:
        assert http.post("/api/v1/photos", files={"file": b"x"}).status_code == 403


def test_what_is_no_raster_picture_is_only_downloaded(index: vsearch.Index, photos: Path) -> None:
    path = photos / "page.tif"
    album.picture(50).save(path)
    index.add(path)
    photo_id = index.query(path, k=1)[0].id
    with Server(index.path) as server, server.http() as http:
        headers = http.get(f"/api/v1/photos/{photo_id}/original").headers
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-type"] == "application/octet-stream"
    assert "sandbox" in headers["content-security-policy"]


def test_html_under_a_photo_name_is_never_served(index: vsearch.Index, photos: Path) -> None:
    (photos / "page.jpg").write_text("<html><script>alert(1)</script></html>")
    index.add(photos)
    failed = str(index.page("failed")[0].id)
    with Server(index.path) as server, server.http() as http:
        answer = http.get(f"/api/v1/photos/{failed}/original")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


# -- too much at once ----------------------------------------------------------------------------


def test_beyond_the_queue_the_answer_is_503(index: vsearch.Index) -> None:
    workers = Workers(index, threads=1, waiting=1, what="uploads")
    release = threading.Event()

    async def crowd() -> list[object]:
        calls = [asyncio.ensure_future(workers.run(lambda _: release.wait(30))) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.wait(calls, timeout=0.5)
        release.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(crowd())
    workers.close()
    assert outcomes[:2] == [True, True]
    for refused in outcomes[2:]:
        assert isinstance(refused, Problem)
        response = refused.response()
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert json.loads(bytes(response.body))["detail"].startswith("too many uploads")


def test_uploads_beyond_the_queue_are_told_to_come_again(served_index: Path, served_photos: Path) -> None:
    app = create_app(vsearch.Index.open(served_index), Options(decoders=1, waiting=1))
    data = (served_photos / "day0" / "photo000.png").read_bytes()

    async def crowd() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            send = [http.post("/api/v1/query/upload", files={"image": data}) for _ in range(8)]
            return await asyncio.gather(*send)

    answers = asyncio.run(crowd())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 2 <= len(answers) - len(refused) < 8
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["type"] == "urn:vsearch:problem:busy"
    app.state.service.decoders.close()
    app.state.service.readers.close()


def test_the_slot_of_a_client_that_left_is_free_when_its_work_ends(index: vsearch.Index) -> None:
    workers = Workers(index, threads=1, waiting=0, what="uploads")
    release = threading.Event()

    async def leave() -> None:
        call = asyncio.ensure_future(workers.run(lambda _: release.wait(30)))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(Problem):
            await workers.run(lambda _: True)  # the thread is still at work
        release.set()
        while workers.running:
            await asyncio.sleep(0.01)
        assert await workers.run(lambda _: True)

    asyncio.run(leave())
    workers.close()


def test_wrong_lengths_are_no_server_errors(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n")
        assert b" 400 " in connection.recv(1000).split(b"\r\n")[0]
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
