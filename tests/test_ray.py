"""Builds on a Ray cluster of two nodes: the same index as a local build, whatever dies on the way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests import album, safety, toy
from vsearch import cluster
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.encoders import Encoder, resolve
from vsearch.errors import ClusterError
from vsearch.files import walk
from vsearch.ingest import Job, Reader
from vsearch.segments import Segment
from vsearch.settings import Settings
from vsearch.updates import Progress

pytest.importorskip("ray", reason="needs vsearch[ray], which is not installed")
if sys.platform != "linux":
    pytest.skip("needs a second address of this machine, as Linux has", allow_module_level=True)

from tests.rayon import TwoNodes, two_nodes

MANY = 448  # seven tasks


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as running:
        yield running


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos for seven tasks: one twice, one broken, one of a format that is not read."""
    folder = safety.make_album(tmp_path_factory.mktemp("many") / "photos", MANY)
    (folder / "day1/negative.cr2").write_bytes(b"II*\0 raw")
    return folder


@pytest.fixture(scope="module")
def local(many: Path, toy_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    index = vsearch.Index.create(tmp_path_factory.mktemp("local") / "index", encoder=toy_encoder)
    index.add(many)
    return index


def test_the_cluster_makes_the_index_that_one_machine_makes(
    nodes: TwoNodes, many: Path, local: vsearch.Index, toy_encoder: Path, tmp_path: Path
) -> None:
    build = ("build-index", many, "--index", tmp_path / "index", "--encoder", toy_encoder, "--json")
    done = safety.run(*build, "--ray", nodes.address)
    assert done.returncode == 0, done.stderr
    index = vsearch.Index.open(tmp_path / "index")
    safety.assert_same(index, local)
    assert len(list(index.failed())) == 2


def test_kept_pixels_come_through(nodes: TwoNodes, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    indices = []
    for name, address in (("here", None), ("there", nodes.address)):
        index = vsearch.Index.create(tmp_path / name, encoder=toy_encoder, keep_pixels=True)
        index.add(photos, ray=address)
        indices.append(index)
    assert safety.rows(indices[0]) == safety.rows(indices[1])
    kept = []
    for index in indices:
        with Segment(index.path / "pixels/000001.h5") as segment:
            kept.append(segment.read())
    assert kept[0].shape == (12, toy.SIZE, toy.SIZE, 3)
    np.testing.assert_array_equal(*kept)


def test_a_renamed_photo_is_neither_decoded_nor_encoded_again(
    nodes: TwoNodes, index: vsearch.Index, photos: Path
) -> None:
    (photos / "day0/photo000.png").rename(photos / "renamed.png")
    os.utime(photos / "day1/photo001.jpg")
    album.write(photos / "new.png", 99)
    seen: list[Progress] = []
    report = index.add(photos, ray=nodes.address, on_progress=seen.append)
    assert (report.moved, report.added, report.unchanged) == (1, 1, 11)
    assert seen[-1].encoded == 1


class Killer:
    """Kills a worker, once, while it runs a task; called at each photo that comes back."""

    def __init__(self, nodes: TwoNodes) -> None:
        self._nodes = nodes
        self.after = 0

    def __call__(self, progress: Progress) -> None:
        working = [] if self.after else self._nodes.working_on_second()
        if working:
            self.after = progress.done
            working[0].kill()


def test_a_worker_that_dies_is_made_up_for(
    nodes: TwoNodes, many: Path, local: vsearch.Index, toy_encoder: Path, tmp_path: Path
) -> None:
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    killer = Killer(nodes)
    report = index.add(many, ray=nodes.address, on_progress=killer)
    assert 0 < killer.after < MANY
    assert (report.added, len(report.skipped)) == (MANY + 1, 2)
    safety.assert_same(index, local)


def test_a_node_that_dies_is_made_up_for_in_silence(
    nodes: TwoNodes, many: Path, local: vsearch.Index, toy_encoder: Path, tmp_path: Path
) -> None:
    build = ("build-index", many, "--index", tmp_path / "index", "--encoder", toy_encoder, "--json")
    process = safety.start(*build, "--ray", nodes.address)
    while not nodes.working_on_second():
        assert process.poll() is None
        time.sleep(0.01)
    nodes.kill_second()
    output, errors = process.communicate(timeout=120)
    assert json.loads(output)["added"] == MANY + 1  # and nothing of Ray's beside it
    assert [line for line in errors.splitlines() if not line.startswith("skipped ")] == []
    safety.assert_same(vsearch.Index.open(tmp_path / "index"), local)


def test_a_killed_driver_leaves_what_the_next_build_continues(
    nodes: TwoNodes, toy_encoder: Path, tmp_path: Path
) -> None:
    photos, index = tmp_path / "photos", tmp_path / "index"
    for n in range(1152):  # a segment and two tasks
        album.write(photos / f"photo{n:04d}.png", n)
    build = ("build-index", photos, "--index", index, "--encoder", toy_encoder, "--json")
    # The third transaction, after those of settings and roots.
    fault = {"VSEARCH_TEST_FAULT": "catalog-committed:3"}
    done = safety.run(*build, "--ray", nodes.address, variables=fault)
    assert safety.killed(done), done.stderr
    assert len(safety.rows(vsearch.Index.open(index))) == 1024
    assert [path for path in safety.strays(index) if path.is_dir()]  # with stages that nobody took
    done = safety.run(*build, "--ray", nodes.address)
    assert done.returncode == 0, done.stderr
    assert '"added": 128' in done.stdout and '"unchanged": 1024' in done.stdout
    assert len({photo.file.path for photo in safety.rows(vsearch.Index.open(index))}) == 1152
    assert list(vsearch.Index.check(index, full=True)) == []
    assert safety.strays(index) == []


def test_no_more_is_under_way_than_the_cluster_can_take(
    nodes: TwoNodes, many: Path, index: vsearch.Index, toy_encoder: Path
) -> None:
    directory = IndexDirectory(index.path)
    settings = directory.settings()
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for file in walk(str(many), (), lambda skipped: None):
            taken += 1
            yield Job(file)

    with (
        Catalog(directory.catalog_file, directory.roots(settings)) as catalog,
        cluster.connected(nodes.address),
    ):
        reader = Reader(Encoder(resolve(toy_encoder)), settings, lambda job, sha256: False)
        readings = cluster.RayReaders(directory, catalog, task_photos=10)(reader, jobs())
        ahead = [taken - n for n, _ in enumerate(readings)]
    assert len(ahead) == MANY + 3
    assert max(ahead) <= 2 * cluster.TASKS_PER_CPU * 10


def test_a_node_that_does_not_see_the_files_ends_the_run(
    nodes: TwoNodes, photos: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    import ray

    job = Job(next(iter(walk(str(photos), (), lambda skipped: None))))
    photos.rename(tmp_path / "unmounted")
    settings = Settings(resolve(toy_encoder).fingerprint)
    task = cluster._Task([job], frozenset(), settings, toy_encoder, tmp_path)
    stage = cluster._read(task)
    (tmp_path / "unmounted").rename(photos)
    with cluster.connected(nodes.address):
        with pytest.raises(ClusterError, match=r"does not see .*same path on every node"):
            list(cluster._collected(task, ray.put(stage)))
        elsewhere = cluster._Task([job], frozenset(), settings, toy_encoder, tmp_path / "unmounted")
        with pytest.raises(ClusterError, match="the index must lie under the same path"):
            list(cluster._collected(elsewhere, ray.remote(cluster._read).remote(elsewhere)))


def lines(done: safety.Done) -> list[str]:
    assert done.returncode == 2, done.stderr
    return done.stderr.splitlines()


def failing(photos: Path, index: Path, address: str, **variables: str) -> str:
    """The one line of a build that finds no cluster, and makes no index."""
    done = safety.run("build-index", photos, "--index", index, "--ray", address, variables=variables)
    (line,) = lines(done)
    assert not index.exists()
    return line


def test_no_cluster_is_one_line(photos: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "no Ray cluster answers at" in failing(photos, index, f"127.0.0.3:{port}")
    assert "received 'ray://head:10001'" in failing(photos, index, "ray://head:10001")


def test_something_else_at_the_address_is_one_line(photos: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.3", 0)) as silent:
        address = f"127.0.0.3:{silent.getsockname()[1]}"
        line = failing(photos, tmp_path / "index", address)
    assert f"something listens at {address}, but it is no Ray cluster, another version of Ray" in line


def test_a_token_that_is_missing_is_one_line(photos: Path, tmp_path: Path) -> None:
    tokenless = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": ""}
    with socket.create_server(("127.0.0.3", 0)) as silent:
        address = f"127.0.0.3:{silent.getsockname()[1]}"
        line = failing(photos, tmp_path / "index", address, **tokenless, HOME=str(tmp_path))
    assert "wants a token: Token authentication is enabled but no" in line
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in line


def test_without_ray_the_error_names_the_extra(photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys, importlib.machinery as machinery\n"
        "path = machinery.PathFinder.find_spec\n"
        "find = lambda name, *rest: None if name == 'ray' else path(name, *rest)\n"
        "machinery.PathFinder.find_spec = find\n"
        "from vsearch.cli import main\n"
        "main()"
    )
    line, environment = safety.command("build-index", photos, "--index", tmp_path / "index", "--ray", "auto")
    done = subprocess.run(
        [line[0], "-c", code, *line[3:]], env=environment, capture_output=True, text=True, timeout=60
    )
    assert lines(done) == ["vsearch: --ray needs ray; run `pip install 'vsearch[ray]'`"]
