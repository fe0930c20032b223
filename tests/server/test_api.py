"""The HTTP API as programs see it: pictures, caching, problems."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import httpx
import pytest

import vsearch
from tests import album
from tests.serving import Server, eventually

PROBLEM = "application/problem+json"


def first_photo(http: httpx.Client) -> dict[str, object]:
    photo: dict[str, object] = http.get("/api/v1/photos", params={"limit": 1}).json()["photos"][0]
    return photo


def problem_of(response: httpx.Response, status: int, word: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    problem: dict[str, object] = response.json()
    assert problem["type"] == f"urn:vsearch:problem:{word}"
    assert problem["status"] == status
    assert problem["title"]
    assert "\n" not in str(problem["detail"])
    return problem


def test_json_that_is_not_called_json(http: httpx.Client) -> None:
    for named in ({"Content-Type": "application/x-www-form-urlencoded"}, {}):  # as curl -d, and as urllib
        response = http.post("/api/v1/query", content=b'{"images": ["1"]}', headers=named)
        assert "Content-Type: application/json" in str(problem_of(response, 422, "invalid")["detail"])


def test_query_by_upload_in_one_step(http: httpx.Client, served_photos: Path) -> None:
    path = served_photos / "day0" / "photo000.png"
    response = http.post(
        "/api/v1/query/upload", files={"image": path.read_bytes()}, data={"request": json.dumps({"k": 3})}
    )
    matches = response.json()["matches"]
    assert [m["rank"] for m in matches] == [1, 2, 3]
    assert (matches[0]["path"], matches[0]["kind"]) == (str(path), "identical")


def test_ids_and_uploads_count_together(http: httpx.Client, served_photos: Path) -> None:
    files = [("image", (served_photos / "day0" / "photo000.png").read_bytes())] * 9
    asked = {"images": [first_photo(http)["id"]] * 8}
    answer = http.post("/api/v1/query/upload", files=files, data={"request": json.dumps(asked)})
    assert "at most 16 pictures" in str(problem_of(answer, 422, "usage")["detail"])


def test_a_form_field_that_nobody_knows_is_refused(http: httpx.Client, served_photos: Path) -> None:
    picture = (served_photos / "day0" / "photo000.png").read_bytes()
    answer = http.post("/api/v1/query/upload", files={"image": picture}, data={"k": "3"})
    assert answer.status_code == 422
    assert "k" in answer.json()["errors"][0]["where"] and "not permitted" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/photos?limti=1", "query.limti: there is no such parameter here; it has "),
        (
            "/photos/1/similar?k=2&where=width>1",
            "query.where: there is no such parameter here; it has k",
        ),
        ("/status?a", "query.a: there is no such parameter here"),
    ],
)
def test_a_parameter_that_nobody_knows_is_refused(http: httpx.Client, path: str, named: str) -> None:
    problem = problem_of(http.get(f"/api/v1{path}"), 422, "invalid")
    assert str(problem["detail"]).startswith(named)
    assert http.head(f"/api/v1{path}").status_code == 422
    assert http.get("/healthz?now=1").status_code == 200


def test_uploads_to_be_like_and_unlike(http: httpx.Client, served_photos: Path) -> None:
    plus, minus = (served_photos / "day0" / f"photo00{n}.png" for n in (0, 2))
    files = [("image", plus.read_bytes()), ("minus", minus.read_bytes())]
    matches = http.post("/api/v1/query/upload", files=files, data={"request": '{"k": 12}'}).json()["matches"]
    assert matches[0]["path"] == str(plus)
    assert matches[-1]["path"] == str(minus)
    known = {"images": [matches[0]["id"]], "k": 12}
    files = [("minus", minus.read_bytes())]
    again = http.post("/api/v1/query/upload", files=files, data={"request": json.dumps(known)})
    assert [m["path"] for m in again.json()["matches"]] == [m["path"] for m in matches]


def test_offset_continues_where_the_page_before_ended(http: httpx.Client) -> None:
    photo = first_photo(http)["id"]
    whole = http.get(f"/api/v1/photos/{photo}/similar", params={"k": 12}).json()["matches"]
    page = http.get(f"/api/v1/photos/{photo}/similar", params={"k": 5, "offset": 5}).json()
    assert page["matches"] == whole[5:10]
    assert page["more"]
    last = http.get(f"/api/v1/photos/{photo}/similar", params={"k": 5, "offset": 10}).json()
    assert last["matches"] == whole[10:]
    assert not last["more"]


def test_an_uploaded_picture_has_a_name_and_a_thumbnail(http: httpx.Client, served_photos: Path) -> None:
    data = (served_photos / "day0" / "photo000.png").read_bytes()
    uploaded = http.post("/api/v1/pictures", files={"image": data})
    assert uploaded.status_code == 201
    assert (uploaded.json()["width"], uploaded.json()["height"]) == (96, 64)
    name = uploaded.json()["picture"]
    assert http.get(f"/api/v1/pictures/{name}").headers["content-type"] == "image/jpeg"
    matches = http.post("/api/v1/query", json={"images": [name], "k": 1}).json()["matches"]
    assert matches[0]["kind"] == "identical"


def test_pictures_that_were_dropped_are_asked_for_again(http: httpx.Client) -> None:
    name = "picture:" + "0" * 64
    problem_of(http.post("/api/v1/query", json={"images": [name]}), 404, "picture-dropped")
    problem_of(http.get(f"/api/v1/pictures/{name}"), 404, "picture-dropped")


@pytest.mark.parametrize("what", ["thumbnail", "original"])
def test_pictures_are_cached_by_etag(http: httpx.Client, what: str) -> None:
    photo = first_photo(http)
    url = f"/api/v1/photos/{photo['id']}/{what}"
    response = http.get(url)
    assert response.headers["cache-control"].startswith("private")
    again = http.get(url, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == response.headers["etag"]
    assert http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_original_is_the_file_and_takes_ranges(http: httpx.Client) -> None:
    photo = first_photo(http)
    data = Path(str(photo["root"]), str(photo["path"])).read_bytes()
    url = f"/api/v1/photos/{photo['id']}/original"
    assert http.get(url).content == data
    part = http.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    beyond = http.get(url, headers={"Range": "bytes=99999999-"})
    problem_of(beyond, 416, "requested-range-not-satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    problem_of(http.get(url, headers={"Range": "nonsense"}), 400, "bad-request")


@pytest.mark.parametrize("what", ["", "/thumbnail", "/original"])
def test_head_is_get_without_a_body(http: httpx.Client, what: str) -> None:
    url = f"/api/v1/photos/{first_photo(http)['id']}{what}"
    head, get = http.head(url), http.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag"):
        assert head.headers.get(name) == get.headers.get(name)
    assert http.head("/").status_code == 200 and http.head("/api/v1/nothing").status_code == 404


def test_answers_without_secrets_are_not_stored(http: httpx.Client) -> None:
    assert http.get("/api/v1/status").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "word"),
    [
        ("GET", "/api/v1/photos/999999", None, 404, "not-found"),
        ("GET", "/api/v1/photos/999999/thumbnail", None, 404, "not-found"),
        ("GET", "/api/v1/photos/999999/original", None, 404, "not-found"),
        ("GET", "/api/v1/photos/..%2F1/original", None, 404, "not-found"),
        ("GET", "/api/v1/photos/abc", None, 422, "invalid"),
        ("GET", "/api/v1/photos?limit=0", None, 422, "invalid"),
        ("GET", "/api/v1/nothing", None, 404, "not-found"),
        ("GET", "/static/..%2Fapp.py", None, 404, "not-found"),
        ("PUT", "/api/v1/query", None, 405, "method-not-allowed"),
        ("POST", "/api/v1/query", b"", 422, "invalid"),
        ("POST", "/api/v1/query", b"{", 422, "invalid"),
        ("POST", "/api/v1/query", b"{}", 422, "usage"),
        ("POST", "/api/v1/query", b'{"images": ["999999"]}', 404, "not-found"),
        ("POST", "/api/v1/query", b'{"images": ["/etc/passwd"]}', 422, "invalid"),
        ("POST", "/api/v1/query", b'{"images": ["1"], "kk": 5}', 422, "invalid"),
        ("POST", "/api/v1/query", b'{"images": ["1"], "min_score": NaN}', 422, "invalid"),
        ("POST", "/api/v1/query", b'{"images": ["1"], "weights": [1, 2]}', 422, "usage"),
        ("POST", "/api/v1/query", b'{"images": ["2"], "crop": [5000, 0, 9, 9]}', 422, "usage"),
        ("POST", "/api/v1/photos", None, 422, "invalid"),
    ],
)
def test_bad_requests_are_problems(
    http: httpx.Client, method: str, url: str, body: bytes | None, status: int, word: str
) -> None:
    headers = {"Content-Type": "application/json"}
    problem_of(http.request(method, url, content=body, headers=headers), status, word)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff"]
)
@pytest.mark.parametrize("url", ["/api/v1/query/upload", "/api/v1/pictures"])
def test_garbage_uploads_say_what_is_wrong(http: httpx.Client, url: str, data: bytes) -> None:
    problem = problem_of(http.post(url, files={"image": ("../../x.jpg", data)}), 422, "photo")
    assert problem["reason"]
    assert problem["remedy"]


def test_a_failed_photo_has_facts_but_no_pictures(http: httpx.Client) -> None:
    failed = http.get("/api/v1/photos", params={"state": "failed"}).json()["photos"][0]
    assert failed["reason"]
    problem_of(http.get(f"/api/v1/photos/{failed['id']}/thumbnail"), 404, "not-found")
    problem_of(http.get(f"/api/v1/photos/{failed['id']}/similar"), 422, "photo")


def test_health_and_metrics(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok", "generation": 1}
    photo = first_photo(http)["id"]
    http.get(f"/api/v1/photos/{photo}")
    lines = http.get("/metrics").text.splitlines()
    assert 'vsearch_photos{state="ready"} 12.0' in lines
    counted = [line for line in lines if line.startswith("vsearch_requests_total")]
    assert any('route="/api/v1/photos/{photo_id}"' in line for line in counted)
    assert not any(f"photos/{photo}" in line for line in counted)


def test_deleted_and_changed_files(index: vsearch.Index, photos: Path) -> None:
    gone, changed = photos / "day0" / "photo000.png", photos / "day0" / "photo002.png"
    ids = {path: index.query(path, k=1)[0].id for path in (gone, changed)}
    gone.unlink()
    album.write(changed, 99)
    os.utime(changed, (1, 1))
    with Server(index.path) as server, server.http() as http:
        for path, photo_id in ids.items():
            assert http.get(f"/api/v1/photos/{photo_id}/thumbnail").status_code == 200, path
            problem_of(http.get(f"/api/v1/photos/{photo_id}/original"), 410, "gone")


def test_originals_are_told_by_their_bytes_where_the_stat_differs(index: vsearch.Index, photos: Path) -> None:
    touched, edited = album.write(photos / "a.bmp", 60), album.write(photos / "b.bmp", 61)
    index.add(photos)
    ids = {path: index.query(path, k=1)[0].id for path in (touched, edited)}
    before = edited.stat()
    touched.touch()
    album.write(edited, 62)
    os.utime(edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert edited.stat().st_size == before.st_size
    with Server(index.path) as server, server.http() as http:
        whole = http.get(f"/api/v1/photos/{ids[touched]}/original")
        assert (whole.status_code, whole.content) == (200, touched.read_bytes())
        problem_of(http.get(f"/api/v1/photos/{ids[edited]}/original"), 410, "gone")


def test_a_new_generation_is_followed(index: vsearch.Index, photos: Path) -> None:
    with Server(index.path) as server, vsearch.connect(server.url) as client:
        path = album.write(photos / "new.png", 200)
        assert client.query(path, k=1)[0].kind != "identical"
        index.add(path)  # by another process than the server
        assert client.query(path, k=1)[0].path == str(path)
        assert client.status().generation == 2


def test_another_root_is_followed(index: vsearch.Index, tmp_path: Path) -> None:
    with Server(index.path) as server, vsearch.connect(server.url) as client:
        assert len(client.page()) == 12
        path = album.write(tmp_path / "elsewhere" / "new.png", 201)
        index.add(path)
        assert client.page(newest=True, limit=1)[0].file.root == str(path.parent)
        assert client.query(path, k=1)[0].path == str(path)


def test_questions_are_answered_while_the_index_is_rebuilt(index: vsearch.Index) -> None:
    with Server(index.path) as server, server.http() as http:
        photo = first_photo(http)["id"]
        done = threading.Event()

        def rebuild() -> None:
            try:
                for _ in range(3):
                    vsearch.Index.rebuild(index.path)
            finally:
                done.set()

        thread = threading.Thread(target=rebuild)
        thread.start()
        answers = []
        while not done.is_set() or len(answers) < 3:
            answers.append(http.get(f"/api/v1/photos/{photo}/similar"))
        thread.join()
        assert {answer.status_code for answer in answers} == {200}
        assert {len(answer.json()["matches"]) for answer in answers} == {10}
        assert http.get("/api/v1/progress").json()["generation"] > 1


def test_an_index_that_vanishes_is_a_problem_and_may_come_back(index: vsearch.Index) -> None:
    with Server(index.path) as server, server.http() as http:
        away = index.path.with_name("away")
        index.path.rename(away)
        response = http.get("/healthz")
        assert response.status_code == 503
        assert response.headers["content-type"] == PROBLEM
        away.rename(index.path)
        eventually(lambda: http.get("/healthz").status_code == 200)


def test_an_empty_index_says_so(tmp_path: Path, toy_encoder: Path) -> None:
    with vsearch.Index.create(tmp_path / "empty.vsearch", encoder=toy_encoder) as empty:
        path = empty.path
    with Server(path) as server, server.http() as http:
        assert http.get("/healthz").status_code == 200
        data = album.write(tmp_path / "a.png", 1).read_bytes()
        problem = problem_of(http.post("/api/v1/query/upload", files={"image": data}), 422, "usage")
        assert "no photos" in str(problem["detail"])


def test_an_unreachable_server_is_a_server_error() -> None:
    with vsearch.connect("http://127.0.0.1:1") as client, pytest.raises(vsearch.ServerError, match="running"):
        client.status()
    with pytest.raises(vsearch.UsageError, match="URL"):
        vsearch.connect("ftp://example.org")
