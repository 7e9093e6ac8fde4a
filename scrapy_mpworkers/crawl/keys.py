"""Computes the keys of items for levels that have some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.hops import Hop, keyed, rest_of_route


class ItemKeys:
    """Computes the keys of the items of one crawl."""

    def __init__(self, hops: Sequence[Hop], levels: Sequence[Level]) -> None:
        settings = [level.settings for level in levels]
        self._levels = levels
        #: for each hop, those that want a key of an item as it comes to the hop, and as it leaves
        self._from = [keyed(rest_of_route(hops, hop), settings) for hop in hops]
        self._behind = [keyed(rest_of_route(hops, hop)[1:], settings) for hop in hops]

    def are_wanted(self, first: Hop) -> bool:
        """Return whether an item that comes to a hop needs keys."""
        return bool(self._from[first.number])

    def of(self, item: Any, first: Hop) -> dict[int, Any]:
        """Compute the keys of *item* as it comes to *first*, by the numbers of their hops.

        Raises:
            Exception: what a key function raised.
        """
        keys = {}
        for hop in self._from[first.number]:
            level = self._levels[hop.level]
            assert level.key is not None
            keys[hop.number] = level.key(item)
        return keys

    def behind(self, hop: Hop, keys: Iterable[Any]) -> dict[int, Any]:
        """Return the *keys* that a worker of *hop* has computed, by the numbers of their hops."""
        return dict(zip((one.number for one in self._behind[hop.number]), keys, strict=True))
