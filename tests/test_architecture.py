"""The shape of the project: import directions, what each command loads, public names, lengths."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import typer
from PIL import Image

import vsearch
from vsearch.cli import app

ROOT = Path(__file__).parents[1]
HEAVY = {"tensorflow", "keras", "chromadb", "onnxruntime", "h5py", "torch", "scipy", "fastapi"}
COMMANDS = sorted(typer.main.get_group(app).commands.items())
RUN_COMMAND = """
import sys
sys.argv = ["vsearch", *{arguments!r}]
from vsearch.cli import main
main()
"""
LIST_MODULES = """
import atexit, json, sys
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules))))
"""


def loaded_by(code: str, **environment: str) -> set[str]:
    """Which of ``HEAVY`` a fresh interpreter has imported after running ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES + code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return HEAVY.intersection(json.loads(done.stdout.splitlines()[-1]))


def loaded_by_command(*arguments: str, index: str = "") -> set[str]:
    return loaded_by(RUN_COMMAND.format(arguments=arguments), VSEARCH_INDEX=index)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture(scope="module")
def index(photos: Path) -> str:
    loaded_by_command("build-index", str(photos))
    return str(photos / ".vsearch")


def test_imports_run_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {plain(re.split(r"[^\w.-]", line)[0]) for line in lines} | {"keras"}  # TensorFlow brings it
    trees = (ast.parse(path.read_text()) for path in (ROOT / "vsearch").rglob("*.py"))
    imported = {name for tree in trees for node in ast.walk(tree) for name in imported_by(node)}
    packages = metadata.packages_distributions()
    outside = imported - sys.stdlib_module_names - {"vsearch"}
    missing = {n for n in outside if n in packages and not declared.intersection(map(plain, packages[n]))}
    assert missing == set()


def plain(name: str) -> str:
    """The name of a distribution in the spelling that is compared."""
    return name.casefold().replace("_", "-")


def imported_by(node: ast.AST) -> list[str]:
    """The packages that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [str(node.module).split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import vsearch") == set()


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by_command("--help") == set()


def test_status_loads_nothing_heavy(index: str) -> None:
    assert loaded_by_command("status", index=index) == set()


def test_query_loads_no_tensorflow(photos: Path, index: str) -> None:
    loaded = loaded_by_command("query", str(photos / "red.png"), index=index)
    assert "h5py" in loaded
    assert not loaded & {"tensorflow", "keras", "torch"}


def test_public_names_are_sorted_and_there() -> None:
    assert list(vsearch.__all__) == sorted(vsearch.__all__)
    assert [name for name in vsearch.__all__ if not hasattr(vsearch, name)] == []


def test_type_checkers_know_the_public_names_and_no_others(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(f"from vsearch import {', '.join(vsearch.__all__)}\nfrom vsearch import NoSuchThing\n")
    options = ["--cache-dir", tmp_path / "cache", "--follow-imports", "skip", "--strict"]
    mypy = [sys.executable, "-m", "mypy", *options, "--config-file", os.devnull, user, "vsearch/__init__.py"]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.count("error:") == 1 and '"NoSuchThing"' in done.stdout, done.stdout


@pytest.mark.parametrize("folder", ["vsearch", "tests", "scripts", "benchmarks"])
def test_files_are_short(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): lines for path, lines in lengths.items() if lines > 400} == {}


def test_an_unknown_user_is_no_bug() -> None:
    """``Path.expanduser`` raises for ``~nobody``, which ``os.path.expanduser`` leaves as it is."""
    sources = {path: path.read_text() for path in (ROOT / "vsearch").rglob("*.py")}
    assert [str(path) for path, text in sources.items() if ".expanduser()" in text] == []


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_has_help_with_an_example(name: str, command: object) -> None:
    help_text = getattr(command, "help", None) or ""
    epilog = getattr(command, "epilog", None) or ""
    assert help_text.strip()
    assert f"vsearch {name} " in f"{help_text}\n{epilog} ".replace("\n", " ")
