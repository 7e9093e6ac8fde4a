"""Items that an earlier run has kept go on: behind the pipelines that they had already passed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import HopGoneError, MPWorkersError
from scrapy_mpworkers.seams import PipelinesFrom
from scrapy_mpworkers.wire.codec import StoredFrame

logger = logging.getLogger(__name__)

ProcessItem = Callable[[Any], Awaitable[Any]]


class KeptItem:
    """An item of an earlier run, on its way to the pipelines *hop*."""

    hop: tuple[str, ...]
    frame: StoredFrame

    def ended(self, error: Exception | None) -> None:
        """It has left the last pipeline, or raised there. Called at most once."""

    def cannot_go_on(self, error: MPWorkersError) -> None:
        """It never entered a pipeline."""


class Resumption:
    """Makes kept items of an earlier run into items of ``start()``.

    Args:
        hops: the hops of this crawl, by the import paths of their pipelines.
        open_frame: makes an item of a frame.
    """

    def __init__(
        self,
        crawler: Crawler,
        hops: Sequence[Sequence[str]],
        open_frame: Callable[[StoredFrame], Any],
    ) -> None:
        self._hops = [frozenset(hop) for hop in hops]
        self._open_frame = open_frame
        self._pipelines = PipelinesFrom(crawler, self._process_item)
        # By id, with the items themselves: an id is unique only while its object lives.
        self._on_the_way: dict[int, tuple[Any, KeptItem, ProcessItem]] = {}
        self._at_its_hop: dict[int, tuple[Any, KeptItem]] = {}
        self.has_begun = False  #: whether any item was resumed

    def items(self, kept: Iterable[KeptItem]) -> Iterator[Any]:
        """The items, made one at a time."""
        for one in kept:
            try:
                process_item = self._pipelines.from_hop(self._hop_of(one))
                item = self._open_frame(one.frame)
            except MPWorkersError as error:
                logger.error("An item that was kept cannot go on: %s", error)
                one.cannot_go_on(error)
            else:
                self.has_begun = True
                self._on_the_way[id(item)] = (item, one, process_item)
                yield item

    def arrived(self, item: Any) -> KeptItem | None:
        """The kept item that *item* was made of, if it is new at its hop."""
        _, kept = self._at_its_hop.pop(id(item), (None, None))
        return kept

    def _hop_of(self, kept: KeptItem) -> int:
        for path in kept.hop:
            for number, paths in enumerate(self._hops):
                if path in paths:
                    return number
        raise HopGoneError(
            f"it was on its way to {', '.join(kept.hop)}, and MPWORKERS_PIPELINES does not list "
            "any of them now; list the one that it shall go on with"
        )

    async def _process_item(self, item: Any, from_the_first: ProcessItem) -> Any:
        """What Scrapy calls for every item once something is resumed."""
        resumed = self._on_the_way.pop(id(item), None)
        if resumed is None:
            return await from_the_first(item)
        _, kept, process_item = resumed
        self._at_its_hop[id(item)] = (item, kept)
        try:
            returned = await process_item(item)
        except Exception as error:
            kept.ended(error)
            raise
        finally:
            self._at_its_hop.pop(id(item), None)
        kept.ended(None)
        return returned
