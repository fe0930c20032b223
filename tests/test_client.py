"""The client alone: what it refuses to send, and servers that are no vsearch."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

import vsearch
from tests import album
from tests.serving import Server
from vsearch import errors, sending
from vsearch.connection import Connection


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://a", "http://a:x", "http://\0"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(vsearch.UsageError, match="must be an http or https URL"):
        vsearch.connect(url)


def test_what_json_cannot_say_is_refused() -> None:
    refused = pytest.raises(vsearch.UsageError, match="this cannot be asked for")
    with vsearch.connect("http://127.0.0.1:1") as client, refused:
        client.query(text="x", where="camera ~ '\udcff'")


@pytest.mark.parametrize("token", ["schlüssel", "a\nb", 5])
def test_a_token_that_no_header_can_have_is_refused(token: Any) -> None:
    with pytest.raises(vsearch.UsageError, match="printable ASCII"):
        vsearch.connect("http://127.0.0.1:1", token=token)


@pytest.mark.parametrize("timeout", [None, "a", 0, -1.0, math.nan, math.inf])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(vsearch.UsageError, match="number of seconds above 0"):
        vsearch.connect("http://127.0.0.1:1", timeout=timeout)


def test_a_closed_client_says_so() -> None:
    client = vsearch.connect("http://127.0.0.1:1")
    client.close()
    with pytest.raises(vsearch.UsageError, match="was closed"):
        client.status()


def test_duplicates_are_those_of_the_index(family_index: vsearch.Index) -> None:
    expected = family_index.duplicates()
    assert expected
    with Server(family_index.path) as server, vsearch.connect(server.url) as client:
        assert client.duplicates() == expected


def test_what_is_sent_must_be_named() -> None:
    with (
        vsearch.connect("http://127.0.0.1:1") as client,
        pytest.raises(vsearch.UsageError, match="name photos"),
    ):
        client.add()


def test_a_forked_child_shares_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads first would get the other's answer."""
    connection = Connection("http://127.0.0.1:1", None, 1.0)
    inherited = connection._http
    for process in (os.getpid(), -1):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        with pytest.raises(vsearch.ServerError):
            connection.once("GET", "/")
        assert (connection._http is inherited) == (process != -1)


_CALLS: dict[str, Callable[[vsearch.Client, Path], object]] = {
    "query": lambda client, _: client.query(album.picture(0)),
    "status": lambda client, _: client.status(),
    "photo": lambda client, _: client.photo(1),
    "photos": lambda client, _: list(client.photos()),
    "failed": lambda client, _: list(client.failed()),
    "thumbnail": lambda client, _: client.thumbnail(1),
    "duplicates": lambda client, _: client.duplicates(),
    "map": lambda client, _: client.map(),
    "cameras": lambda client, _: client.cameras(),
    "roots": lambda client, _: client.roots(),
    "add": lambda client, folder: client.add(album.write(folder / "a.png", 1)),
}


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """The URL of a server that is no vsearch: ``/<JSON>`` as the prefix of a path is what it answers."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            said = unquote(self.path.split("/")[1]).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html" if said.startswith(b"<") else "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("call", _CALLS)
@pytest.mark.parametrize("said", ["<p>log in", "{}", "[1]", "null", '{"skipped": 5, "matches": [{}]}'])
def test_other_servers_are_told_from_vsearch(stranger: str, tmp_path: Path, said: str, call: str) -> None:
    if call == "thumbnail" and not said.startswith("<"):
        return  # any bytes may be a picture
    refused = pytest.raises(vsearch.ServerError, match="answered 200 OK; is it a vsearch server")
    with vsearch.connect(f"{stranger}/{quote(said)}") as client, refused:
        _CALLS[call](client, tmp_path)


def test_a_file_that_cannot_be_read_is_one_skip(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("huge.jpg", "a.jpg", "gone.jpg")]
    for path, size in zip(paths, (2**31, 3), strict=False):
        with open(path, "wb") as file:
            file.truncate(size)
    unreadable: list[vsearch.Skipped] = []
    assert sending.parts(paths, unreadable) == [("file", ("1", bytes(3)))]
    assert [skipped.path for skipped in unreadable] == [paths[0], paths[2]]


def public_errors() -> list[type[vsearch.VsearchError]]:
    found = (getattr(errors, name) for name in vars(errors))
    return [each for each in found if isinstance(each, type) and issubclass(each, vsearch.VsearchError)]


@pytest.mark.parametrize("kind", public_errors())
def test_errors_of_a_server_come_as_what_they_are(kind: type[vsearch.VsearchError]) -> None:
    """Those that a server does not meet have no word of their own, and come as its errors."""
    problems = pytest.importorskip("vsearch.server.problems", reason="needs the server extra")
    told = ("a.jpg", "torn", "save it anew") if kind is vsearch.PhotoError else ("the disk is full",)
    answer = problems.of_error(kind(*told)).response()
    unheard = {errors.VsearchError, errors.IndexExists, errors.ClusterError, errors.ServerError}
    connection = Connection("http://127.0.0.1:1", None, 1.0)
    with pytest.raises(vsearch.VsearchError) as caught:
        connection.raise_for(httpx.Response(answer.status_code, content=answer.body))
    assert type(caught.value) is (errors.ServerError if kind in unheard else kind)
    assert str(kind(*told)) in str(caught.value)
