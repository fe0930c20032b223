"""Answers given before: given again while nothing changed, and never after."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import vsearch
from tests.serving import GraphServer, Server
from vsearch.server.answers import Answers


def recalled(http: httpx.Client) -> int:
    lines = http.get("/metrics").text.splitlines()
    return int(
        float(next(line.split()[1] for line in lines if line.startswith("vsearch_answers_recalled_total")))
    )


def paths(answer: httpx.Response) -> list[str]:
    return [Path(match["path"]).name for match in answer.raise_for_status().json()["matches"]]


@pytest.mark.parametrize("kind", [Server, GraphServer])
def test_what_a_writer_did_shows_in_the_next_answer(
    kind: type[Server], index: vsearch.Index, photos: Path
) -> None:
    """Adding, removing, moving and rebuilding, by another process than the server's."""
    photo = next(index.photos())
    name = Path(photo.file.path).name
    twin, moved = photos / "twin.png", photos / "moved.png"
    url = f"/api/v1/photos/{photo.id}/similar?k=3"
    with kind(index.path) as server, server.http() as http:
        before = http.get(url)
        assert http.get(url).content == before.content
        assert recalled(http) == 1

        twin.write_bytes(Path(index.path_of(photo)).read_bytes())
        index.add(twin)
        assert {"twin.png", name} == set(paths(http.get(url))[:2])

        twin.rename(moved)
        index.sync()
        assert {"moved.png", name} == set(paths(http.get(url))[:2])

        index.remove(moved)
        assert http.get(url).json() == before.json()
        vsearch.Index.rebuild(index.path)
        assert http.get(url).json()["matches"][0] == before.json()["matches"][0]
        assert recalled(http) == 1
        assert http.get(url).is_success
        assert recalled(http) == 2


def test_only_the_very_same_question_is_answered_again(server: Server, http: httpx.Client) -> None:
    ids = [photo["id"] for photo in http.get("/api/v1/photos").json()["photos"]]
    questions: list[dict[str, object]] = [
        {"images": ids[4:5], "k": 3},
        {"images": ids[4:5], "k": 4},
        {"images": ids[4:5], "k": 3, "offset": 1},
        {"images": ids[5:6], "k": 3},
        {"images": ids[4:5], "k": 3, "minus": ids[5:6]},
        {"images": ids[4:5], "k": 3, "where": "width >= 1"},
        {"images": ids[4:5], "k": 3, "expand": False},
    ]
    start = recalled(http)
    first = [http.post("/api/v1/query", json=question) for question in questions]
    assert recalled(http) == start
    again = [http.post("/api/v1/query", json=question) for question in questions]
    assert recalled(http) == start + len(questions)
    assert [a.content for a in again] == [f.content for f in first]
    spelt = f"/api/v1/photos/{ids[4]}/similar?offset=0&k=3"
    assert http.get(spelt).content == first[0].content
    assert recalled(http) == start + len(questions) + 1


def test_questions_that_look_at_files_are_never_answered_from_memory(
    index: vsearch.Index, photos: Path
) -> None:
    """A region is cut from the file itself, which may have gone since; the folder may be a link."""
    photo = next(index.photos())
    regions = {"images": [str(photo.id)], "crop": [0, 0, 20, 20], "k": 3}
    folders = {"images": [str(photo.id)], "under": str(photos), "k": 3}
    with Server(index.path) as server, server.http() as http:
        for question in (regions, folders, regions, folders):
            assert http.post("/api/v1/query", json=question).is_success
        assert recalled(http) == 0
        Path(index.path_of(photo)).unlink()
        assert http.post("/api/v1/query", json=regions).status_code == 422


def test_none_are_kept_when_there_is_no_room(index: vsearch.Index) -> None:
    url = f"/api/v1/photos/{next(index.photos()).id}/similar?k=3"
    with Server(index.path, "--keep-answers", "0") as server, server.http() as http:
        assert http.get(url).content == http.get(url).content
        assert recalled(http) == 0


def test_the_answers_kept_have_a_bound_in_bytes() -> None:
    given: list[str] = []
    answers = Answers(10_000, lambda: given.append("again"))

    def ask(question: str, size: int = 1000) -> int:
        before = len(given)
        assert len(answers.of(1, question, lambda: bytes(size))) == size
        return len(given) - before

    assert [ask(str(n)) for n in range(4)] == [0] * 4
    assert [ask(str(n)) for n in range(4)] == [1] * 4
    assert ask("too large", 10_001) == ask("too large", 10_001) == 0
    assert ask("0") == 1  # and drops nothing else; now the one that was asked for last
    assert ask("another", 5000) == 0
    assert [ask("0"), ask("another", 5000)] == [1, 1]
    assert ask("1") == 0  # the oldest had to go


def test_an_answer_of_an_earlier_edition_is_dropped_even_if_it_comes_late() -> None:
    answers = Answers(10_000)

    def late() -> bytes:
        assert answers.of(2, "q", lambda: b"new") == b"new"  # a writer was faster
        return b"old"

    assert answers.of(1, "q", late) == b"old"
    assert answers.of(2, "q", lambda: b"asked anew") == b"new"
    assert answers.of(3, "q", lambda: b"newer") == b"newer"


def test_a_late_answer_is_not_kept_for_the_edition_that_another_question_began() -> None:
    answers = Answers(10_000)

    def late() -> bytes:
        assert answers.of(2, "another", lambda: b"new") == b"new"
        return b"old"

    assert answers.of(1, "q", late) == b"old"
    assert answers.of(2, "q", lambda: b"new") == b"new"
