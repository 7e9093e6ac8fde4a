"""The crawls that a worker serves: opens their consumers, has them at hand, closes them."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from scrapy_mpworkers.wire.messages import (
    Closed,
    Definition,
    OpenCrawl,
    Opened,
    OpenFailed,
    Outcome,
    Task,
)

#: Awaits; in a worker, an await that can never end is an error instead of a hang.
Guard = Callable[[Awaitable[None]], Awaitable[None]]


class Consumers(Protocol):
    """What the factory of a Setup makes: the consumers of all hops of one crawl."""

    def take_over(self) -> None: ...
    async def open(self) -> None: ...
    async def consume(self, task: Task) -> Outcome: ...
    async def consume_together(self, tasks: Sequence[Task]) -> list[Outcome]: ...
    async def close(self) -> None: ...
    def effects(self) -> bytes | None: ...
    def define(self, definitions: Sequence[Definition]) -> None: ...


class Withdrawn(Exception):
    """The pool has no use for this worker any more, and kills it this very moment."""


class OwnTasks:
    """Which crawl each asyncio task is of: that of the task that made it.

    Args:
        loop: of the worker; its task factory is replaced.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._crawl: ContextVar[int | None] = ContextVar("crawl", default=None)
        self._tasks: WeakKeyDictionary[asyncio.Future[Any], int | None] = WeakKeyDictionary()
        loop.set_task_factory(self._make)

    def begin(self, crawl: int) -> None:
        """What the running task makes from now on is of this crawl."""
        self._crawl.set(crawl)

    async def cancel(self, crawl: int) -> None:
        """End those of a crawl, as ``asyncio.run`` does at its end."""
        left = [task for task, of in list(self._tasks.items()) if of == crawl and not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        self._tasks[task] = self._crawl.get()
        return task


class OpenCrawls:
    """The consumers by crawl. What is logged in between belongs to the one that is at work.

    Args:
        guard: awaits what the user's pipelines do.
        may_open: asked before the first of them is opened.
        tasks: asyncio's, by crawl.
    """

    def __init__(self, guard: Guard, may_open: Callable[[], bool], tasks: OwnTasks) -> None:
        self._guard = guard
        self._tasks = tasks
        self._may_open = may_open
        self._consumers: dict[int, Consumers] = {}
        self._at_work: int | None = None

    @property
    def crawls(self) -> list[int]:
        """Those whose consumers are open."""
        return list(self._consumers)

    def consumers(self, crawl: int) -> Consumers:
        """Those of *crawl*, at work from now on."""
        found = self._consumers[crawl]
        if crawl != self._at_work:
            self._begin(crawl)
            found.take_over()
        return found

    async def open(self, setup: OpenCrawl, unfit: Exception | None = None) -> Opened | OpenFailed:
        """Build and open the consumers of a crawl.

        Args:
            unfit: why that cannot work in this process.

        Raises:
            Withdrawn: nothing of the user's may be opened here any more.
        """
        self._begin(setup.crawl)
        try:
            if unfit is not None:
                raise unfit
            consumers = factory_of(setup)(setup.payload, setup.definitions)
            if not self._may_open():
                raise Withdrawn
            await self._guard(consumers.open())
        except Withdrawn:
            raise
        except BaseException as error:
            return OpenFailed(setup.crawl, _describe(error))
        self._consumers[setup.crawl] = consumers
        return Opened(setup.crawl, consumers.effects())

    async def close(self, crawl: int) -> Closed:
        """Close the consumers of a crawl, if they are open, and free what they hold."""
        if crawl not in self._consumers:
            return Closed(crawl, None, None)
        consumers = self.consumers(crawl)
        del self._consumers[crawl]
        failure = None
        try:
            await self._guard(consumers.close())
        except BaseException as error:
            failure = _describe(error)
        closed = Closed(crawl, consumers.effects(), failure)
        del consumers
        await self._tasks.cancel(crawl)
        if self._consumers:
            self.consumers(next(iter(self._consumers)))
            gc.collect()  # a crawler and its pipelines refer to each other, and models are large
        return closed

    def _begin(self, crawl: int) -> None:
        self._at_work = crawl
        self._tasks.begin(crawl)


def factory_of(setup: OpenCrawl) -> Callable[[bytes, Sequence[Definition]], Consumers]:
    """What builds the consumers of a crawl."""
    module, _, function = setup.factory.partition(":")
    factory: Callable[[bytes, Sequence[Definition]], Consumers]
    factory = getattr(importlib.import_module(module), function)
    return factory


def _describe(error: BaseException) -> bytes:
    # Imported late: it brings Scrapy along, which this module does not need otherwise.
    from scrapy_mpworkers.wire.exceptions import pack_exception
    from scrapy_mpworkers.wire.worker_codec import WorkerCodec

    codec = WorkerCodec()
    data: Any = codec.dump(pack_exception(error, codec.dump))
    return bytes(data)
