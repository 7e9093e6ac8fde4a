"""Takes items along their routes, from hop to hop and back into the crawl, and calls to workers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from scrapy.crawler import Crawler
from scrapy.utils.defer import deferred_from_coro
from twisted.internet.defer import CancelledError

from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.persistence import JournaledTask, Persistence
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.crawl.resume import Resumption, StoredItem
from scrapy_mpworkers.errors import (
    CallTimeout,
    ItemTimeout,
    SettingError,
    UnpicklableError,
    UnreadableError,
)
from scrapy_mpworkers.hops import Hop, keyed, routes_of
from scrapy_mpworkers.pool.interface import DeadLettered
from scrapy_mpworkers.pool.task_queue import Future
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import CALL, Outcome, TaskStatus
from scrapy_mpworkers.wire.texts import ascii_safe, named, text_of

logger = logging.getLogger(__name__)

_DONE = int(TaskStatus.DONE)  # outcomes have plain numbers, and those compare faster


class Router:
    """Takes the items of one crawl along their routes, and its calls to a hop of their own.

    Args:
        codec: pickles the items.
        effects: takes what workers have done beside them.
        persistence: keeps them from being lost.
        hops: of the crawl, in order.
        levels: whose workers they lead to.
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
        self._crawler = crawler
        self._codec = codec
        self._effects = effects
        self._persistence = persistence
        waits = [level.waits for level in levels]
        self._resumption = Resumption(crawler, hops, waits, codec)
        self._hops = hops
        self._routes = routes_of(hops)
        self._levels = levels
        settings = [level.settings for level in levels]
        #: for each hop, those that want a key of an item as it comes to the hop, and as it leaves
        self._keyed_from = [keyed(self._rest(hop), settings) for hop in hops]
        self._keyed_behind = [keyed(self._rest(hop)[1:], settings) for hop in hops]
        self._plain_hops = {
            route: own[0]
            for route, own in self._routes.items()
            if len(own) == 1 and not self._keyed_from[own[0].number]
            if waits[own[0].level] and not persistence.has_journal
        }

    def expect_route(self, route: int) -> None:
        """Check that there is something to do on a route.

        Raises:
            SettingError: nothing is offloaded there.
        """
        if route not in self._routes:
            raise SettingError(
                f"Route{route + 1} in ITEM_PIPELINES has nothing to do: all that is offloaded "
                "belongs to another route. Remove it, or replace what was placed by hand by "
                'ADDONS = {"scrapy_mpworkers.Addon": 500}.'
            )

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
        shipped = self._ship(item, hops[0])
        keys = self._keys(item, hops[0]) if self._keyed_from[hops[0].number] else {}
        journaled: JournaledTask | None = None
        last: tuple[Hop, Outcome] | None = None  # that was waited for
        try:
            for hop in hops:
                level = self._levels[hop.level]
                if last is not None and shipped.must_be_opened:
                    shipped = self._ship(self._back(shipped, last), hop)
                key = keys.get(hop.number) if keys else None
                if not level.waits:
                    await self._leave(hop, shipped, key)
                    continue
                if journaled is None:
                    journaled = self._persistence.take(hop, shipped, kept)
                committed = None if journaled is None else journaled.committed
                outcome = self._settled(
                    hop, shipped, await level.submit(hop.number, shipped, key, committed)
                )
                last = hop, outcome
                if outcome.keys:
                    wanting = (one.number for one in self._keyed_behind[hop.number])
                    keys = dict(zip(wanting, outcome.keys, strict=True))
            returned = self._back(shipped, last)
        except Exception as error:
            # Only an item with an outcome leaves the journal. It has none if the loop is torn down
            # (asyncio's CancelledError and GeneratorExit are no Exceptions), or the wait cancelled.
            if journaled is not None and not isinstance(error, CancelledError):
                journaled.ended(error)
            raise
        if journaled is not None:
            journaled.ended(None)
        return returned

    def _hops_before(self, route: int, item: Any) -> tuple[Sequence[Hop], StoredItem | None]:
        """Return the hops that *item* has yet to pass, and the kept item that it was made from."""
        resumed = self._resumption.arrived(item)
        if resumed is not None and resumed.hop.route == route:
            return self._rest(resumed.hop), resumed.kept
        return self._routes[route], None

    def _settled(
        self,
        hop: Hop,
        shipped: ShippedItem,
        outcome: Outcome | DeadLettered,
        is_elsewhere: bool = False,
    ) -> Outcome:
        """Take in what the workers of *hop* have made of an item; an item that *is_elsewhere* by
        now is not touched.

        Raises:
            Exception: what they raised, or why the item was given up.
        """
        if isinstance(outcome, DeadLettered):
            self._persistence.dead_letter(hop, shipped, outcome)
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
            raise CallTimeout(name, error.worker, error.limit)
        raise error

    async def resumed(self) -> AsyncIterator[Any]:
        """Yield the kept items that the crawl waits for, and send the others to their level."""
        for one in self._resumption.items(self._persistence.kept):
            if self._levels[one.hop.level].waits:
                yield one.item
                continue
            # The crawl went on with this item in the earlier run, and shall not do so again.
            try:
                shipped = self._ship(one.item, one.hop)
                key = self._keys(one.item, one.hop).get(one.hop.number)
            except Exception as error:  # its classes and a key function run code of their own
                logger.error("An item that was kept cannot go on: %s", ascii_safe(text_of(error)))
                one.kept.cannot_go_on(error)
            else:
                await self._leave(one.hop, shipped, key, one.kept)

    async def _leave(
        self, hop: Hop, shipped: ShippedItem, key: Any, kept: StoredItem | None = None
    ) -> None:
        """Send a copy of an item to a level that the crawl does not wait for."""
        journaled = self._persistence.take(hop, shipped, kept)
        committed = None if journaled is None else journaled.committed
        level = self._levels[hop.level]
        task = await level.submit_detached(hop.number, shipped, key, committed)
        deferred_from_coro(self._finish(hop, shipped, task.future, journaled, kept))

    async def _finish(
        self,
        hop: Hop,
        shipped: ShippedItem,
        future: Future,
        journaled: JournaledTask | None,
        kept: StoredItem | None,
    ) -> None:
        """Wait for the outcome of an item that nobody else waits for, and log what was raised."""
        outcome = await future
        try:
            failure = None
            try:
                self._settled(hop, shipped, outcome, is_elsewhere=True)
            except Exception as error:
                failure = error
                if not isinstance(outcome, DeadLettered):
                    self._effects.tell_of(error, self._levels[hop.level].of_level, shipped.content)
            for one in (journaled, kept):
                if one is not None:
                    one.ended(failure)
        # Code of the user may run here: a handler of its log, for one.
        except BaseException:
            logger.exception("Settling a task failed")

    def _ship(self, item: Any, hop: Hop, is_call: bool = False) -> ShippedItem:
        """Pickle *item*, at once: the spider may change it the next moment."""
        try:
            return ShippedItem(item, self._codec, is_call)
        # UnpicklableError; or a class of the user that raises where its fields are looked at, and
        # SystemExit would end the crawl.
        except BaseException as error:
            self._refused(hop)
            if isinstance(error, Exception):
                raise
            raise UnpicklableError(f"the item cannot be looked at: {named(error)}") from error

    def _refused(self, hop: Hop) -> None:
        self._levels[hop.level].executor.metrics.refused(hop.number)

    def _keys(self, item: Any, first: Hop) -> dict[int, Any]:
        """Compute the keys of *item* as it comes to *first*, by the numbers of their hops."""
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
        """Return *hop* and the hops behind it on its route."""
        return [one for one in self._hops[hop.number :] if one.route == hop.route]
