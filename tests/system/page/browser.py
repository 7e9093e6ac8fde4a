"""A browser without a window, for tests of what people see."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

SECONDS = 20.0
"""That a page has to show something: the machine may be busy with other tests."""


@cache
def program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


def why_not() -> str | None:
    """Why there is no browser here, if there is none."""
    return None if program() else "chromium is missing (Debian: apt-get install chromium)"


class Window:
    """A browser in a thread of its own: playwright's calls wait, and pytest has a loop in its."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._open).result(60)

    def _open(self) -> None:
        expect.set_options(timeout=SECONDS * 1000)
        self._playwright = sync_playwright().start()
        chromium = self._playwright.chromium
        self._browser: Browser = chromium.launch(executable_path=program(), args=["--no-sandbox"])

    def look(self, url: str, at: Callable[[Page], Any], **options: Any) -> Any:
        """Open *url* and return what *at* finds there; nothing may go wrong in the page."""
        return self._thread.submit(self._look, url, at, options).result(3 * SECONDS)

    def _look(self, url: str, at: Callable[[Page], Any], options: dict[str, Any]) -> Any:
        page = self._browser.new_page(**options)
        page.set_default_timeout(SECONDS * 1000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda said: wrong.append(said.text) if is_bad(said.text) else None)
        try:
            page.goto(url)
            found = at(page)
        finally:
            page.close()
        assert wrong == []
        return found

    def close(self) -> None:
        self._thread.submit(self._close).result(60)
        self._thread.shutdown()

    def _close(self) -> None:
        self._browser.close()
        self._playwright.stop()


def is_bad(text: str) -> bool:
    """Whether a line of the console is no mere refusal by a server."""
    return "Content Security Policy" in text or "Uncaught" in text
