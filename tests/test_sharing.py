"""One ``Index`` for several threads, and iterators that go on while it is used otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import vsearch
from tests.conftest import ROOT
from vsearch.search import AnswerOptions

# In a process of its own: where threads closed what others read, it ended with a segmentation fault.
THREADS = """
import sys, threading, time
import vsearch
index, written, went_wrong = vsearch.Index.open(sys.argv[1]), threading.Event(), []
asks = (index.status, index.cameras, index.held, lambda: list(index.photos()), lambda: list(index.failed()),
        lambda: index.page(limit=3), lambda: index.photo(3), lambda: index.thumbnail(5),
        lambda: index.named(sys.argv[3]), lambda: index.query(sys.argv[3], k=2))
def ask(some):
    try:
        while not written.is_set():
            some()
            time.sleep(.001)
    except Exception as error:
        went_wrong.append(error)
threads = [threading.Thread(target=ask, args=(some,)) for some in asks]
for thread in threads:
    thread.start()
for _ in range(4):
    index.remove(sys.argv[2])
    index.add(sys.argv[2])
written.set()
for thread in threads:
    thread.join()
print(went_wrong)
"""


def test_threads_ask_while_one_writes(index: vsearch.Index, photos: Path) -> None:
    written, asked = photos / "day0/photo004.png", photos / "day0/photo000.png"
    line = [sys.executable, "-c", THREADS, str(index.path), str(written), str(asked)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_answers_go_on_whatever_becomes_of_the_index(index: vsearch.Index, photos: Path) -> None:
    picture, other = photos / "day0/photo000.png", vsearch.Index.open(index.path)
    found = index.answers(((str(n), str(picture)) for n in range(60)), AnswerOptions(2))
    scores = [[match.score for match in next(found).matches]]
    other.remove(photos / "day0/photo004.png")
    index.query(picture)
    scores += [[match.score for match in next(found).matches] for _ in range(9)]
    index.close()
    scores += [[match.score for match in result.matches] for result in found]
    assert len(scores) == 60
    assert {pair[0] for pair in scores} == {1.0}


def test_iterators_go_on_after_a_write(index: vsearch.Index, photos: Path) -> None:
    listed, other = index.photos(), vsearch.Index.open(index.path)
    first = next(listed)
    with index.thumbnails() as thumbnail:
        other.remove(photos / "day0/photo004.png")
        index.query(photos / "day0/photo000.png")
        index.close()
        assert thumbnail(str(first.id))
    assert len(list(listed)) in (10, 11)
