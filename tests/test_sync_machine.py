"""Whatever happens to a folder, in whatever order: after ``sync`` the index equals a fresh build of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vsearch
from tests import album, safety, toy

NAMES = st.sampled_from([f"{folder}{name}.bmp" for folder in ("", "a/", "b/") for name in "xyz"])
SEEDS = st.integers(0, 5)  # few, so that the same bytes turn up twice
FAST = Path("/dev/shm")


class Stopped(Exception):
    """Ends a run in the middle, as Ctrl-C would."""


class Folder(RuleBasedStateMachine):
    """Changes a folder and now and then syncs an index of it."""

    @initialize()
    def begin(self) -> None:
        place = FAST if FAST.is_dir() and os.access(FAST, os.W_OK) else None
        self.base = Path(tempfile.mkdtemp(prefix="vsearch-test-", dir=place))
        self.encoder = toy.write_toy_encoder(self.base / "toy")
        self.photos = self.base / "photos"
        for seed, name in enumerate(("x.bmp", "a/y.bmp")):
            album.write(self.photos / name, seed)
        self.index = vsearch.Index.create(self.base / "index", encoder=self.encoder)
        self.index.add(self.photos)
        self.attic: tuple[str, bytes, os.stat_result] | None = None
        self.synced = True

    def teardown(self) -> None:
        if hasattr(self, "base"):
            self.index.close()
            shutil.rmtree(self.base)

    def there(self, name: str) -> Path | None:
        path = self.photos / name
        return path if path.exists() else None

    @rule(name=NAMES, seed=SEEDS)
    def add_or_edit(self, name: str, seed: int) -> None:
        album.write(self.photos / name, seed)
        self.synced = False

    @rule(name=NAMES, seed=SEEDS)
    def replace_with_the_same_mtime(self, name: str, seed: int) -> None:
        if path := self.there(name):
            status = path.stat()
            album.write(path, seed)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            self.synced = False

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if path := self.there(old):
            (self.photos / new).parent.mkdir(exist_ok=True)
            path.rename(self.photos / new)
            self.synced = False

    @rule(one=NAMES, two=NAMES)
    def swap(self, one: str, two: str) -> None:
        first, second = self.there(one), self.there(two)
        if first and second and first != second:
            first.rename(self.base / "aside")
            second.rename(first)
            (self.base / "aside").rename(second)
            self.synced = False

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if path := self.there(name):
            self.attic = (name, path.read_bytes(), path.stat())
            path.unlink()
            self.synced = False

    @precondition(lambda self: getattr(self, "attic", None))
    @rule()
    def restore(self) -> None:
        assert self.attic is not None
        name, data, status = self.attic
        (self.photos / name).parent.mkdir(exist_ok=True)
        (self.photos / name).write_bytes(data)
        os.utime(self.photos / name, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.synced = False

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if path := self.there(name):
            path.touch()
            self.synced = False

    @rule(name=NAMES)
    def corrupt(self, name: str) -> None:
        if path := self.there(name):
            path.write_bytes(b"BM" + b"\0" * 20)
            self.synced = False

    @rule(after=st.integers(0, 3))
    def interrupted_sync(self, after: int) -> None:
        steps = 0

        def stop(_: vsearch.Progress) -> None:
            nonlocal steps
            steps += 1
            if steps > after:
                raise Stopped

        try:
            self.index.sync(prune=True, on_progress=stop)
        except Stopped:
            return
        self.synced = True

    @rule()
    def sync(self) -> None:
        self.index.sync(prune=True)
        self.synced = True

    @invariant()
    def equals_a_fresh_build(self) -> None:
        if not getattr(self, "synced", False) or not any(self.photos.rglob("*.bmp")):
            return
        self.index.sync(prune=True)
        fresh = vsearch.Index.create(self.base / "fresh", encoder=self.encoder)
        try:
            fresh.add(self.photos)
            safety.assert_equal(self.index.path, fresh.path)
        finally:
            shutil.rmtree(fresh.path)
        self.synced = False  # until the next sync there is nothing new to compare


def test_sync_equals_a_fresh_build() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Folder,
        settings=settings(
            max_examples=int(os.environ.get("VSEARCH_TEST_EXAMPLES", "5")),
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


pytestmark = pytest.mark.timeout(1200)
