"""What is pending stays within its bounds, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from scrapy_mpworkers.crawl.patches import ScraperWakeup
from scrapy_mpworkers.crawl.pool import Backpressure
from scrapy_mpworkers.eventloop import current_loop

from .doors import enter


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread, since pytest-twisted's own loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(20)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Door:
    """Notes who came in, in which order."""

    def __init__(self, max_count: int = 100, max_bytes: int = 1000) -> None:
        self.emptied = 0
        self.inside: list[str] = []
        self.backpressure = Backpressure(
            current_loop(), max_count, max_bytes, cast(ScraperWakeup, self)
        )
        self._tasks: list[asyncio.Task[None]] = []

    def look(self) -> None:
        self.emptied += 1

    async def come(self, *names: str, size: int = 1) -> None:
        for name in names:
            self._tasks.append(asyncio.ensure_future(self._enter(name, size)))
        await turns()

    async def _enter(self, name: str, size: int) -> None:
        await enter(self.backpressure, size)
        self.inside.append(name)

    async def go(self, size: int = 1) -> None:
        self.backpressure.leave(size)
        await turns()


def test_no_more_than_the_bound_come_in_and_the_others_follow_in_order() -> None:
    async def work() -> list[Any]:
        door = Door(max_count=2)
        await door.come("a", "b", "c", "d")
        first = list(door.inside)
        await door.go()
        return [first, door.inside, door.backpressure.pending]

    assert run(work()) == [["a", "b"], ["a", "b", "c"], 3]


def test_bytes_are_bounded_too() -> None:
    async def work() -> list[list[str]]:
        door = Door(max_bytes=10)
        await door.come("a", "b", "c", size=4)
        first = list(door.inside)
        await door.go(4)
        return [first, door.inside]

    assert run(work()) == [["a", "b"], ["a", "b", "c"]]


def test_a_frame_above_the_bound_comes_in_alone() -> None:
    async def work() -> list[list[str]]:
        door = Door(max_bytes=10)
        await door.come("small", size=1)
        await door.come("large", size=50)
        waiting = list(door.inside)
        await door.go(1)
        await door.come("next", size=1)
        alone = list(door.inside)
        await door.go(50)
        return [waiting, alone, door.inside]

    assert run(work()) == [["small"], ["small", "large"], ["small", "large", "next"]]


def test_a_small_one_does_not_overtake_a_large_one_that_waits() -> None:
    async def work() -> list[str]:
        door = Door(max_bytes=10)
        await door.come("a", size=8)
        await door.come("large", size=9)
        await door.come("small", size=1)
        return door.inside

    assert run(work()) == ["a"]


def test_room_is_awaited_and_not_taken() -> None:
    async def work() -> list[Any]:
        door = Door(max_count=1)
        await door.come("a")
        room = asyncio.ensure_future(door.backpressure.wait_for_room())
        await turns()
        waited = not room.done()
        await door.go()
        return [waited, room.done(), door.backpressure.pending]

    assert run(work()) == [True, True, 0]


@pytest.mark.parametrize("let_in_first", [False, True])
def test_whoever_is_cancelled_while_it_waits_for_room_leaves_no_trace(let_in_first: bool) -> None:
    async def work() -> list[Any]:
        door = Door(max_count=1)
        await door.come("a")
        room = asyncio.ensure_future(door.backpressure.wait_for_room())
        await turns()
        if let_in_first:
            door.backpressure.leave(1)  # it is let in, and has not had its turn yet
        room.cancel()
        await turns()
        if not let_in_first:
            await door.go()
        return [room.cancelled(), door.backpressure.pending, door.emptied]

    assert run(work()) == [True, 0, 1]


def test_a_large_one_that_gives_up_waiting_lets_those_behind_it_in() -> None:
    async def work() -> list[str]:
        door = Door(max_bytes=10)
        await door.come("a", size=4)
        large = asyncio.ensure_future(enter(door.backpressure, 8))
        await turns()
        await door.come("b", size=4)
        large.cancel()
        await turns()
        return door.inside

    assert run(work()) == ["a", "b"]


def test_whoever_waited_for_room_empties_the_place_as_well() -> None:
    async def work() -> list[int]:
        door = Door(max_count=1)
        await door.come("a")
        room = asyncio.ensure_future(door.backpressure.wait_for_room())
        await turns()
        await door.go()
        await room
        return [door.backpressure.pending, door.emptied]

    assert run(work()) == [0, 1]


def told_when_drained(prepare: Callable[[Door], Coroutine[Any, Any, None]]) -> list[int]:
    async def work() -> list[int]:
        door, told = Door(max_count=1), []
        await prepare(door)
        door.backpressure.when_drained(lambda: told.append(len(door.inside)))
        while door.backpressure.pending:
            await door.go()
        await asyncio.sleep(0.01)
        return told

    return run(work())  # type: ignore[no-any-return]


def test_drained_is_told_once_all_have_left_who_waited_too() -> None:
    assert told_when_drained(lambda door: door.come("a", "b", "c")) == [3]


def test_drained_is_told_at_once_where_nothing_is_pending() -> None:
    assert told_when_drained(lambda door: door.come()) == [0]


def test_scrapy_asks_again_once_for_all_that_leave_in_a_turn() -> None:
    async def work() -> list[Any]:
        door = Door(max_count=3)
        await door.come("a", "b", "c", "d")
        door.backpressure.has_braked = True
        door.backpressure.leave(1)
        door.backpressure.leave(1)
        await turns()
        once = door.emptied
        await door.go()
        return [once, door.emptied]

    assert run(work()) == [1, 1]


def test_more_room_lets_scrapy_go_on_and_lets_in_who_waits() -> None:
    async def work() -> list[Any]:
        door = Door(max_count=1)
        await door.come("a", "b")
        door.backpressure.has_braked = True
        door.backpressure.resize(3, 3.0)
        await turns()
        return [door.inside, door.emptied]

    assert run(work()) == [["a", "b"], 1]


def test_less_room_sends_nobody_away() -> None:
    async def work() -> list[Any]:
        door = Door(max_count=3)
        await door.come("a", "b", "c")
        door.backpressure.resize(2, 2.0)
        await door.go()
        await door.come("d")
        before = list(door.inside)
        await door.go()
        return [before, door.inside]

    assert run(work()) == [["a", "b", "c"], ["a", "b", "c", "d"]]
