"""Takes items along their routes, from hop to hop and back into the crawl, and calls to workers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from scrapy.crawler import Crawler
from scrapy.utils.defer import deferred_from_coro

from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.keys import ItemKeys
from scrapy_mpworkers.crawl.persistence import JournaledTask, Persistence
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.crawl.replayed_requests import ReplayedRequests
from scrapy_mpworkers.crawl.resume import Resumption
from scrapy_mpworkers.crawl.spider_attributes import SpiderAttributes
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.crawl.totals import ItemTotals, Journey
from scrapy_mpworkers.errors import CallTimeout, ItemTimeout, UnpicklableError, UnreadableError
from scrapy_mpworkers.hops import Hop, empty_route, rest_of_route, routes_of
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.pool.task import Future
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import CALL, Outcome, TaskStatus
from scrapy_mpworkers.wire.texts import ascii_safe, named, text_of

logger = logging.getLogger(__name__)

_DONE = int(TaskStatus.DONE)  # outcomes have plain numbers, and those compare faster


class Router:
    """Takes the items of one crawl along their routes, and its calls to a hop of their own.

    Attributes:
        totals: counts the items.
        replayed: requests of callbacks that an earlier run has given up.
        attributes: of the spider, as workers are told of them.
    """

    def __init__(
        self,
        crawler: Crawler,
        codec: ParentCodec,
        effects: EffectsSink,
        persistence: Persistence,
        hops: Sequence[Hop],
        levels: Sequence[Level],
    ) -> None:
        assert crawler.spider is not None
        self._codec = codec
        self.attributes = SpiderAttributes(crawler.spider, codec)
        self._effects = effects
        self._persistence = persistence
        waits = [level.waits for level in levels]
        self.replayed = ReplayedRequests(crawler, codec)
        self._resumption = Resumption(crawler, hops, waits, codec, self.replayed)
        self._hops = hops
        self._routes = routes_of(hops)
        self._levels = levels
        self._keys = ItemKeys(hops, levels)
        self._plain_hops = {
            route: own[0]
            for route, own in self._routes.items()
            if len(own) == 1 and not self._keys.are_wanted(own[0])
            if waits[own[0].level] and not persistence.has_journal
        }
        first, begun = min(self._routes, default=0), self._resumption.begun
        self.totals = ItemTotals(levels, self._plain_hops, first, begun)

    def expect_route(self, route: int) -> None:
        """Raise a ``SettingError`` if nothing is offloaded on a route."""
        if route not in self._routes:
            raise empty_route(route)

    async def process(self, route: int, item: Any) -> Any:
        """Take an item along a route, and return it as the last of its pipelines returned it.

        Raises:
            Exception: what they raised, or why the item was given up.
        """
        hop = self._plain_hops.get(route)
        if hop is None:
            return await self._along(route, item)
        # The route has one hop, with nothing to remember on the way. These lines do what _along()
        # does, with two thirds of the work.
        shipped = self._ship(item, hop)
        outcome = self._settled(
            hop, shipped, await self._levels[hop.level].submit(hop.number, shipped)
        )
        try:
            return shipped.returned()
        except UnreadableError:
            self._unreadable(hop, outcome)
            raise

    async def _along(self, route: int, item: Any) -> Any:
        hops, kept = self._hops_before(route, item)
        journey = self.totals.enter(route, kept is not None)
        try:
            returned = await self._through(hops, item, kept, journey)
        except Exception as error:
            journey.ended(error)
            raise
        journey.ended()
        return returned

    async def _through(
        self, hops: Sequence[Hop], item: Any, kept: StoredItem | None, journey: Journey
    ) -> Any:
        shipped = self._ship(item, hops[0])
        keys = self._keys_of(item, hops[0])
        journaled: JournaledTask | None = None
        last: tuple[Hop, Outcome] | None = None  # that was waited for
        try:
            for hop in hops:
                level = self._levels[hop.level]
                if last is not None and shipped.must_be_opened:
                    shipped = self._ship(self._back(shipped, last), hop)
                key = keys.get(hop.number) if keys else None
                if not level.waits:
                    await self._leave(hop, shipped, key, journey, None)
                    continue
                if journaled is None:
                    journaled = self._persistence.take(hop, shipped, kept)
                committed = None if journaled is None else journaled.committed
                came = await level.submit(hop.number, shipped, key, committed)
                journey.came(came)
                outcome = self._settled(hop, shipped, came)
                last = hop, outcome
                if outcome.keys:
                    keys = self._keys.behind(hop, outcome.keys)
            returned = self._back(shipped, last)
        except Exception as error:
            # Only an item with an outcome leaves the journal. It has none if the loop is torn down:
            # asyncio's CancelledError and GeneratorExit are no Exceptions.
            if journaled is not None:
                journaled.ended(error)
            raise
        if journaled is not None:
            journaled.ended(None)
        return returned

    def _hops_before(self, route: int, item: Any) -> tuple[Sequence[Hop], StoredItem | None]:
        """Return the hops that *item* has yet to pass, and the kept item that it was made from."""
        resumed = self._resumption.arrived(item)
        if resumed is not None and resumed.hop.route == route:
            return rest_of_route(self._hops, resumed.hop), resumed.kept
        return self._routes[route], None

    def _settled(
        self,
        hop: Hop,
        shipped: ShippedItem,
        outcome: Outcome | DeadLettered,
        is_elsewhere: bool = False,
    ) -> Outcome:
        """Take in what the workers of *hop* have made of an item, or raise what they raised; an
        item that *is_elsewhere* by now is not touched."""
        if isinstance(outcome, DeadLettered):
            self._persistence.dead_letter(hop.paths, shipped, outcome, is_elsewhere)
            raise outcome.error
        if outcome.effects is not None:
            self._effects.take(outcome.effects)
        if outcome.status != _DONE:
            try:
                error = shipped.error(outcome, is_elsewhere)
            except UnreadableError:
                self._unreadable(hop, outcome)
                raise
            raise error
        if outcome.result and not is_elsewhere:
            shipped.passed(outcome.result)
        return outcome

    def _back(self, shipped: ShippedItem, last: tuple[Hop, Outcome] | None) -> Any:
        """Return the item as the hops so far returned it; *last*: the one that was waited for."""
        try:
            return shipped.returned()
        except UnreadableError:
            assert last is not None
            self._unreadable(*last)
            raise

    def _unreadable(self, hop: Hop, outcome: Outcome) -> None:
        """Count an item whose outcome cannot be loaded: it has failed at *hop* after all."""
        self._levels[hop.level].executor.metrics.unreadable(hop.number, outcome.status)

    async def call(self, level: int, call: tuple[Any, ...], limit: float | None) -> Any:
        """Have a worker of *level* make a call, and return what it returned.

        Args:
            call: function, positional arguments, keyword arguments.
            limit: seconds that it may take, if not those of the level.

        Raises:
            Exception: what it raised, or why it was given up.
        """
        hop = Hop(CALL, -1, level, ())
        shipped = self._ship(call, hop, is_call=True)
        outcome = await self._levels[level].submit_call(shipped, limit)
        if not isinstance(outcome, DeadLettered):
            return self._back(shipped, (hop, self._settled(hop, shipped, outcome)))
        error = outcome.error
        if isinstance(error, ItemTimeout):
            name = getattr(call[0], "__qualname__", type(call[0]).__qualname__)
            raise CallTimeout(name, error.worker, error.limit, error.stack)
        raise error

    async def resumed(self, goes_on: Callable[[], bool]) -> AsyncIterator[Any]:
        """Yield the kept items that the crawl waits for, and send the others to their level, as
        long as it *goes_on*: the rest stays where it is kept."""
        kept = self._resumption.items(self._persistence.kept)
        while goes_on() and (one := next(kept, None)) is not None:
            if one.is_waited_for:
                yield one.item
                continue
            # The crawl went on with this item in the earlier run, and shall not do so again.
            journey = self.totals.enter(one.hop.route, is_resumed=True)
            try:
                shipped = self._ship(one.item, one.hop)
                key = self._keys_of(one.item, one.hop).get(one.hop.number)
            except Exception as error:  # its classes and a key function run code of their own
                logger.error("An item that was kept cannot go on: %s", ascii_safe(text_of(error)))
                one.kept.cannot_go_on(error)
                journey.ended(error)
            else:
                await self._leave(one.hop, shipped, key, journey, one.kept)
                journey.ended()

    async def _leave(
        self, hop: Hop, shipped: ShippedItem, key: Any, journey: Journey, kept: StoredItem | None
    ) -> None:
        """Send a copy of an item to a level that the crawl does not wait for."""
        journaled = self._persistence.take(hop, shipped, kept, is_copy=True)
        committed = None if journaled is None else journaled.committed
        level = self._levels[hop.level]
        task = await level.submit_detached(hop.number, shipped, key, committed)
        journey.copied()
        ends = [one for one in (journaled, kept) if one is not None]
        deferred_from_coro(self._finish(hop, shipped, task.future, journey, ends))

    async def _finish(
        self,
        hop: Hop,
        shipped: ShippedItem,
        future: Future,
        journey: Journey,
        ends: Sequence[JournaledTask | StoredItem],
    ) -> None:
        """Wait for the outcome of an item that nobody else waits for, and log what was raised."""
        outcome = await future
        journey.came(outcome)
        failure = None
        try:
            try:
                self._settled(hop, shipped, outcome, is_elsewhere=True)
            except Exception as error:
                failure = error
            for one in (journey, *ends):
                one.ended(failure)
            if failure is not None and not isinstance(outcome, DeadLettered):
                self._effects.tell_of(failure, self._levels[hop.level].of_level, shipped.content)
        # Code of the user may run here: a handler of its log, for one.
        except BaseException:
            logger.exception("Settling a task failed")

    def _ship(self, item: Any, hop: Hop, is_call: bool = False) -> ShippedItem:
        """Pickle *item*, at once: the spider may change it the next moment."""
        spider = self.attributes
        try:
            # A look for each item, so there is no call of a function of ours in it.
            now = [*spider.live]
            if spider.containers:
                now += map(len, spider.containers)
            is_as_before = now == spider.seen
        except BaseException:  # classes of the user: an array, say, is not simply equal
            is_as_before = False
        if not is_as_before:
            spider.changed()
        try:
            return ShippedItem(item, self._codec, spider.changes, is_call)
        # UnpicklableError; or a class of the user that raises where its fields are looked at, and
        # SystemExit would end the crawl.
        except BaseException as error:
            self._levels[hop.level].executor.metrics.refused(hop.number)
            if isinstance(error, Exception):
                raise
            raise UnpicklableError(f"the item cannot be looked at: {named(error)}") from error

    def _keys_of(self, item: Any, first: Hop) -> dict[int, Any]:
        try:
            return self._keys.of(item, first)
        except Exception:
            self._levels[first.level].executor.metrics.refused(first.number)
            raise
