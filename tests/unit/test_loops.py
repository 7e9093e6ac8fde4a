"""The crawl's loop under one interface."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scrapy_mpworkers.loops import current_loop


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
