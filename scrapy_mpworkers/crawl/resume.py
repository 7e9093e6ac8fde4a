"""Items that an earlier run has kept go on: behind the pipelines that they had already passed.

Written for Scrapy 2.15 to 2.19, whose pipeline manager knows no item that begins in the middle.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeAlias

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.patches import engine_of
from scrapy_mpworkers.crawl.replayed_requests import ReplayedRequests
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.errors import HopGoneError, MPWorkersError
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import CALLBACK
from scrapy_mpworkers.wire.texts import ascii_safe, text_of

logger = logging.getLogger(__name__)

ProcessItem: TypeAlias = Callable[[Any], Awaitable[Any]]


class Resumed(NamedTuple):
    """An item that was made from a kept one, and the ``hop`` from which it goes on; or a request.

    ``is_waited_for``: the crawl does so; if not, it has gone on with the item in the earlier run.
    """

    item: Any
    kept: StoredItem
    hop: Hop
    is_waited_for: bool


class Resumption:
    """Makes kept items of an earlier run into items of ``start()``.

    Args:
        levels: for each level, whether the crawl waits for it. If it does not, the items there have
            gone on in the earlier run.
        requests: makes requests, of callbacks that were given up.

    Attributes:
        begun: how many items of ``start()`` have gone on at each route, by its number.
    """

    def __init__(
        self,
        crawler: Crawler,
        hops: Sequence[Hop],
        levels: Sequence[bool],
        codec: ParentCodec,
        requests: ReplayedRequests,
    ) -> None:
        self._crawler = crawler
        self._hops = hops
        self._levels = levels
        self._codec = codec
        self._requests = requests
        self.begun: Counter[int] = Counter()
        # By id, with the items themselves: an id is unique only while its object lives.
        self._on_the_way: dict[int, Resumed] = {}
        self._at_its_route: dict[int, Resumed] = {}
        self._manager: Any = None  #: of Scrapy's pipelines, without our wrapper
        self._shortened: dict[int, Any] = {}  #: managers that begin at a route, by its number

    def items(self, kept: Iterable[StoredItem]) -> Iterator[Resumed]:
        """Make the items, one at a time. ``start()`` must yield those that the crawl waits for; the
        others go nowhere but to their hop."""
        for one in kept:
            try:
                yield self._resumed(one) if one.hop else self._request(one)
            except MPWorkersError as error:
                logger.error("An item that was kept cannot go on: %s", ascii_safe(text_of(error)))
                one.cannot_go_on(error)

    def _resumed(self, kept: StoredItem) -> Resumed:
        hop = self._hop_of(kept)
        waits = self._levels[hop.level]
        if waits:
            self._prepare(hop.route)
        resumed = Resumed(self._codec.open(kept.frame), kept, hop, waits)
        if waits:
            self._on_the_way[id(resumed.item)] = resumed
        return resumed

    def _request(self, kept: StoredItem) -> Resumed:
        return Resumed(self._requests.begin(kept), kept, Hop(CALLBACK, -1, -1, ()), True)

    def arrived(self, item: Any) -> Resumed | None:
        """Return how *item* was resumed, if it was, when it comes to its route."""
        return self._at_its_route.pop(id(item), None)

    def _hop_of(self, kept: StoredItem) -> Hop:
        for path in kept.hop:
            for hop in self._hops:
                if path in hop.paths:
                    return hop
        raise HopGoneError(
            f"it was on its way to {', '.join(kept.hop)}, and MPWORKERS_PIPELINES does not list "
            "any of them now; list the one that it shall go on with"
        )

    def _prepare(self, route: int) -> None:
        """Make a manager that runs an item through the pipelines from this route on.

        Raises:
            MPWorkersError: this version of Scrapy does not allow that.
        """
        try:
            if self._manager is None:
                self._wrap(engine_of(self._crawler).scraper.itemproc)
            if route not in self._shortened:
                self._shortened[route] = _shortened(self._manager, route)
        except (AttributeError, KeyError, StopIteration) as error:
            raise MPWorkersError(
                f"the item pipeline manager is not as in Scrapy 2.15 to 2.19 ({error!r}), and so "
                "no item can begin in the middle"
            ) from error

    def _wrap(self, manager: Any) -> None:
        plain = copy.copy(manager)  # without the wrapper, which stands on the instance
        whole = plain.process_item_async

        @wraps(whole)
        async def process_item_async(item: Any) -> Any:
            return await self._process(item, whole)

        manager.process_item_async = process_item_async
        self._manager = plain

    async def _process(self, item: Any, from_the_first: ProcessItem) -> Any:
        resumed = self._on_the_way.pop(id(item), None)
        if resumed is None:
            return await from_the_first(item)
        self.begun[resumed.hop.route] += 1
        self._at_its_route[id(item)] = resumed
        try:
            returned = await self._shortened[resumed.hop.route].process_item_async(item)
        except Exception as error:
            resumed.kept.ended(error)
            raise
        finally:
            self._at_its_route.pop(id(item), None)
        resumed.kept.ended(None)
        return returned


def _shortened(manager: Any, route: int) -> Any:
    """Return a copy of *manager* without the pipelines before *route*."""
    methods = list(manager.methods["process_item"])
    begin = next(n for n, method in enumerate(methods) if _route_number(method) == route)
    shortened = copy.copy(manager)
    shortened.methods = copy.copy(manager.methods)
    shortened.methods["process_item"] = deque(methods[begin:])
    return shortened


def _route_number(method: Any) -> Any:
    return getattr(getattr(method, "__self__", None), "route_number", None)
