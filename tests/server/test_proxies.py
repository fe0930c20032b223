"""Behind a reverse proxy, and beside other servers of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server
from vsearch.server.security import cookie_of

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(served_index: Path) -> Iterator[Server]:
    with Server(served_index, "--allow-host", "photos.example", VSEARCH_TOKEN=TOKEN) as server:
        yield server


def test_two_servers_of_one_host_have_cookies_of_their_own() -> None:
    assert cookie_of(TOKEN) != cookie_of(TOKEN[::-1])
    assert TOKEN not in cookie_of(TOKEN)


def test_a_cookie_from_behind_https_is_secure(guarded: Server) -> None:
    with guarded.http() as http:
        login, host = {"token": TOKEN}, {"Host": "photos.example"}
        plain = http.post("/api/v1/session", json=login, headers={**host, "Origin": "http://photos.example"})
        secure = http.post(
            "/api/v1/session", json=login, headers={**host, "Origin": "https://photos.example"}
        )
    assert "secure" not in plain.headers["set-cookie"].lower()
    assert "secure" in secure.headers["set-cookie"].lower()


def test_a_proxy_that_rewrites_host_is_told(guarded: Server) -> None:
    with guarded.http() as http:
        origin = {"Origin": "https://photos.example"}  # and Host is that of the server itself
        answer = http.post("/api/v1/session", json={"token": TOKEN}, headers=origin)
    assert answer.status_code == 403
    assert "must pass the header Host on" in answer.json()["detail"]
