"""Any function in a worker: for callbacks, middlewares, other pipelines."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from twisted.internet.defer import Deferred

from scrapy_mpworkers.crawl.context import CrawlContext
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.pool import Level, read_result
from scrapy_mpworkers.errors import CallTimeout, ItemTimeout, UnpicklableError
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.wire.messages import CALL, TaskStatus


class Calls:
    """The calls of one crawl, in the workers of *level*."""

    def __init__(self, crossing: CrawlContext, level: Level) -> None:
        self._crossing = crossing
        self._level = level

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        """What *function* returned in a worker.

        Raises:
            Exception: what it raised, or why it was given up.
        """
        level = self._level
        codec = self._crossing.codec
        try:
            shipment = ShippedItem((function, args, kwargs), codec, codec.dump_call)
        except UnpicklableError:
            level.pool.metrics.refused(CALL)
            raise
        outcome = await level.outcome_of_call(shipment, timeout)
        if isinstance(outcome, DeadLettered):
            raise _of_call(outcome.error, function)
        if outcome.effects is not None:
            self._crossing.take_effect(outcome.effects)
        if outcome.status != TaskStatus.DONE:
            raise read_result(level, CALL, outcome, lambda: shipment.error(outcome))
        if outcome.result:
            shipment.passed(outcome.result)
        return read_result(level, CALL, outcome, shipment.returned)


async def in_order(
    start: Callable[[Any], Awaitable[Any]], arguments: Iterable[Any], limit: int
) -> AsyncGenerator[Any, None]:
    """Await ``start(argument)`` for each, so many at a time; give the results in their order.

    Raises:
        Exception: that of the first that failed; those behind it are cancelled.
    """
    under_way: deque[Deferred[Any]] = deque()
    rest = iter(arguments)
    try:
        while True:
            while len(under_way) < limit:
                try:
                    argument = next(rest)
                except StopIteration:
                    break
                under_way.append(deferred_from_coro(start(argument)))
            if not under_way:
                return
            yield await maybe_deferred_to_future(under_way.popleft())
    finally:
        for deferred in under_way:
            deferred.addErrback(lambda failure: None)  # nobody asks for them any more
            deferred.cancel()


def _of_call(error: Exception, function: Callable[..., Any]) -> Exception:
    if isinstance(error, ItemTimeout):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return CallTimeout(name, error.worker, error.limit)
    return error
