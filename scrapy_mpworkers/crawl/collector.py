"""Frees each page soon, and keeps the garbage collector from objects older than the crawl.

A response refers to its selector, which refers to the response, so a page with its parsed tree
lives until the collector runs, which it does after enough new objects. Scrapy's idle tasks were
enough of them. ``crawl/results.py`` avoids most of these tasks, and then a thousand pages lay in
memory that nobody needed: 80 MB of 20 KB pages. A collector that frees hundreds of pages together
stops the reactor for long. So a page is freed here, once nobody else refers to it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from sys import getrefcount
from typing import Any

#: Pages that are looked at together. Not the last one: Scrapy itself refers to it still.
_KEPT = 8
#: Pages that are left to the collector, between two collections of what is young.
_EVERY = 25


class PageCollector:
    """Frees pages while one crawl runs, and drives the garbage collector unless that is off."""

    def __init__(self) -> None:
        self._done: list[Any] = []
        self._left = 0
        self._has_frozen = False
        self._nobody = _references([_StandIn()])

    def begin(self) -> None:
        """Keep the collector from looking at all that is there, again and again, until the end.

        A full collection takes 10 to 20 ms then, and 50 without. Not while another crawl, or the
        application, has done that already: what is frozen and ends is not collected.
        """
        if gc.isenabled() and not gc.get_freeze_count():
            _Frozen.freeze()
            self._has_frozen = True

    def response_is_done(self, response: object) -> None:
        """Free pages that were done before, and collect what is young from time to time."""
        if len(self._done) >= _KEPT:
            self._free()
        self._done.append(response)
        if self._left >= _EVERY and gc.isenabled():
            self._left = 0
            gc.collect(1)

    def _free(self) -> None:
        pages = self._done
        while pages:
            if _references(pages) == self._nobody:
                # Only page and selector refer to each other: free both now.
                pages[-1]._cached_selector = None
            else:
                self._left += 1
            pages.pop()

    def end(self) -> None:
        """Let the collector look at everything again, unless somebody else has frozen more."""
        self._done.clear()
        if self._has_frozen and _Frozen.is_ours():
            gc.unfreeze()
        self._has_frozen = False


class _Frozen:
    """Knows what the crawls of this process have frozen: ``count`` objects, the last time."""

    count = 0

    @classmethod
    def freeze(cls) -> None:
        gc.freeze()
        cls.count = gc.get_freeze_count()

    @classmethod
    def is_ours(cls) -> bool:
        return gc.get_freeze_count() <= cls.count


@contextmanager
def thawed() -> Iterator[None]:
    """Let the collector look at everything for a moment, whoever has frozen it."""
    if not gc.get_freeze_count():
        yield
        return
    freeze = _Frozen.freeze if _Frozen.is_ours() else gc.freeze
    gc.unfreeze()
    try:
        yield
    finally:
        gc.collect()  # or what is garbage by now would be frozen, too
        freeze()


class _StandIn:
    """A page to which nobody refers but its selector; that is a list."""

    def __init__(self) -> None:
        self._cached_selector = [self]


def _references(pages: list[Any]) -> tuple[int, int]:
    """Return how many references there are to the last page and to its selector, which TextResponse
    keeps (Scrapy 2.15 to 2.19)."""
    return getrefcount(pages[-1]), getrefcount(getattr(pages[-1], "_cached_selector", None))
