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

    def submit(self, hop: int, frame: Any, needs: Any, results: Any, *rest: Any) -> Task:
        attributes, size, _, _, subject, *futures = rest
        row = len(self.tasks), hop, frame, results, attributes
        [future] = futures or [self.loop.create_future()]
        task = Task(row[0], row, needs, future, size, 0.0, subject=subject)
        self.tasks.append(task)
        return task

    def flush(self) -> None:
        """As an executor that lets no task wait for others."""


class Bench:
    """A level with items of these sizes at work, and the order in which they go on.

    At most *bound* of them are let in at a time.
    """

    def __init__(self, *sizes: int, bound: int = 100) -> None:
        self.shelf = Shelf()
        self.went_on: list[int | str] = []
        self.settled: list[Task] = []
        self.codec = ParentCodec({})
        settings, nothing = cast(LevelSettings, _Settings()), cast(Any, self)
        backend = cast(Any, self.shelf)
        self.level = Level(0, settings, backend, nothing, nothing, current_loop(), nothing)
        self.level.backpressure.resize(bound, 1.0)
        self.shipped = [ShippedItem({"html": "x" * size}, self.codec, None) for size in sizes]
        self.trips = [
            asyncio.ensure_future(self.trip(number, self.level.submit(0, one)))
            for number, one in enumerate(self.shipped)
        ]

    def state(self, number: int) -> Any:
        """As the context of a crawl."""

    def look(self) -> None:
        """As what wakes up the scraper."""

    async def trip(self, number: int, outcome: Awaitable[Any]) -> None:
        await outcome
        self.went_on.append(number)
        asyncio.get_running_loop().call_soon(self.went_on.append, "turn")

    @property
    def submitted(self) -> list[int]:
        """The items that were let in so far, by their numbers."""
        return [self.shipped.index(cast(Any, task.subject)) for task in self.shelf.tasks]

    def settle(self, task: Task) -> None:
        self.settled.append(task)
        self.level.settled(task, Outcome(task.id, int(TaskStatus.DONE), b"", None, 0.0))

    async def settle_all(self) -> list[int | str]:
        await asyncio.sleep(0)
        for task in self.shelf.tasks:  # the list grows while items are let in
            if task not in self.settled:
                self.settle(task)
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


def test_items_that_wait_for_room_are_submitted_in_the_moment_in_which_they_are_let_in() -> None:
    async def work() -> list[Any]:
        bench = Bench(10, 10, 10, bound=1)
        await asyncio.sleep(0)
        before = bench.submitted
        bench.settle(bench.shelf.tasks[0])
        return [before, bench.submitted, await bench.settle_all()]

    before, after, went_on = run(work)

    assert [before, after] == [[0], [0, 1]]
    assert [one for one in went_on if one != "turn"] == [0, 1, 2]


def test_an_item_whose_wait_for_room_is_cancelled_is_not_submitted() -> None:
    async def work() -> list[Any]:
        bench = Bench(10, 10, 10, bound=1)
        await asyncio.sleep(0)
        bench.trips[1].cancel()
        await asyncio.sleep(0)
        await bench.settle_all()
        return [bench.submitted, bench.level.backpressure.pending]

    assert run(work) == [[0, 2], 0]


def test_an_item_that_was_let_in_goes_on_when_its_wait_is_cancelled() -> None:
    async def work() -> list[Any]:
        bench = Bench(10, 10, 10, bound=1)
        await asyncio.sleep(0)
        bench.settle(bench.shelf.tasks[0])
        bench.trips[1].cancel()
        await asyncio.sleep(0)
        inside = bench.level.backpressure.count
        await bench.settle_all()
        return [inside, bench.submitted, bench.level.backpressure.pending]

    assert run(work) == [1, [0, 1, 2], 0]
