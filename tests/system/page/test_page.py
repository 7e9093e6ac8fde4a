"""What people see of real crawls, in a real browser."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from ..crawls.harness import World, offload

if TYPE_CHECKING:
    from pathlib import Path

    from ..crawls.harness import Crawl, Launcher
    from .browser import Window

WORLD = World("asyncio", "forkserver")
GATED: dict[str, Any] = {"MPWORKERS_PAGE": True, "MPWORKERS_WORKERS": 2, **offload("Gate")}


@pytest.fixture(autouse=True)
def _jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the job files of a test among its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def page_of(crawl: Crawl) -> str:
    """The address of the page that the log names."""
    return crawl.wait_for("The workers' page is at ").split()[-1]


def test_the_page_shows_stacks_a_worker_that_was_killed_its_item_and_the_end(
    launch: Launcher, window: Window
) -> None:
    crawl = launch.crawl("hostile", WORLD, "items=6", held=True, **GATED)
    url = page_of(crawl)
    (_, victim), _ = sorted(crawl.wait_told("busy", 2))

    def look(page: Page) -> None:
        expect(page.locator("#spider")).to_have_text("hostile")
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator("#workers .name .busy")).to_have_count(2)
        items = page.locator("#workers .now [title]")
        assert items.first.get_attribute("title").startswith("http://a/")  # type: ignore[union-attr]

        page.locator("#ask").click()
        expect(page.locator("#answers pre").first).to_contain_text("wait_at_gate")

        os.kill(victim, signal.SIGKILL)
        death = page.locator("#events li", has_text="death")
        expect(death).to_contain_text("SIGKILL")
        expect(death).to_contain_text("http://a/1</script><script>alert(1)</script><img")
        expect(page.locator("#workers .restarts.warn")).to_have_text("1")

        crawl.open_gate()
        expect(page.locator("#notice")).to_contain_text("The crawl is over")
        expect(page.locator("#state")).to_have_text("over")
        # As text only: nothing of an item has become a part of the page.
        assert page.locator("#main img, #main script").count() == 0

    window.look(url, look)

    assert crawl.finish().numbers == [1, 2, 3, 4, 5, 6]


def test_without_its_token_the_page_says_where_that_is(launch: Launcher, window: Window) -> None:
    crawl = launch.crawl("start", WORLD, "items=2", held=True, **GATED)
    url = page_of(crawl).partition("#")[0]

    def look(page: Page) -> None:
        expect(page.locator("#notice")).to_contain_text("token")
        expect(page.locator("#main")).to_be_hidden()

    window.look(url, look)

    crawl.open_gate()
    crawl.finish()


def test_a_page_whose_crawl_is_killed_says_since_when_nobody_answers(
    launch: Launcher, window: Window
) -> None:
    crawl = launch.crawl("start", WORLD, "items=2", held=True, **GATED)
    url = page_of(crawl)

    def look(page: Page) -> None:
        expect(page.locator("#state")).to_have_text("running")
        crawl.kill_main()
        expect(page.locator("#notice")).to_contain_text("has not answered since")

    window.look(url, look)
    crawl.finish()
