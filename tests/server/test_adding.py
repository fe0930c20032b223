"""Adding by upload: nothing acknowledged is ever lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import vsearch
from tests import album
from tests.serving import Server, eventually
from vsearch.server.adding import Adder


def upload(url: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/photos", files={"file": data}, timeout=60, trust_env=False)


def test_uploads_at_once_share_a_generation(index: vsearch.Index, tmp_path: Path) -> None:
    pictures = [album.write(tmp_path / "new" / f"{n}.png", 400 + n).read_bytes() for n in range(12)]
    with Server(index.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda data: upload(server.url, data), pictures))
        assert [a.status_code for a in answers] == [201] * 12
        assert [a.json()["added"] for a in answers] == [1] * 12
        for data in pictures:
            assert client.query(data, k=1)[0].kind == "identical"
        assert client.status().photos == 24
        assert client.status().generation < 12


def test_the_same_upload_twice_is_one_photo(index: vsearch.Index, tmp_path: Path) -> None:
    data = album.write(tmp_path / "new.png", 430).read_bytes()
    with Server(index.path, "--allow-add") as server, server.http() as http:
        report = http.post("/api/v1/photos", files=[("file", data), ("file", data)], timeout=60).json()
        assert (report["added"], report["unchanged"], len(report["photos"])) == (1, 1, 2)


def test_what_was_sent_is_kept_whatever_became_of_an_earlier_copy(
    index: vsearch.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adder, root = Adder(index, 100.0), str(tmp_path / "photos")
    data = album.write(tmp_path / "new.png", 430).read_bytes()
    first = adder.save(data, root)
    monkeypatch.setattr(time, "strftime", lambda _: "2031-01")
    assert adder.save(data, root) == first  # in another month too
    first.write_bytes(album.write(tmp_path / "edited.png", 431).read_bytes())
    second = adder.save(data, root)
    assert second.read_bytes() == data and first.read_bytes() != data
    assert adder.save(data, root) == second
    second.write_bytes(b"edited as well")
    third = adder.save(data, root)
    assert (third.parent, third.stem) == (second.parent, f"{second.stem}-1") and third.read_bytes() == data


def test_the_folder_must_be_chosen_among_several(index: vsearch.Index, tmp_path: Path) -> None:
    other = album.write(tmp_path / "other" / "x.png", 60).parent
    index.add(other)
    new = album.write(tmp_path / "new.png", 61)
    with Server(index.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        with pytest.raises(vsearch.UsageError, match="root"):
            client.add(new)
        with pytest.raises(vsearch.UsageError, match="root"):
            client.add(new, root="../..")
        assert client.add(new, root="other").added == 1
        assert len(list((other / "vsearch uploads").rglob("*.png"))) == 1


def test_folders_of_single_photos_take_no_uploads(index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    lone = album.write(tmp_path / "lone" / "x.png", 60)
    index.add(lone)
    new = album.write(tmp_path / "new.png", 61)
    with Server(index.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        with server.http() as http:
            assert http.get("/api/v1/server").json()["roots"] == [str(photos)]
        with pytest.raises(vsearch.UsageError, match=f"must be one of {photos}$"):
            client.add(new, root="lone")
        assert client.add(new).added == 1
        assert sorted(client.status().roots) == sorted([str(photos), str(lone.parent)])
    assert list(lone.parent.iterdir()) == [lone]


def test_a_client_of_a_server_that_takes_nothing(index: vsearch.Index, tmp_path: Path) -> None:
    new = album.write(tmp_path / "new.png", 62)
    with (
        Server(index.path) as server,
        vsearch.connect(server.url) as client,
        pytest.raises(vsearch.ServerError, match="--allow-add"),
    ):
        client.add(new)


def test_another_writer_is_waited_for(index: vsearch.Index, tmp_path: Path) -> None:
    data = album.write(tmp_path / "new.png", 63).read_bytes()
    answers: list[httpx.Response] = []
    with Server(index.path, "--allow-add") as server, server.http() as http:
        with index._directory.writing():
            sending = threading.Thread(target=lambda: answers.append(upload(server.url, data)))
            sending.start()
            eventually(lambda: http.get("/api/v1/server").json()["adding"]["busy"])
            assert http.get("/api/v1/server").json()["adding"]["waiting"] == 1
            assert not answers
        sending.join(60)
    assert [answer.status_code for answer in answers] == [201]


def test_kill_9_loses_nothing_acknowledged(index: vsearch.Index, tmp_path: Path) -> None:
    acknowledged: list[bytes] = []
    pictures = iter([album.write(tmp_path / "new" / f"{n}.png", 700 + n).read_bytes() for n in range(400)])
    lock = threading.Lock()

    def send(server: Server) -> None:
        while True:
            with lock:
                data = next(pictures)
            try:
                answer = upload(server.url, data)
            except httpx.HTTPError:
                return  # the server was killed
            if answer.status_code == 201:
                acknowledged.append(data)

    for _ in range(2):
        server = Server(index.path, "--allow-add")
        before = len(acknowledged)
        threads = [threading.Thread(target=send, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda enough=before + 8: len(acknowledged) >= enough)
        server.kill()
        for thread in threads:
            thread.join(60)
    with Server(index.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        saved = len(list(tmp_path.rglob("vsearch uploads/*/*.png")))
        assert saved >= len(acknowledged)
        eventually(lambda: client.status().photos == 12 + saved)  # also what was saved and not acknowledged
        for data in acknowledged:
            assert client.query(data, k=1)[0].kind == "identical"


def test_an_upload_that_the_index_leaves_out_spoils_no_other(
    index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    vsearch.Index.build(index.path, [photos], exclude=["*.bmp"])
    pictures = [album.write(tmp_path / "new" / f"{n}.png", 500 + n).read_bytes() for n in range(4)]
    album.picture(510).save(tmp_path / "left-out.bmp")
    pictures.insert(2, (tmp_path / "left-out.bmp").read_bytes())
    with (
        Server(index.path, "--allow-add") as server,
        server.http() as http,
        ThreadPoolExecutor(5) as pool,
    ):
        with index._directory.writing():  # so that they come together
            answers = [pool.submit(upload, server.url, data) for data in pictures]
            eventually(lambda: http.get("/api/v1/server").json()["adding"]["waiting"] == 5)
        codes = [answer.result().status_code for answer in answers]
    assert codes == [201, 201, 422, 201, 201]
    assert "--exclude" in answers[2].result().json()["detail"]
