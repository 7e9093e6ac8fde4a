"""Outcomes of a level's items, on their way back into the crawl."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.pool import LONG, Level
from scrapy_mpworkers.eventloop import EventLoop, current_loop
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import Outcome, TaskStatus


class Shelf:
    """A backend, and its executor, that keeps what it is given."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.loop: EventLoop

    def pool(self, number: int, make_state: Any, codec: Any, events: Any, loop: EventLoop) -> Any:
        self.loop = loop
        return self

    def submit(self, hop: int, frame: Any, needs: Any, results: Any, size: int, *_: Any) -> Task:
        row = len(self.tasks), hop, frame, results
        task = Task(row[0], row, needs, self.loop.create_future(), size, 0.0)
        self.tasks.append(task)
        return task


class Bench:
    """A level with items of these sizes at work, and the order in which they go on."""

    def __init__(self, *sizes: int) -> None:
        self.shelf = Shelf()
        self.went_on: list[int | str] = []
        self.codec = ParentCodec({})
        settings, nothing = cast(LevelSettings, _Settings()), cast(Any, self)
        backend = cast(Any, self.shelf)
        self.level = Level(0, settings, backend, nothing, nothing, current_loop(), nothing)
        shipped = [ShippedItem({"html": "x" * size}, self.codec) for size in sizes]
        self.trips = [
            asyncio.ensure_future(self.trip(number, self.level.submit(0, one)))
            for number, one in enumerate(shipped)
        ]

    def state(self, number: int) -> Any:
        """As the context of a crawl."""

    def look(self) -> None:
        """As what wakes up the scraper."""

    async def trip(self, number: int, outcome: Awaitable[Any]) -> None:
        await outcome
        self.went_on.append(number)
        asyncio.get_running_loop().call_soon(self.went_on.append, "turn")

    async def settle_all(self) -> list[int | str]:
        await asyncio.sleep(0)
        for task in self.shelf.tasks:
            self.level.settled(task, Outcome(task.id, int(TaskStatus.DONE), b"", None, 0.0))
        await asyncio.gather(*self.trips, return_exceptions=True)
        return self.went_on


class _Settings:
    name, wait, key = "", True, None

    class pool:  # noqa: N801  # as LevelSettings have it
        workers, max_pending, max_pending_bytes = 1, 100, 100 << 20


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """In a thread, since pytest-twisted's own loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work()).result(20)


def test_small_items_go_on_in_one_turn() -> None:
    async def work() -> list[int | str]:
        return await Bench(10, 10, 10).settle_all()

    assert run(work)[:3] == [0, 1, 2]


def test_large_items_go_on_in_a_turn_each_and_none_overtakes_another() -> None:
    async def work() -> list[int | str]:
        return await Bench(10, 2 * LONG, 2 * LONG, 10, 2 * LONG).settle_all()

    went_on = run(work)

    assert [one for one in went_on if one != "turn"] == [0, 1, 2, 3, 4]
    for first, second in ((1, 2), (3, 4)):
        assert "turn" in went_on[went_on.index(first) : went_on.index(second)]


def test_large_item_whose_wait_is_cancelled_leaves_its_place_once() -> None:
    async def work() -> int:
        bench = Bench(2 * LONG, 2 * LONG)
        await asyncio.sleep(0)
        bench.trips[1].cancel()
        await bench.settle_all()
        for _ in range(5):
            await asyncio.sleep(0)
        return bench.level.backpressure.pending

    assert run(work) == 0
