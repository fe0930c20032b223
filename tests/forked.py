"""Runs of the command line in forks of a process that has the libraries loaded: each saves their import."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOADED = ["vsearch.cli", "vsearch.index", "chromadb", "h5py", "imagehash", "onnxruntime", "rich.progress"]
_TIMEOUT = 120
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload([__name__, *_LOADED])


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """``python -m vsearch ARGUMENTS`` to its end, what it wrote and its exit status included."""
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        process = _forkserver.Process(target=_main, args=(arguments, environment, stdout, stderr))
        process.start()
        process.join(_TIMEOUT)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(arguments), _TIMEOUT)
        return subprocess.CompletedProcess(
            list(arguments), process.exitcode, stdout.read_text(), stderr.read_text()
        )


def _main(arguments: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    """What the fork does."""
    for descriptor, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["vsearch", *arguments]
    runpy.run_module("vsearch", run_name="__main__", alter_sys=True)
