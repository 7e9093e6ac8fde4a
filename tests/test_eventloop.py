"""The crawl's loop under one interface."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scrapy_mpworkers.eventloop import Staggered, current_loop


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread, since pytest-twisted's own loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(20)


class Crawl:
    """Stands for all that a timer's function holds."""

    def alarm(self) -> None:
        raise AssertionError("the crawl is over")


def test_a_closed_loop_calls_nothing_and_keeps_nothing_alive() -> None:
    async def crawl() -> weakref.ref[Crawl]:
        crawl, loop = Crawl(), current_loop()
        loop.call_later(0.001, crawl.alarm)
        loop.call_later(300, crawl.alarm)
        loop.close()
        await asyncio.sleep(0.01)
        return weakref.ref(crawl)

    over = run(crawl())

    gc.collect()
    assert over() is None


def test_a_loop_calls_later_what_it_is_told_to() -> None:
    async def crawl() -> list[int]:
        called: list[int] = []
        ended = asyncio.Event()
        loop = current_loop()
        loop.call_later(0.05, lambda: (called.append(2), ended.set()))
        loop.call_later(0.001, lambda: called.append(1))
        await ended.wait()
        return called

    assert run(crawl()) == [1, 2]


def test_between_two_that_have_a_turn_each_the_loop_has_its_own() -> None:
    async def crawl() -> list[Any]:
        seen: list[Any] = []
        ended = asyncio.Event()
        loop = current_loop()
        one_a_turn = Staggered(loop)
        for number in range(3):
            one_a_turn.call(lambda number=number: (seen.append(number), loop.call_soon(turn)))

        def turn() -> None:
            seen.append("turn")
            if len(seen) == 6:
                ended.set()

        await ended.wait()
        return seen

    assert run(crawl()) == [0, "turn", 1, "turn", 2, "turn"]


def test_one_that_fails_in_its_turn_does_not_keep_the_next_from_theirs() -> None:
    async def crawl() -> list[str]:
        failed: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: failed.append(str(context["exception"]))
        )
        ended = asyncio.Event()
        one_a_turn = Staggered(current_loop())
        one_a_turn.call(Crawl().alarm)
        one_a_turn.call(ended.set)
        await ended.wait()
        return failed

    assert run(crawl()) == ["the crawl is over"]
