"""Items that an earlier run has kept go on: behind the pipelines that they had already passed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.patches import PipelinesFrom, ProcessItem
from scrapy_mpworkers.errors import HopGoneError, MPWorkersError
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.texts import ascii_safe, text_of

logger = logging.getLogger(__name__)


class StoredItem:
    """An item of an earlier run, on its way to the pipelines *hop*."""

    hop: tuple[str, ...]
    frame: StoredFrame

    def ended(self, error: Exception | None) -> None:
        """Note that it has left the last pipeline, or raised there. Called at most once."""

    def cannot_go_on(self, error: Exception) -> None:
        """Note that it never entered a pipeline."""


class Resumed(NamedTuple):
    """An item made of a kept one. ``hop``: the number of the hop that it goes on with."""

    item: Any
    kept: StoredItem
    hop: int


class Resumption(PipelinesFrom):
    """Makes kept items of an earlier run into items of ``start()``.

    Args:
        hops: the hops of this crawl.
        levels: for each of its levels, whether the crawl waits for it. If not, the item had gone on
            already.
        codec: makes an item of a frame.
    """

    def __init__(
        self, crawler: Crawler, hops: Sequence[Hop], levels: Sequence[bool], codec: ParentCodec
    ) -> None:
        super().__init__(crawler)
        self._hops = hops
        self._levels = levels
        self._codec = codec
        # By id, with the items themselves: an id is unique only while its object lives.
        self._on_the_way: dict[int, tuple[Resumed, ProcessItem]] = {}
        self._at_its_route: dict[int, Resumed] = {}
        self.has_begun = False  #: whether any item was resumed

    def items(self, kept: Iterable[StoredItem]) -> Iterator[Resumed]:
        """The items, made one at a time. Those that the crawl waits for are to be yielded by
        ``start()``; the others go nowhere but to their hop."""
        for one in kept:
            try:
                hop = self._hop_of(one)
                waits = self._levels[hop.level]
                process_item = self.from_route(hop.route) if waits else None
                resumed = Resumed(self._codec.open(one.frame), one, hop.number)
            except MPWorkersError as error:
                logger.error("An item that was kept cannot go on: %s", ascii_safe(text_of(error)))
                one.cannot_go_on(error)
            else:
                if process_item is not None:
                    self.has_begun = True
                    self._on_the_way[id(resumed.item)] = (resumed, process_item)
                yield resumed

    def arrived(self, item: Any) -> tuple[StoredItem | None, int | None]:
        """The kept item that *item* was made of and its hop, if it is new at its route."""
        resumed = self._at_its_route.pop(id(item), None)
        return (None, None) if resumed is None else (resumed.kept, resumed.hop)

    def _hop_of(self, kept: StoredItem) -> Hop:
        for path in kept.hop:
            for hop in self._hops:
                if path in hop.paths:
                    return hop
        raise HopGoneError(
            f"it was on its way to {', '.join(kept.hop)}, and MPWORKERS_PIPELINES does not list "
            "any of them now; list the one that it shall go on with"
        )

    async def process_item(self, item: Any, from_the_first: ProcessItem) -> Any:
        found = self._on_the_way.pop(id(item), None)
        if found is None:
            return await from_the_first(item)
        resumed, process_item = found
        self._at_its_route[id(item)] = resumed
        try:
            returned = await process_item(item)
        except Exception as error:
            resumed.kept.ended(error)
            raise
        finally:
            self._at_its_route.pop(id(item), None)
        resumed.kept.ended(None)
        return returned
