"""What a server is told when it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette

from tests.conftest import Run
from vsearch.errors import UsageError
from vsearch.server.options import Options
from vsearch.server.security import Guard


@pytest.mark.parametrize("name", ["http://photos.lan", "photos.lan:8080", "a/b", "", "a..b"])
def test_what_no_browser_calls_a_host_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"a name alone, such as photos\.lan"):
        Options(allow_hosts=(name,))
    assert Guard(Starlette(), Options(allow_hosts=("Photos.lan.",)))._knows_host("photos.lan:8750")


@pytest.mark.parametrize("option", ["--max-megapixels", "--max-upload", "--keep-answers"])
@pytest.mark.parametrize("number", ["inf", "nan"])
def test_bounds_that_bound_nothing_are_refused(
    command: Run, served_index: Path, option: str, number: str
) -> None:
    done = command("serve", "--index", served_index, "--port", "0", option, number)
    assert done.returncode == 2
    assert option.encode() in done.stderr and b"bug" not in done.stderr
