"""Patches Scrapy (2.15 to 2.19) where it has no hook; a patch whose target is gone is left out.

It replaces ``close_spider_async`` of the engine, ``active`` of the downloader, ``is_idle`` and
``needs_backout`` of the scraper's slot, and ``call_spider_async`` of the scraper; it sets
``bootstrap_failed`` of the runner. (``crawl/results.py`` replaces one more method of the scraper.)
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial, wraps
from typing import Any

import scrapy.crawler
from scrapy.crawler import Crawler
from scrapy.utils.defer import deferred_from_coro

from scrapy_mpworkers.crawl.collector import thawed
from scrapy_mpworkers.eventloop import EventLoop, Latch, current_loop
from scrapy_mpworkers.wire.texts import plain_text

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 0.1  # seconds

#: Seconds between the end of a download and its callback. Before 2.18 Scrapy sleeps there, so that
#: the reactor gets its turn.
CALLBACK_DELAY = 0.1 if scrapy.version_info < (2, 18) else 0.0

#: Seconds that a second close waits for the rest of the first one, behind the end of the workers.
_REST_OF_CLOSE = 2.0
# When a first Ctrl-C comes while the spider closes, Scrapy takes it as closed and ends its loop:
# what a level that nobody waits for still has would be lost. So the close of an engine that stops
# waits for the end of the workers, and then for the first close, with a limit: it may come from
# within, from a handler of spider_closed that stops the crawler. Any other second close, of a
# callback that raises CloseSpider for one, waits as long as Scrapy lets it: the loop may end first.


def engine_of(crawler: Crawler) -> Any:
    """The engine of *crawler*; ``None`` before it has one."""
    try:
        return crawler.engine
    except RuntimeError:  # Scrapy 2.19 raises it where others return None
        return None


def scraper_of(crawler: Crawler) -> Any:
    """The scraper of *crawler*; ``None`` before it has one."""
    return getattr(engine_of(crawler), "scraper", None)


def fail_process(crawler: Crawler) -> None:
    """Let the command that runs *crawler* exit with 1, though the crawl itself ends in good order.

    Whatever a handler raises is logged and forgotten. The runner that has the crawler is known to
    nobody, so all objects are looked at, which takes 50 ms.
    """
    base = getattr(scrapy.crawler, "CrawlerRunnerBase", None)
    with thawed():  # while another crawl runs, its collector has hidden all that was there before
        everything = gc.get_objects()
    for found in everything:
        if base in type(found).__mro__ and crawler in found.crawlers:
            found.bootstrap_failed = True


class SpiderCloser:
    """Asks the engine to close the spider: once, and not when it closes already.

    The engine takes a second wish as a second close, which is still pending when the loop ends.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._has_asked = False

    def ask(self, reason: str) -> None:
        """Close the spider with *reason*, unless somebody has asked before."""
        if not self._has_asked:
            self._has_asked = True
            deferred_from_coro(self._close(reason))

    async def _close(self, reason: str) -> None:
        engine: Any = engine_of(self._crawler)
        if engine is None or (hasattr(engine, "_slot") and engine._slot is None):
            self._has_asked = False  # not open yet, or closed
            return
        slot = getattr(engine, "_slot", None)  # of Scrapy 2.15 to 2.19; another one just closes
        if getattr(slot, "closing", None) is None:
            await engine.close_spider_async(reason=reason)


def watch_closing(
    crawler: Crawler, begins: Callable[[str], None], end: Callable[[], Awaitable[None]]
) -> None:
    """Call *begins* with the reason when the engine begins to close the spider; make a second close
    wait for *end*.

    Scrapy calls ``close_spider`` of pipelines, and sends ``spider_closed``, only after every item
    is settled: a deadline that began there would never begin for an item that is stuck.
    """
    engine = engine_of(crawler)
    close = getattr(engine, "close_spider_async", None)
    if close is None:
        logger.debug("This Scrapy has no engine.close_spider_async: no deadline while closing")
        return
    loop = current_loop()  # not the crawl's, which ends with it
    closed: Latch | None = None

    @wraps(close)
    async def close_spider_async(*args: Any, **kwargs: Any) -> Any:
        nonlocal closed
        if closed is not None and engine.running:
            return await close(*args, **kwargs)
        if closed is not None:
            await end()
            loop.call_later(_REST_OF_CLOSE, closed.open)
            return await closed.wait()
        closed = Latch(loop)
        begins(plain_text(kwargs.get("reason", "cancelled")))  # as Scrapy (2.15 to 2.19) has it
        try:
            return await close(*args, **kwargs)
        finally:
            closed.open()

    engine.close_spider_async = close_spider_async


