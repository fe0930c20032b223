"""Ctrl-C at instants that matter: nothing is torn, what was finished is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vsearch
from tests import safety
from tests.conftest import ROOT

# Sends itself a real Ctrl-C inside the n-th call that HDF5 makes to write, then runs the command line.
_INTERRUPTED = """
import os, signal, sys
from vsearch import cli, segments

left = int(sys.argv.pop(1))

def counted(call):
    def interrupted(self, *given):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, *given)
    return interrupted

for name in ("write", "seek"):
    setattr(segments._Sink, name, counted(getattr(segments._Sink, name)))
cli.main()
"""


@pytest.mark.parametrize("call", [2, 6, 15, 40, 70])
def test_ctrl_c_while_a_segment_is_written_tears_nothing(
    photos: Path, tmp_path: Path, toy_encoder: Path, call: int
) -> None:
    index = tmp_path / "i.vsearch"
    command = ["build-index", str(photos), "--index", str(index), "--encoder", str(toy_encoder)]
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(call), *command],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert b"stopped" in done.stderr and b"Traceback" not in done.stderr
    with vsearch.Index.open(index) as opened:
        opened.add(photos)
    safety.assert_sound(index)
    assert vsearch.Index.open(index).status().photos == 12


_EARLY = """
import os, signal, sys

module = sys.argv.pop(1)

class Interrupting:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from vsearch.__main__ import main
main()
"""
_LATE = """
import atexit, os, signal
from vsearch import cli

atexit.register(os.kill, os.getpid(), signal.SIGINT)
cli.app = lambda: os.kill(os.getpid(), signal.SIGINT)
cli.main()
"""


@pytest.mark.parametrize("line", [[_EARLY, "typer"], [_EARLY, "vsearch.cli"], [_LATE]])
def test_ctrl_c_before_the_first_line_and_after_the_last(line: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", *line], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
