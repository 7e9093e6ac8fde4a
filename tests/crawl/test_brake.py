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
from scrapy_mpworkers.crawl.callback_load import CallbackLoad
from scrapy_mpworkers.crawl.patches import ScraperWakeup
from scrapy_mpworkers.crawl.pool import Backpressure, Level
from scrapy_mpworkers.eventloop import EventLoop, current_loop
from scrapy_mpworkers.pool.metrics import TaskCounts

from .doors import enter


def run(work: Callable[[], Any]) -> Any:
    """Run *work* where there is a loop that nobody else uses."""

    async def here() -> Any:
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, here()).result(20)


class Crawl:
    """A crawl whose level lets *bound* items be pending, at a time that the test sets."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        bound: int,
        levels: int = 1,
        delay: float = 0.0,
        is_eager: bool = False,
    ) -> None:
        self.now = 100.0
        monkeypatch.setattr(brake_module, "monotonic", lambda: self.now)
        self.levels = [self._level(bound) for _ in range(levels)]
        self.flushes = 0
        self.calls_later: list[tuple[float, Callable[[], None]]] = []
        self.calls_soon: list[Callable[[], None]] = []
        self.looks = 0
        loop = SimpleNamespace(
            call_later=lambda *call: self.calls_later.append(call),
            call_soon=self.calls_soon.append,
            is_eager=is_eager,
        )
        self.brake = Brake(
            cast("list[Level]", self.levels),
            delay,
            cast(EventLoop, loop),
            cast(ScraperWakeup, SimpleNamespace(look=self._look)),
        )

    def _look(self) -> None:
        self.looks += 1

    def _level(self, bound: int) -> Any:
        wakeup = cast(ScraperWakeup, SimpleNamespace(look=lambda: None))
        return SimpleNamespace(
            backpressure=Backpressure(current_loop(), bound, 1000, wakeup),
            executor=SimpleNamespace(
                metrics=SimpleNamespace(items=TaskCounts()), flush=self._flush
            ),
            callbacks=CallbackLoad(2, 1000),
            settings=SimpleNamespace(batch_size=10),
            waits=True,
        )

    def _flush(self) -> None:
        self.flushes += 1

    def gets(self, pages: int) -> None:
        """So many downloads end, of those under way and of others."""
        downloads = self.brake.downloads
        for request in [*downloads, *range(-pages, 0)][:pages]:
            if request not in downloads:
                downloads.add(request)
            downloads.remove(request)

    def ends_turn(self) -> None:
        calls, self.calls_soon[:] = self.calls_soon[:], []
        for call in calls:
            call()

    def takes_in(self, items: int, size: int = 1, level: int = 0) -> None:
        self.levels[level].executor.metrics.items.submitted += items
        for _ in range(items):
            assert self.levels[level].backpressure.enter_at_once(size)

    def has_done(self, items: int) -> None:
        self.levels[0].executor.metrics.items.settled[0] += items
        for _ in range(items):
            self.levels[0].backpressure.leave(1)

    def waits(self, downloads: int = 0, scrapy: bool = False, scraped: int = 0) -> bool:
        under_way = self.brake.downloads
        for request in range(100):
            if request < downloads and request not in under_way:
                under_way.add(request)
            elif request >= downloads and request in under_way:  # as if it had never begun
                set.remove(under_way, request)
                under_way._sum_of_begun -= under_way._begun.pop(request)
        return self.brake.is_on(lambda: scrapy, (), range(scraped))


def test_level_that_has_all_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4, levels=2)
        crawl.gets(1)
        before = crawl.waits()
        crawl.takes_in(4, level=1)
        return [before, crawl.waits(), crawl.levels[1].backpressure.has_braked]

    assert run(work) == [False, True, True]


@pytest.mark.parametrize(("bound", "to_leave"), [(4, 1), (8, 2), (80, 5)])
def test_level_that_was_full_gets_room_for_some_pages_at_once(
    monkeypatch: pytest.MonkeyPatch, bound: int, to_leave: int
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound)
        crawl.gets(1)
        crawl.takes_in(bound)
        looks = [crawl.waits()]
        for _ in range(to_leave):
            crawl.has_done(1)
            looks.append(crawl.waits())
        crawl.takes_in(to_leave - 1)
        return [*looks, crawl.waits()]

    assert run(work) == [True] * to_leave + [False, False]


def test_pages_that_end_at_once_count_until_their_callbacks_have_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> tuple[list[bool], list[float], int]:
        crawl = Crawl(monkeypatch, bound=4, is_eager=True)
        answers = []
        for number in range(5):  # in one turn of the loop
            answers.append(crawl.waits(scraped=number))
            crawl.gets(1)
        for _ in range(4):
            crawl.ends_turn()
            answers.append(crawl.waits(scraped=5))
        return answers, [seconds for seconds, _ in crawl.calls_later], len(crawl.calls_soon)

    assert run(work) == ([*[False] * 4, True, *[True] * 3, False], [0.0], 0)


def test_pages_that_end_at_once_may_all_have_a_callback_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=100, is_eager=True)
        answers = []
        crawl.levels[0].callbacks.enter(1)
        for _ in range(8):
            answers.append(crawl.waits())
            crawl.gets(1)
        return answers

    assert run(work) == [*[False] * 7, True]


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
        crawl.gets(2)
        crawl.takes_in(4)
        crawl.has_done(4)
        return [crawl.waits(downloads=count) for count in (1, 2, 3)]

    # Two items a page, and no time at all for a download.
    assert run(work) == [False, True, True]


def test_pages_without_items_are_downloaded_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> bool:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(100)
        return crawl.waits(downloads=16)

    assert not run(work)


def test_pages_whose_callback_is_called_later_count_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4, delay=0.1)
        crawl.gets(4)
        at_once = crawl.waits(scraped=4)
        crawl.now += 0.09
        before = crawl.waits(scraped=4)
        crawl.now += 0.01
        return [at_once, before, crawl.waits(scraped=4)]

    assert run(work) == [True, True, False]


def test_callback_that_awaits_something_else_does_not_hold_the_brake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> tuple[list[float], int, int]:
        crawl = Crawl(monkeypatch, bound=4, delay=0.1)
        crawl.gets(4)
        crawl.waits(scraped=4)
        crawl.waits(scraped=4)
        delays = [seconds for seconds, _ in crawl.calls_later]
        crawl.calls_later[0][1]()
        crawl.waits(scraped=4)
        return delays, crawl.looks, len(crawl.calls_later)

    assert run(work) == ([pytest.approx(0.1)], 1, 2)


def test_downloads_that_do_not_end_keep_no_page_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        at_once = crawl.waits(downloads=8)
        crawl.now += 1.01  # none has ended: nobody knows whether that is long
        later = crawl.waits(downloads=15)
        crawl.brake.downloads.add("a quick one")
        crawl.brake.downloads.remove("a quick one")
        crawl.takes_in(1)
        crawl.has_done(1)
        return [at_once, later, crawl.waits(downloads=11), crawl.waits(downloads=12)]

    # Eight are late, for good.
    assert run(work) == [True, False, False, True]


def test_one_download_is_late_by_what_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[int]:
        crawl = Crawl(monkeypatch, bound=4)
        for _ in range(10):
            crawl.waits(downloads=1)
            crawl.now += 0.5
            crawl.gets(1)
        to_come = []
        crawl.waits(downloads=3)
        for _ in range(4):
            to_come.append(crawl.brake.downloads.count_to_come())
            crawl.now += 0.6
        return to_come

    assert run(work) == [3, 3, 3, 0]


def test_scrapy_looks_again_when_a_download_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[float]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(1)
        crawl.takes_in(1)
        crawl.has_done(1)
        crawl.waits(downloads=4)
        return [seconds for seconds, _ in crawl.calls_later]

    assert run(work) == [pytest.approx(0.2)]


def test_slow_downloads_begin_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=2)
        crawl.now += 3.0
        crawl.gets(2)
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


def test_first_page_does_not_count_the_time_of_all_that_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=8)
        crawl.now += 1.0
        crawl.gets(1)
        crawl.takes_in(1)
        crawl.has_done(1)
        return [crawl.waits(downloads=7), crawl.waits(downloads=8)]

    assert run(work) == [False, True]


def test_slow_downloads_begin_before_the_last_items_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=1)
        crawl.now += 2.0
        crawl.gets(1)
        crawl.takes_in(4)
        return [crawl.waits(scraped=1, downloads=count) for count in (0, 7, 8)]

    # While a page takes its 2 seconds, the workers do 8 items.
    assert run(work) == [False, False, True]


def test_items_that_wait_for_room_count(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=1)
        crawl.now += 1.0
        crawl.gets(1)
        crawl.takes_in(4)
        before = crawl.waits(scraped=1)
        door = crawl.levels[0].backpressure
        waiting = [asyncio.ensure_future(enter(door, 1)) for _ in range(4)]
        await asyncio.sleep(0)
        after = crawl.waits(scraped=1)
        for task in waiting:
            task.cancel()
        return [before, after]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, work()).result(20) == [False, True]


def test_items_of_start_are_not_what_pages_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> bool:
        crawl = Crawl(monkeypatch, bound=100)
        crawl.takes_in(100)
        crawl.has_done(100)
        crawl.levels[0].backpressure.of_start = 100
        crawl.gets(1)
        crawl.takes_in(1)
        crawl.has_done(1)
        return crawl.waits(downloads=16)

    assert not run(work)


def test_pages_get_their_turn_while_start_makes_items(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(1)
        crawl.takes_in(1)
        crawl.has_done(1)
        crawl.takes_in(4)
        before = crawl.waits()
        start = asyncio.ensure_future(crawl.levels[0].backpressure.wait_for_room())
        await asyncio.sleep(0)
        meanwhile = [crawl.waits(), crawl.waits(downloads=1)]
        start.cancel()
        return [before, *meanwhile]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, work()).result(20) == [True, False, True]


def test_pages_without_items_behind_those_with_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        for _ in range(100):
            crawl.gets(1)
            crawl.takes_in(4)
            crawl.has_done(4)
            crawl.waits()
        before = crawl.waits(downloads=16)
        crawl.gets(20)
        return [before, crawl.waits(downloads=16)]

    assert run(work) == [True, False]


def test_pages_that_are_not_done_do_not_count_as_pages_without_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(1)
        crawl.takes_in(4)
        crawl.has_done(4)
        crawl.waits()
        crawl.gets(16)  # and their callbacks have not had a turn yet
        return [crawl.waits(scraped=16, downloads=count) for count in (0, 1)]

    assert run(work) == [False, True]


def test_level_without_room_for_anything_and_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> bool:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(1)
        crawl.levels[0].backpressure.resize(0, 0.0)  # a cluster without workers
        return crawl.waits()

    assert not run(work)


def test_batch_that_nothing_comes_to_fill_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[int]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.gets(1)
        crawl.takes_in(4)
        crawl.waits(downloads=1, scraped=1)
        before = crawl.flushes
        crawl.waits(scraped=1)
        return [before, crawl.flushes]

    assert run(work) == [0, 1]


def test_each_step_of_a_redirection_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        crawl = Crawl(monkeypatch, bound=4)
        for _ in range(20):
            crawl.gets(2)  # a redirection, and the page with its two items
            crawl.takes_in(2)
            crawl.has_done(2)
            crawl.waits()
        return [crawl.waits(downloads=count) for count in (3, 4)]

    # Each of those under way will bring one item.
    assert run(work) == [False, True]


def test_time_in_which_nothing_is_downloaded_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> list[float]:
        crawl = Crawl(monkeypatch, bound=4)
        crawl.waits(downloads=4)
        crawl.now += 2.0
        crawl.gets(4)  # the engine is paused, and does not ask whether to wait
        crawl.now += 3600.0
        crawl.waits(downloads=1)
        crawl.now += 2.0
        crawl.gets(1)
        return [crawl.brake.downloads.seconds]

    assert run(work) == [2.0]
