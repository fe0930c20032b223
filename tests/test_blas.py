"""BLAS on one thread, as long as anybody wants it so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController, threadpool_limits

import vsearch
from tests.conftest import ROOT
from vsearch.blas import one_thread
from vsearch.search import AnswerOptions, Searcher

THREADS = 3


@pytest.fixture
def blas() -> Iterator[ThreadpoolController]:
    """That of numpy, with three threads, however many cores there are."""
    controller = ThreadpoolController().select(user_api="blas")
    if not controller.lib_controllers:
        pytest.skip(f"numpy {np.__version__} has no BLAS here whose threads can be set")
    before = max(threads(controller))
    set_threads(controller, THREADS)
    yield controller
    set_threads(controller, before)


def set_threads(blas: ThreadpoolController, number: int) -> None:
    OpenBLASController.clear_controlling_thread(force=True)
    for library in blas.lib_controllers:
        library.set_num_threads(number)
    OpenBLASController.clear_controlling_thread()


def threads(blas: ThreadpoolController) -> set[int]:
    return {library["num_threads"] for library in blas.info()}


@pytest.mark.parametrize("first_thread_ends", [True, False])
def test_the_last_that_is_done_gives_the_threads_back(
    blas: ThreadpoolController, first_thread_ends: bool
) -> None:
    began, end = threading.Event(), threading.Event()

    def hold() -> None:
        with one_thread():
            began.set()
            end.wait(60)

    first = threading.Thread(target=hold)
    first.start()
    assert began.wait(60)
    with one_thread():
        assert threads(blas) == {1}
        if first_thread_ends:
            end.set()
            first.join()
            assert threads(blas) == {1}
    if not first_thread_ends:
        assert threads(blas) == {1}
        end.set()
        first.join()
    assert threads(blas) == {THREADS}


def test_a_query_gives_them_back_whatever_comes_of_it(
    blas: ThreadpoolController, index: vsearch.Index, photos: Path
) -> None:
    index.query(photos / "day0/photo000.png")
    with pytest.raises(vsearch.PhotoError):
        index.query(photos / "no such photo.png")
    assert threads(blas) == {THREADS}


@pytest.mark.parametrize("ask", ["query", "answers"])
def test_a_query_is_answered_on_one_thread(
    blas: ThreadpoolController,
    index: vsearch.Index,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: str,
) -> None:
    seen = []
    pools = Searcher._pools

    def watched(searcher: Searcher, *arguments: Any) -> Any:
        seen.append(threads(blas))
        return pools(searcher, *arguments)

    monkeypatch.setattr(Searcher, "_pools", watched)
    if ask == "query":
        index.query(photos / "day0/photo000.png")
    else:
        pictures = [(name, photos / f"day0/{name}.png") for name in ("photo000", "photo001")]
        results = index.answers(pictures, AnswerOptions())
        next(results)
        results.close()  # half read
    assert seen and all(found == {1} for found in seen)
    assert threads(blas) == {THREADS}


def test_a_limit_of_the_program_does_not_keep_ours_out(blas: ThreadpoolController) -> None:
    with threadpool_limits(2, user_api="blas"):
        seen = []

        def hold() -> None:
            with one_thread():
                seen.append(threads(blas))

        other = threading.Thread(target=hold)
        other.start()
        other.join()
        assert (seen, threads(blas)) == ([{1}], {2})
    assert threads(blas) == {THREADS}


_FORKING = f"""
import os, sys, threading, time
import numpy
from threadpoolctl import OpenBLASController, ThreadpoolController
from vsearch.blas import one_thread
controller = ThreadpoolController().select(user_api="blas")
threads = lambda: set(library["num_threads"] for library in controller.info())
for library in controller.lib_controllers:
    library.set_num_threads({THREADS})
OpenBLASController.clear_controlling_thread()
holding, coming = threading.Event(), True
def hold():
    with one_thread():
        holding.set()
        time.sleep(60)
def come_and_go():
    while coming:
        with one_thread():
            pass
for work in (hold, come_and_go):
    threading.Thread(target=work, daemon=True).start()
assert holding.wait(60) and threads() == {{1}}
for _ in range(30):
    child = os.fork()
    if not child:
        break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    assert threads() == {{1}}
    sys.exit()
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
assert threads() == {{{THREADS}}}, threads()
with one_thread():
    assert threads() == {{1}}, threads()
assert threads() == {{{THREADS}}}, threads()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own(blas: ThreadpoolController) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKING],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
