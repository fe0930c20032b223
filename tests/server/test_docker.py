"""The container files, as far as they can be held to their word without a Docker engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.serving import eventually

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    return loaded


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_compose_keeps_its_promises(compose: dict[str, Any]) -> None:
    vsearch, chroma = compose["services"]["vsearch"], compose["services"]["chroma"]
    assert any(volume.endswith(":/photos:ro") for volume in vsearch["volumes"])
    assert vsearch["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in vsearch["ports"])
    assert "ports" not in chroma
    assert "curl" not in json.dumps(chroma["healthcheck"]["test"])
    named = {volume.split(":")[0] for s in (vsearch, chroma) for volume in s["volumes"] if volume[0] != "$"}
    assert named == set(compose["volumes"])
    assert (ROOT / "docker" / vsearch["build"]["context"] / vsearch["build"]["dockerfile"]).is_file()


def test_the_image_is_slim_staged_and_not_root() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(stages) == 2
    assert all("slim" in stage for stage in stages)
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["10001"]
    for sources in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.M):
        assert [s for s in sources.split() if not (ROOT / s).exists()] == []


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(BIN))
    if hadolint is None:
        pytest.skip("needs hadolint on PATH")
    done = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_entrypoint_indexes_and_serves(photos: Path, tmp_path: Path) -> None:
    port = free_port()
    variables = dict(re.findall(r"(VSEARCH_\w+)=(\S+)", DOCKERFILE))
    assert set(variables) == {"VSEARCH_INDEX", "VSEARCH_PHOTOS", "VSEARCH_HOST", "VSEARCH_PORT"}
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "vsearch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vsearch "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "VSEARCH_INDEX": str(tmp_path / "index" / "photos.vsearch"),
        "VSEARCH_PHOTOS": str(photos),
        "VSEARCH_HOST": "127.0.0.1",  # 0.0.0.0 in the container, which has a network of its own
        "VSEARCH_PORT": str(port),
        "VSEARCH_TOKEN": "correct-horse-battery-staple",
    }
    process = subprocess.Popen(
        [ROOT / "docker" / "entrypoint.sh", "serve"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    )
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/healthz"), 90)
        found = re.search(r"^    CMD (\[.+\])$", DOCKERFILE, re.M)
        assert found is not None
        health = json.loads(found[1])
        checked = subprocess.run([sys.executable, *health[1:]], env=environment, capture_output=True)
        assert checked.returncode == 0, checked.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    checked = subprocess.run([sys.executable, *health[1:]], env=environment, capture_output=True)
    assert checked.returncode != 0
    done = subprocess.run(
        [ROOT / "docker" / "entrypoint.sh", "status", "--json"], env=environment, capture_output=True
    )
    assert json.loads(done.stdout)["photos"] == 12


def test_the_chroma_service_runs(compose: dict[str, Any], tmp_path: Path) -> None:
    port = free_port()
    service = compose["services"]["chroma"]
    changed = {"/data": str(tmp_path), "0.0.0.0": "127.0.0.1", "8000": str(port)}
    command = [changed.get(word, word) for word in service["command"]]
    process = subprocess.Popen([BIN / "chroma", *command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/api/v2/heartbeat"))
        check = [word.replace("8000", str(port)) for word in service["healthcheck"]["test"][1:]]
        assert subprocess.run(check).returncode == 0
    finally:
        process.terminate()
        process.wait(30)
    assert subprocess.run(check, capture_output=True).returncode != 0
