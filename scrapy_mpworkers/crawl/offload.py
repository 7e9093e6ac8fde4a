"""Begins to have callbacks of a crawl run in workers."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import SETTINGS_PRIORITIES

from scrapy_mpworkers.callbacks import Choice, not_there
from scrapy_mpworkers.crawl.callbacks import Callbacks
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.crawl.patches import replace_call_spider
from scrapy_mpworkers.crawl.persistence import Persistence
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.crawl.router import Router
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.wire.codec import ParentCodec

logger = logging.getLogger(__name__)


def offload(
    crawler: Crawler,
    codec: ParentCodec,
    effects: EffectsSink,
    persistence: Persistence,
    router: Router,
    level: Level,
    wanted: Iterable[str] | bool,
    loop: EventLoop,
) -> None:
    """Have callbacks run by the workers of *level*: those that are *wanted* by name or by mark."""
    spider = crawler.spider
    assert spider is not None
    choice = Choice(spider, wanted)
    tell_of_absent(crawler, type(spider), wanted)
    callbacks = Callbacks(crawler, codec, effects, persistence, router, level, choice)
    if not replace_call_spider(crawler, callbacks.call):
        logger.warning("This version of Scrapy lets no callback run in a worker: all run here")
        return

    def judge() -> None:
        # Its import takes longer than all else here.
        from scrapy_mpworkers.crawl.callback_check import judge_callbacks

        judge_callbacks(spider, choice, wanted, level.settings.placement, codec, effects)

    # In a turn of its own: the workers start meanwhile, and no page is there before they have.
    loop.call_soon(judge)


def tell_of_absent(crawler: Crawler, spidercls: type[Spider], wanted: Iterable[str] | bool) -> None:
    """Warn of names for which the spider has no method, and that are likely meant for it."""
    # A list in the project's settings is for all its spiders, most of which lack some of the names.
    priority = crawler.settings.getpriority("MPWORKERS_CALLBACKS") or 0
    is_for_all = priority <= SETTINGS_PRIORITIES["project"]
    for absent in not_there(spidercls, wanted):
        is_right = is_for_all and not absent.likely
        logger.log(logging.INFO if is_right else logging.WARNING, "%s", absent.line)
