"""A program that forks: the child is told to open the index anew, and answers when it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vsearch
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
_FORKING = """
import os, sys, threading, time, vsearch, vsearch.answering
vsearch.answering.SCAN_BYTES = int(sys.argv[3])
index = vsearch.Index.open(sys.argv[1])
assert index.query(sys.argv[2], k=1)[0].kind == "identical"
photo = next(index.photos())
threading.Thread(target=lambda: (index._lock.acquire(), time.sleep(60)), daemon=True).start()
time.sleep(0.2)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
for ask in (lambda: index.query(photo), lambda: index.query(sys.argv[2]), index.status, index.sync):
    try:
        ask()
    except vsearch.UsageError as error:
        assert "open it anew" in str(error)
    else:
        raise AssertionError(ask)
index.close()
index = vsearch.Index.open(sys.argv[1])
with open(sys.argv[2], "rb") as file:
    assert index.query(file.read() + b" ", k=1)[0].score > 0.9
index.add(sys.argv[4])
assert index.query(sys.argv[4], k=1)[0].kind == "identical"
"""


@pytest.mark.parametrize("scan_bytes", [0, 2**26])
def test_a_forked_child_opens_the_index_anew(index: vsearch.Index, photos: Path, scan_bytes: int) -> None:
    photo = photos / "day0/photo000.png"
    new = photos.parent / "new.png"
    new.write_bytes(photo.read_bytes() + b"\0")
    done = subprocess.run(
        [sys.executable, "-c", _FORKING, str(index.path), str(photo), str(scan_bytes), str(new)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
