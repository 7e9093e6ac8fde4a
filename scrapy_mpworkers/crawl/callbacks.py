"""Has callbacks of the spider run in workers, and gives the crawl what they yield."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.http import Request, Response
from scrapy.utils.misc import warn_on_generator_with_return_value
from twisted.python.failure import Failure

from scrapy_mpworkers.callbacks import (
    Choice,
    Results,
    is_asynchronous,
    is_generator,
    rule_of,
    when_asked_for,
)
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.crawl.homecomers import Homecomers
from scrapy_mpworkers.crawl.persistence import Persistence
from scrapy_mpworkers.crawl.plain_results import are_wanted, plain
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.crawl.router import Router
from scrapy_mpworkers.crawl.shared_values import SharedValues
from scrapy_mpworkers.crawl.shipped_callback import ShippedCallback
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.errors import UnpicklableError, UnreadableError
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.wire.callbacks import How, Part, method_name
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import CALLBACK, Outcome

#: Scrapy's own way to call the spider.
Here: TypeAlias = Callable[[Any, Request], Awaitable[Results]]


class Callbacks:
    """The callbacks of one crawl.

    Args:
        level: whose workers run them.
        choice: which of them.
    """

    def __init__(
        self,
        crawler: Crawler,
        codec: ParentCodec,
        effects: EffectsSink,
        persistence: Persistence,
        router: Router,
        level: Level,
        choice: Choice,
    ) -> None:
        assert crawler.spider is not None
        self._spider: Spider = crawler.spider
        self._codec = codec
        self._effects = effects
        self._persistence = persistence
        self._replayed = router.replayed
        self._replayed.are_told = True
        self._attributes = router.attributes
        self._level = level
        self._choice = choice
        self._shared = SharedValues()
        self._homecomers = Homecomers(crawler.spider, choice, self._shared)
        self._has_plain_middlewares = are_wanted(crawler)
        self._looked_at: set[str] = set()

    async def call(self, here: Here, result: Response | Failure, request: Request) -> Results:
        """Do as :meth:`_call`. If the request was kept by an earlier run, tell that record how the
        callback ended."""
        return await self._replayed.told(request, partial(self._call, here, result, request))

    async def _call(
        self, here: Here, result: Response | Failure, request: Request, kept: StoredItem | None
    ) -> Results:
        """Do as Scrapy's ``call_spider_async``: call the callback or the errback of *request*.

        Args:
            here: is that method of Scrapy's, to run it in this process.
            kept: the record of an earlier run from which *request* was made.
        """
        name = self._wanted(result, request)
        if name is None:
            return await self._here(here, result, request)
        found: Results
        by_name = _request_of(result, request).cb_kwargs if isinstance(result, Response) else {}
        if is_generator(self._spider, name, by_name):
            found = when_asked_for(partial(self._called, name, here, result, request, kept))
        else:
            found = await self._called(name, here, result, request, kept)
        is_plain = self._has_plain_middlewares and not is_asynchronous(self._spider, name)
        return await plain(found) if is_plain and isinstance(found, AsyncIterator) else found

    async def _called(
        self,
        name: str,
        here: Here,
        result: Response | Failure,
        request: Request,
        kept: StoredItem | None,
    ) -> Results:
        request = _request_of(result, request)
        shipped = self._shipped(name, result, request)
        if shipped is None:
            return await self._here(here, result, request)
        task = self._submit(shipped, kept)
        try:
            part = await self._came(shipped, task)
        except BaseException as error:
            shipped.ended(error)
            raise
        if part.how == How.GOES_ON:
            return self._stream(shipped, task, part)
        if part.how in (How.AT_HOME, How.SHARED):
            shipped.leave_journal()
            self._homecomers.has_come(name, shipped.request, part)
            return await self._here(here, result, request)
        if part.how in (How.REFUSED, How.PASSED_ON):
            raised = shipped.raised(part)
            shipped.ended(raised)
            raise raised
        return self._last(shipped, part)

    async def _here(self, here: Here, result: Response | Failure, request: Request) -> Results:
        self._shared.begins_here(_request_of(result, request))
        return await here(result, request)

    # Down

    def _wanted(self, result: Response | Failure, request: Request) -> str | None:
        """Return the name of the callback if it is to run in a worker."""
        spider = self._spider
        callback: Any
        if isinstance(result, Response):
            if getattr(result, "request", None) is None:
                result.request = request
            request = _request_of(result, request)
            callback = request.callback or spider._parse
        else:
            result.request = request  # type: ignore[attr-defined]
            callback = request.errback
        name = method_name(spider, callback)
        if name is None or not self._choice.is_wanted(name, rule_of(spider, request)):
            return None
        return name

    def _shipped(
        self, name: str, result: Response | Failure, request: Request
    ) -> ShippedCallback | None:
        self._look_at(name)
        shared = self._shared.of(name, request)
        try:
            return ShippedCallback(name, result, request, shared, self._spider, self._codec)
        except UnpicklableError as error:
            self._homecomers.stays(name, request, str(error))
            return None

    def _look_at(self, name: str) -> None:
        """Warn of a generator whose return value nobody gets, as Scrapy does, but once: it reads
        the source again for each request, which takes longer than all else here."""
        if name not in self._looked_at:
            self._looked_at.add(name)
            warn_on_generator_with_return_value(self._spider, getattr(self._spider, name))

    def _submit(self, shipped: ShippedCallback, kept: StoredItem | None) -> Task:
        shipped.given = self._persistence.take_callback(shipped, kept)
        data, needs, _ = shipped.frame
        attributes, size = self._attributes.changed(), shipped.size
        return self._level.executor.submit(
            CALLBACK, data, needs, (), attributes, size, None, None, shipped
        )

    # Up

    async def _came(self, shipped: ShippedCallback, task: Task) -> Part:
        """Wait for what comes next of a callback, which counts as under way only meanwhile: nobody
        may ever read the stream of its results."""
        self._level.callbacks.enter(shipped.size)
        try:
            outcome = await task.future
        finally:
            self._level.callbacks.leave(shipped.size)
            if self._level.backpressure.has_braked:
                self._level.backpressure.release_brake()
        return self._part(shipped, outcome)

    def _part(self, shipped: ShippedCallback, outcome: Outcome | DeadLettered) -> Part:
        """Return what has come, and take in what the callback has done beside its results."""
        if isinstance(outcome, DeadLettered):
            self._persistence.dead_letter((), shipped, outcome)
            raise outcome.error
        part = shipped.part(outcome.result)
        if part.how not in (How.AT_HOME, How.SHARED):
            self._effects.take(outcome.effects)
            shipped.change_meta(part.meta)
        return part

    def _all(self, shipped: ShippedCallback, part: Part) -> Iterator[Any]:
        """Yield the results of the last part, and raise what the callback has raised."""
        try:
            yield from shipped.results(part)
            if part.how == How.FAILED:
                raise shipped.raised(part)
        except (UnpicklableError, UnreadableError) as error:
            # Too late for this page.
            self._homecomers.stays(shipped.name, shipped.request, str(error))
            raise

    def _last(self, shipped: ShippedCallback, part: Part) -> Iterator[Any]:
        """Do as :meth:`_all` with a part that is the only one."""
        try:
            yield from self._all(shipped, part)
        except BaseException as error:
            shipped.ended(error)
            raise
        shipped.ended(None)

    async def _stream(self, shipped: ShippedCallback, task: Task, part: Part) -> AsyncIterator[Any]:
        """Yield results part by part; the next one is asked for when it is wanted."""
        waits = True  # whether the worker waits until it is told to go on
        try:
            while part.how == How.GOES_ON:
                for result in self._all(shipped, part):
                    yield result
                waits = False
                self._level.executor.go_on(task)
                part = await self._came(shipped, task)
                waits = part.how == How.GOES_ON
            for result in self._all(shipped, part):
                yield result
        except BaseException as error:
            shipped.ended(error)
            raise
        else:
            shipped.ended(None)
        finally:
            if waits:  # nobody reads the rest
                self._level.executor.go_on(task, is_over=True)


def _request_of(result: Response | Failure, request: Request) -> Request:
    """Return the request that Scrapy takes the callback from."""
    return getattr(result, "request", None) or request
