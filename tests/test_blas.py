"""BLAS on one thread, as long as anybody wants it so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController

import vsearch
from tests.conftest import ROOT
from vsearch.blas import one_thread

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


_FORKING = f"""
import os, sys, threading, time
import numpy
from threadpoolctl import OpenBLASController, ThreadpoolController
from vsearch.blas import _limit, one_thread
controller = ThreadpoolController().select(user_api="blas")
threads = lambda: set(library["num_threads"] for library in controller.info())
for library in controller.lib_controllers:
    library.set_num_threads({THREADS})
OpenBLASController.clear_controlling_thread()
def hold():
    with one_thread(), _limit._lock:
        time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
while threads() != {{1}}:
    time.sleep(0.01)
time.sleep(0.1)
if os.fork():
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
