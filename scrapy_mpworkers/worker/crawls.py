"""Opens the consumers of the crawls that a worker serves, has them at hand, and closes them."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from scrapy_mpworkers.wire.messages import (
    Closed,
    Definition,
    Ending,
    OpenCrawl,
    Opened,
    OpenFailed,
    Outcome,
    WireTask,
)
from scrapy_mpworkers.worker.loop import WatchfulLoop, cancel


class Consumer(Protocol):
    """Runs tasks of one crawl, through the hops of a level."""

    def activate(self) -> None: ...
    async def open(self) -> None: ...
    async def consume(self, task: WireTask) -> Outcome: ...
    async def consume_batched(
        self, tasks: Sequence[WireTask], begins: Callable[[], object]
    ) -> list[Outcome]: ...
    async def close(self, ending: Ending) -> None: ...
    def effects(self) -> bytes | None: ...
    def define(self, definitions: Sequence[Definition]) -> None: ...


class ConsumerFactory(Protocol):
    """A module that an :class:`OpenCrawl` names."""

    def build(self, payload: bytes, definitions: Sequence[Definition]) -> Consumer: ...
    def describe(self, error: BaseException) -> bytes:
        """Return why a consumer could not be built, opened or closed, as the crawl reads it."""


class Withdrawn(Exception):
    """Raised in a worker that the pool needs no longer and is about to kill."""


class OpenCrawls:
    """Has the consumers by crawl. All that the worker logs belongs to the crawl that is active."""

    def __init__(self, loop: WatchfulLoop) -> None:
        self._guard = loop.guard
        self._consumers: dict[int, Consumer] = {}
        self._factories: dict[int, ConsumerFactory] = {}
        self._active: int | None = None
        # An asyncio task belongs to the same crawl as the task that made it.
        self._of_running: ContextVar[int | None] = ContextVar("crawl", default=None)
        self._tasks: WeakKeyDictionary[asyncio.Future[Any], int | None] = WeakKeyDictionary()
        loop.set_task_factory(self._make_task)

    @property
    def crawls(self) -> list[int]:
        return list(self._consumers)

    def activate(self, crawl: int) -> Consumer:
        """Return the consumer of *crawl*, which is active from now on."""
        found = self._consumers[crawl]
        if crawl != self._active:
            self._begin(crawl)
            found.activate()
        return found

    async def open(
        self, setup: OpenCrawl, may_open: Callable[[], bool], unfit: Exception | None = None
    ) -> Opened | OpenFailed:
        """Build and open the consumer of a crawl.

        Args:
            may_open: returns whether the pool still allows it; asked before anything is opened.
            unfit: the error that says why no consumer can work in this process, if so.

        Raises:
            Withdrawn: nothing of the user's may be opened here any more.
        """
        self._begin(setup.crawl)
        factory = factory_of(setup)
        try:
            if unfit is not None:
                raise unfit
            consumer = factory.build(setup.payload, setup.definitions)
            if not may_open():
                raise Withdrawn
            await self._guard(consumer.open())
        except Withdrawn:
            raise
        except BaseException as error:
            return OpenFailed(setup.crawl, factory.describe(error))
        self._consumers[setup.crawl] = consumer
        self._factories[setup.crawl] = factory
        return Opened(setup.crawl, consumer.effects())

    async def close(self, crawl: int, ending: Ending) -> Closed:
        """Close the consumer of a crawl, if it is open, and free what it holds."""
        if crawl not in self._consumers:
            return Closed(crawl, None, None)
        consumer = self.activate(crawl)
        del self._consumers[crawl]
        failure = None
        try:
            await self._guard(consumer.close(ending))
        except BaseException as error:
            failure = self._factories[crawl].describe(error)
        closed = Closed(crawl, consumer.effects(), failure)
        del consumer, self._factories[crawl]
        await self._cancel_tasks(crawl)
        if self._consumers:
            self.activate(next(iter(self._consumers)))
            gc.collect()  # a crawler and its pipelines refer to each other, and models are large
        return closed

    def _begin(self, crawl: int) -> None:
        self._active = crawl
        self._of_running.set(crawl)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        self._tasks[task] = self._of_running.get()
        return task

    async def _cancel_tasks(self, crawl: int) -> None:
        """End the tasks of a crawl, as ``asyncio.run`` does at its end."""
        tasks = list(self._tasks.items())
        await cancel([task for task, of in tasks if of == crawl and not task.done()])


def factory_of(setup: OpenCrawl) -> ConsumerFactory:
    factory: Any = importlib.import_module(setup.factory)
    return factory  # type: ignore[no-any-return]