def count_items_of_start(crawler: Crawler) -> None:
    """Keep Scrapy from closing while items of ``start()`` are in its pipelines.

    Before 2.18 the scraper counts as idle then: the spider closes, and what is behind the hop, in a
    later pipeline or an async handler of ``item_scraped``, is lost without a word.
    """
    if scrapy.version_info >= (2, 18):
        return
    slot: Any = getattr(scraper_of(crawler), "slot", None)
    if not hasattr(slot, "itemproc_size") or not hasattr(slot, "is_idle"):
        logger.debug("Scrapy's scraper has changed: items of start() may be lost at the end")
        return
    is_idle = slot.is_idle
    slot.is_idle = lambda: is_idle() and not slot.itemproc_size


def brake_downloads(crawler: Crawler, is_on: Callable[..., bool], downloads: set[Any]) -> None:
    """Keep Scrapy from beginning downloads while *is_on* says so, as it does at 5 MB of pages.

    Args:
        is_on: gets a function that returns Scrapy's own answer, and the scraper's pages, in two
            collections.
        downloads: replaces the set in which the downloader keeps the downloads under way.
    """
    slot: Any = getattr(scraper_of(crawler), "slot", None)
    downloader: Any = getattr(engine_of(crawler), "downloader", None)
    pages = [getattr(slot, name, None) for name in ("queue", "active")]
    are_there = all(isinstance(some, Collection) for some in pages)
    under_way = getattr(downloader, "active", None)
    if not hasattr(slot, "needs_backout") or not are_there or not isinstance(under_way, set):
        logger.debug("Scrapy's scraper has changed: pages are downloaded that nobody has time for")
        return
    for request in under_way:
        downloads.add(request)
    downloader.active = downloads
    slot.needs_backout = partial(is_on, slot.needs_backout, *pages)


def replace_call_spider(crawler: Crawler, call: Callable[..., Awaitable[Any]]) -> bool:
    """Make Scrapy call *call* in place of its own ``call_spider_async``, which *call* gets as its
    first argument; return whether this Scrapy allows it."""
    scraper = scraper_of(crawler)
    here = getattr(scraper, "call_spider_async", None)
    if here is None:
        return False
    scraper.call_spider_async = partial(call, here)
    return True


class ScraperWakeup:
    """Makes the scraper look again after an item of ``start()``.

    After such an item Scrapy does not look whether it may close: an explicit close would hang for
    ever, and an idle one would come at the engine's next heartbeat, up to 5 seconds later.
    """

    def __init__(self, crawler: Crawler, loop: EventLoop, pending: Callable[[], int]) -> None:
        self._crawler = crawler
        self._loop = loop
        self._pending = pending
        self._looks_again = False

    def look(self) -> None:
        """Look whether Scrapy has missed the end of the last item. Call this in a later turn of the
        loop, since an item still counts while it is settled."""
        engine = engine_of(self._crawler)
        try:
            self._nudge(engine._slot, engine.scraper, engine.scraper.slot)
        except AttributeError as error:
            logger.debug("Scrapy's engine has changed, its scraper is not nudged: %s", error)

    def _look_again(self) -> None:
        self._looks_again = False
        self.look()

    def _nudge(self, engine_slot: Any, scraper: Any, slot: Any) -> None:
        if engine_slot is None or slot is None:
            return  # closed
        if slot.closing is not None:
            if slot.closing.called:
                return
            if slot.is_idle():
                scraper._check_if_closing()
                return
        elif engine_slot.closing is None:
            engine_slot.nextcall.schedule()
        if slot.itemproc_size and not self._pending() and not self._looks_again:
            # An item is behind the hop still, in a later pipeline or an async handler of
            # item_scraped; no outcome of ours will make us look again.
            self._looks_again = True
            self._loop.call_later(_LOOK_AGAIN, self._look_again)
