"""One page of a real browser."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
CHROMIUM = (
    os.environ.get("VSEARCH_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
NEEDS_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium on PATH (apt-get install chromium)"
)
playwright.expect.set_options(timeout=20_000)  # CI's machines may be slow; what is there is found at once
TOKEN = "correct-horse-battery-staple"
WIDE, PHONE = (1280, 800), (390, 844)


class Tab:
    """One page of the browser, and whatever it complained about."""

    def __init__(
        self, browser: playwright.Browser, url: str, size: tuple[int, int] = WIDE, **options: object
    ):
        self.url = url
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.goto(url)

    def _note(self, message: playwright.ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def cards(self) -> playwright.Locator:
        return self.page.locator(".card")

    def top(self) -> str:
        return self.page.locator(".card .pick").first.get_attribute("aria-label") or ""

    def drop(self, path: Path) -> None:
        """Drop a file on the page, as a hand would from a file manager."""
        data = list(path.read_bytes())
        transfer = self.page.evaluate_handle(
            """([bytes, name]) => { const d = new DataTransfer();
            d.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"})); return d; }""",
            [data, path.name],
        )
        self.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        self.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        self.found()

    def found(self) -> None:
        """Wait for answers."""
        playwright.expect(self.page.locator("#summary")).to_contain_text(re.compile(r"\(\d+ ms\)"))
