"""When Scrapy is told to wait with downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scrapy_mpworkers.crawl import brake as brake_module
from scrapy_mpworkers.crawl.brake import Brake
from scrapy_mpworkers.crawl.patches import ScraperWakeup
from scrapy_mpworkers.crawl.pool import Backpressure, Level
from scrapy_mpworkers.eventloop import current_loop


def run(work: Callable[[], Any]) -> Any:
    """Run *work* where there is a loop that nobody else uses."""

    async def here() -> Any:
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, here()).result(20)


class Crawl:
    """A crawl whose level lets *bound* items be pending, at a time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bound: int, levels: int = 1) -> None:
        self.now = 100.0
        monkeypatch.setattr(brake_module, "monotonic", lambda: self.now)
        self.pages = 0
        self.levels = [self._level(bound) for _ in range(levels)]
        stats = SimpleNamespace(get_value=lambda name, default: self.pages)
        crawler = cast(Any, SimpleNamespace(stats=stats))
        self.brake = Brake(crawler, cast("list[Level]", self.levels))

    def _level(self, bound: int) -> Any:
        wakeup = cast(ScraperWakeup, SimpleNamespace(look=lambda: None))
        return SimpleNamespace(
            backpressure=Backpressure(current_loop(), bound, 1000, wakeup),
            executor=SimpleNamespace(metrics=SimpleNamespace(items=SimpleNamespace(submitted=0))),
        )

    def takes_in(self, items: int, size: int = 1, level: int = 0) -> None:
        self.levels[level].executor.metrics.items.submitted += items
        for _ in range(items):
            assert self.levels[level].backpressure.enter_at_once(size)

    def has_done(self, items: int) -> None:
        for _ in range(items):
            self.levels[0].backpressure.leave(1)

    def waits(self, downloads: int = 0, scrapy: bool = False) -> bool:
        return self.brake.is_on(lambda: scrapy, range(downloads))


def test_level_that_has_all_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4, levels=2)
        before = crawl.waits()
        crawl.takes_in(4, level=1)
        return [before, crawl.waits(), crawl.levels[1].backpressure.has_braked]

    assert run(work) == [False, True, True]


def test_level_whose_bytes_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> bool:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.takes_in(1, size=1000)
        return crawl.waits()

    assert run(work)


def test_scrapys_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(lambda: Crawl(monkeypatch, bound=4).waits(scrapy=True))


def test_pages_under_way_count_as_the_items_that_they_will_bring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.pages = 2
        crawl.takes_in(4)
        crawl.has_done(4)
        return [crawl.waits(downloads=count) for count in (1, 2, 3)]

    # Two items a page, and no time at all for a download.
    assert run(work) == [False, True, True]


def test_pages_without_items_are_downloaded_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> bool:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.pages = 100
        return crawl.waits(downloads=16)

    assert not run(work)


def test_slow_downloads_begin_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=2)
        crawl.now += 3.0
        crawl.pages = 2
        crawl.takes_in(2)
        crawl.has_done(2)
        # Each took 3 seconds, in which the workers would do 12 items beside the 4 that may wait.
        return [crawl.waits(downloads=count) for count in (15, 16)]

    assert run(work) == [False, True]


def test_before_the_first_page_a_few_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        return [crawl.waits(downloads=count) for count in (0, 7, 8)]

    assert run(work) == [False, False, True]
