"""The built site, opened from disk in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from playwright.sync_api import Page, Request, expect

if TYPE_CHECKING:
    from ..page.browser import Window

ROOT = Path(__file__).parents[3]
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize(
    ("words", "title", "page"),
    [
        ("dead letters", "Dead letters", "dead-letters.html"),
        ("MPWORKERS_PAGE_HOST", "Settings", "reference.html"),
        ("WorkerDied", "WorkerDied", "api.html"),
    ],
)
def test_the_search_finds_it_from_disk(
    site_folder: Path, window: Window, words: str, title: str, page: str
) -> None:
    def look(home: Page) -> None:
        home.locator("input[name=query]").press_sequentially(words)  # it hears keys only
        home.locator(f".md-search-result__item > a[href*='/{page}']").first.click()
        home.wait_for_url(f"**/{page}*")
        expect(home.locator("article")).to_contain_text(title)

    window.look((site_folder / "index.html").as_uri(), look)


class Seen(NamedTuple):
    """What has been seen of all pages, on a phone."""

    said: list[str]
    wide: list[str]


@pytest.fixture(scope="module")
def seen(site_folder: Path, window: Window) -> Seen:
    seen = Seen([], [])

    def look(page: Page) -> None:
        page.on("console", lambda line: seen.said.append(f"{page.url}: {line.text}"))
        page.on("requestfailed", lambda request: seen.said.extend(failed(request)))
        page.on("request", lambda request: seen.said.extend(from_elsewhere(request)))
        for path in pages_of(site_folder):
            page.goto(path.as_uri())
            page.locator("footer").first.wait_for()
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                seen.wide.append(path.name)

    window.look((site_folder / "index.html").as_uri(), look, viewport=PHONE)
    return seen


def failed(request: Request) -> list[str]:
    """Say that a request has failed, but not because the next page was opened meanwhile."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"failed: {request.url}"]


def test_pages_load_nothing_from_elsewhere_without_an_error(seen: Seen) -> None:
    assert seen.said == []


def test_no_page_is_wider_than_a_phone(seen: Seen) -> None:
    assert seen.wide == []


def test_every_page_of_the_docs_is_there(site_folder: Path) -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"contributing", "changes"}

    assert names == {path.stem for path in pages_of(site_folder) if path.parent == site_folder}


def pages_of(site_folder: Path) -> list[Path]:
    """All pages but the one that a server shows where there is none, which is for its root."""
    return sorted({*site_folder.rglob("*.html")} - {site_folder / "404.html"})


def from_elsewhere(request: Request) -> list[str]:
    inside = request.url.startswith(("file:", "data:", "blob:", "about:"))
    return [] if inside else [f"{request.frame.url} asks for {request.url}"]


def test_no_text_names_a_server_to_load_from(site_folder: Path) -> None:
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")

    assert [
        page.name for page in site_folder.rglob("*.html") if loads.search(page.read_text())
    ] == []


def test_light_and_dark_follow_the_system(site_folder: Path, window: Window) -> None:
    url = (site_folder / "index.html").as_uri()

    assert window.look(url, brightness, color_scheme="light") > 200
    assert window.look(url, brightness, color_scheme="dark") < 60


def test_a_reader_can_choose_dark_for_all_pages(site_folder: Path, window: Window) -> None:
    def look(page: Page) -> tuple[int, int]:
        page.locator("label[title='Switch to light mode']").click()
        page.locator("label[title='Switch to dark mode']").click()
        chosen = brightness(page)
        page.goto((site_folder / "tutorial.html").as_uri())
        return chosen, brightness(page)

    url = (site_folder / "index.html").as_uri()

    assert max(window.look(url, look, color_scheme="light")) < 60


def brightness(page: Page) -> int:
    """0 to 255, of the background."""
    colour: Any = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(int(part) for part in re.findall(r"\d+", colour)[:3])
