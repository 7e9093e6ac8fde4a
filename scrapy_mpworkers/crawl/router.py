"""Takes items along their routes: from hop to hop, and back into the crawl."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem
from twisted.internet.defer import CancelledError

from scrapy_mpworkers.crawl.context import CrawlContext
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.persistence import JournaledTask, Persistence
from scrapy_mpworkers.crawl.pool import Level, read_result
from scrapy_mpworkers.crawl.resume import StoredItem
from scrapy_mpworkers.errors import SettingError, UnpicklableError, UnreadableError
from scrapy_mpworkers.hops import Hop, keyed, routes_of
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.stores.dead_letters import readable, shown
from scrapy_mpworkers.wire.messages import Outcome, TaskStatus
from scrapy_mpworkers.wire.texts import ascii_safe, formatted, named, text_of, writable

logger = logging.getLogger(__name__)

_DONE = int(TaskStatus.DONE)  # outcomes have plain numbers, and those compare faster


class Router:
    """The way of every item of one crawl.

    Args:
        hops: of the crawl, in order.
        levels: whose workers they lead to.
    """

    def __init__(
        self,
        crawler: Crawler,
        crossing: CrawlContext,
        persistence: Persistence,
        hops: Sequence[Hop],
        levels: Sequence[Level],
    ) -> None:
        self._crawler = crawler
        self._crossing = crossing
        self._persistence = persistence
        self._hops = hops
        self._routes = routes_of(hops)
        self._levels = levels
        settings = [level.settings for level in levels]
        #: the hops that want a key of an item as it comes to this one, and as it leaves it
        self._keyed_from = [keyed(self._rest(hop), settings) for hop in hops]
        self._keyed_behind = [keyed(self._rest(hop)[1:], settings) for hop in hops]

    def way(self, route: int) -> Callable[[Any], Awaitable[Any]]:
        """What takes an item along a route: gives it as the last of its pipelines returned it, or
        raises what they raised, or why the item was given up.

        Raises:
            SettingError: nothing is offloaded there.
        """
        if route not in self._routes:
            raise SettingError(
                f"Route{route + 1} in ITEM_PIPELINES has nothing to do: all that is offloaded "
                "belongs to another route. Remove it, or replace what was placed by hand by "
                'ADDONS = {"scrapy_mpworkers.Addon": 500}.'
            )
        first, *others = self._routes[route]
        is_plain = not others and not self._keyed_from[first.number]
        if is_plain and self._levels[first.level].waits and not self._persistence.has_journal:
            return partial(self._direct, first)
        return partial(self._along, route)

    async def _direct(self, hop: Hop, item: Any) -> Any:
        """The only hop of a route, with nothing to remember on the way: the same as
        :meth:`_along`, with two thirds of the work."""
        shipment = self._ship(item, hop)
        outcome = await self._levels[hop.level].outcome(hop.number, shipment)
        done = self._done(hop, shipment, outcome)
        try:
            if not done.result and shipment.is_untouched():
                return item
        except BaseException:  # noqa: SIM105 - suppress() would be a call for each item
            pass  # of the item's class; _back() meets it again, and makes it this item's error
        return self._back(shipment, (hop, done))

    async def _along(self, route: int, item: Any) -> Any:
        hops, kept = self._hops_before(route, item)
        shipment = self._ship(item, hops[0])
        keys = self._keys(item, hops[0]) if self._keyed_from[hops[0].number] else {}
        journaled: JournaledTask | None = None
        last: tuple[Hop, Outcome] | None = None  # that was waited for
        try:
            for hop in hops:
                level = self._levels[hop.level]
                if last is not None and shipment.must_be_opened:
                    shipment = self._ship(self._back(shipment, last), hop)
                key = keys.get(hop.number) if keys else None
                if not level.waits:
                    await self._leave(hop, shipment, key)
                    continue
                if journaled is None and self._persistence.has_journal:
                    journaled = self._persistence.take(hop, shipment, kept)
                committed = None if journaled is None else journaled.committed
                outcome = self._done(
                    hop, shipment, await level.outcome(hop.number, shipment, key, committed)
                )
                last = hop, outcome
                if outcome.keys:
                    wanting = (one.number for one in self._keyed_behind[hop.number])
                    keys = dict(zip(wanting, outcome.keys, strict=True))
            returned = self._back(shipment, last)
        except Exception as error:
            # Only what has an end leaves the journal: not when the loop is torn down (asyncio's
            # CancelledError and GeneratorExit are no Exceptions), nor when the wait is cancelled.
            if journaled is not None and not isinstance(error, CancelledError):
                journaled.settled()
            raise
        if journaled is not None:
            journaled.settled()
        return returned

    def _hops_before(self, route: int, item: Any) -> tuple[Sequence[Hop], StoredItem | None]:
        """The hops that *item* has before it, and the kept item that it was made of."""
        if self._persistence.has_resumed:
            kept, begin = self._persistence.arrived(item)
            if begin is not None and self._hops[begin].route == route:
                return self._rest(self._hops[begin]), kept
        return self._routes[route], None

    def _done(self, hop: Hop, shipment: ShippedItem, outcome: Outcome | DeadLettered) -> Outcome:
        """Take in what the workers of *hop* have made of an item.

        Raises:
            Exception: what they raised, or why the item was given up.
        """
        if isinstance(outcome, DeadLettered):
            self._persistence.bury(hop, shipment, outcome)
            raise outcome.error
        if outcome.effects is not None:
            self._crossing.take_effect(outcome.effects)
        if outcome.status != _DONE:
            level = self._levels[hop.level]
            raise read_result(level, hop.number, outcome, partial(shipment.error, outcome))
        if outcome.result:
            shipment.passed(outcome.result)
        return outcome

    def _back(self, shipment: ShippedItem, last: tuple[Hop, Outcome] | None) -> Any:
        """The item as the hops so far returned it; *last*: the one that was waited for."""
        if last is None or not shipment.results:
            return shipment.returned()
        hop, outcome = last
        return read_result(self._levels[hop.level], hop.number, outcome, shipment.returned)

    async def resumed(self) -> AsyncIterator[Any]:
        """The items that an earlier run has kept, as far as the crawl has to wait for them."""
        for one in self._persistence.resumed():
            hop = self._hops[one.hop]
            if self._levels[hop.level].waits:
                yield one.item
                continue
            # It went on in that run, and shall not go on again.
            try:
                shipment = self._ship(one.item, hop)
                key = self._keys(one.item, hop).get(hop.number)
            except Exception as error:  # its classes and a key function run code of their own
                logger.error("An item that was kept cannot go on: %s", ascii_safe(text_of(error)))
                one.kept.cannot_go_on(error)
            else:
                await self._leave(hop, shipment, key, one.kept)

    async def _leave(
        self, hop: Hop, shipment: ShippedItem, key: Any, kept: StoredItem | None = None
    ) -> None:
        """Send a copy of an item to a level that the crawl does not wait for."""
        journaled = self._persistence.take(hop, shipment, kept)

        def settled(outcome: Outcome | DeadLettered) -> None:
            error = self._error_elsewhere(hop, shipment, outcome)
            if journaled is not None:
                journaled.settled()
            if kept is not None:
                kept.ended(error)

        committed = None if journaled is None else journaled.committed
        await self._levels[hop.level].take(hop.number, shipment, key, committed, settled)

    def _error_elsewhere(
        self, hop: Hop, shipment: ShippedItem, outcome: Outcome | DeadLettered
    ) -> Exception | None:
        """Take in what the workers have made of an item that nobody waits for: what they raised
        is said in the log."""
        if isinstance(outcome, DeadLettered):
            self._persistence.bury(hop, shipment, outcome)
            return outcome.error
        if outcome.effects is not None:
            self._crossing.take_effect(outcome.effects)
        if outcome.status == _DONE:
            return None
        level = self._levels[hop.level]
        try:
            error = read_result(level, hop.number, outcome, partial(shipment.error_alone, outcome))
        except UnreadableError as unreadable:
            error = unreadable
        self._tell_of(error, level, shipment)
        return error

    def _tell_of(self, error: Exception, level: Level, shipment: ShippedItem) -> None:
        is_drop = isinstance(error, DropItem)
        trace = "" if is_drop else formatted(error)
        # A handler that writes UTF-8 would lose a record with a traceback that is none.
        is_writable = trace == writable(trace)
        logger.log(
            self._level_of_drop(error) if is_drop else logging.ERROR,
            "%s at the level %s, which the crawl does not wait for: %s\n%s%s",
            "Dropped" if is_drop else "Failed",
            level.settings.name,
            ascii_safe(text_of(error)),
            shown(readable(shipment.content)),
            "" if is_writable else f"\n{writable(trace)}",
            exc_info=error if trace and is_writable else None,
            extra={"spider": self._crawler.spider},
        )

    def _level_of_drop(self, error: Exception) -> int:
        named = getattr(error, "log_level", None)
        if named is None:
            named = self._crawler.settings["DEFAULT_DROPITEM_LOG_LEVEL"]
        return named if isinstance(named, int) else logging.getLevelName(named)

    def _ship(self, item: Any, hop: Hop) -> ShippedItem:
        """Pickle *item*, at once: the spider may change it the next moment."""
        try:
            return ShippedItem(item, self._crossing.codec)
        # UnpicklableError; or a class of the user that raises where its fields are looked at, and
        # SystemExit would end the crawl.
        except BaseException as error:
            self._refused(hop)
            if isinstance(error, Exception):
                raise
            raise UnpicklableError(f"the item cannot be looked at: {named(error)}") from error

    def _refused(self, hop: Hop) -> None:
        self._levels[hop.level].pool.metrics.refused(hop.number)

    def _keys(self, item: Any, first: Hop) -> dict[int, Any]:
        """The keys of *item* as it comes to *first*, by the number of the hop that wants it."""
        keys = {}
        for hop in self._keyed_from[first.number]:
            level = self._levels[hop.level]
            assert level.key is not None
            try:
                keys[hop.number] = level.key(item)
            except Exception:
                self._refused(first)
                raise
        return keys

    def _rest(self, hop: Hop) -> Sequence[Hop]:
        """*hop* and what follows it on its route."""
        return [one for one in self._hops[hop.number :] if one.route == hop.route]
