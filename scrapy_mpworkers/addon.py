"""Switches the components on: ``ADDONS = {"scrapy_mpworkers.Addon": 500}``.

Imports little: a fork server is to be launched first, and imports beside us then.
"""

from __future__ import annotations

from typing import Any

from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from scrapy_mpworkers.backends.base import wants_callbacks, warm_up
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.hops import add_component, add_routes, hops_of, is_contract_check
from scrapy_mpworkers.settings import read_settings, warn_of_names
from scrapy_mpworkers.wire.entries import as_pipeline


class Addon:
    """The add-on. What the user has already set for a component, ``None`` included, stays.

    Attributes:
        placed_routes: the entries that it has put into ITEM_PIPELINES, and their orders.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self.placed_routes: dict[str, Any] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Addon:
        """The add-on of this crawl."""
        return cls(crawler)

    def update_settings(self, settings: BaseSettings) -> None:
        """Enable extension, spider middleware and a pipeline for each route.

        Raises:
            SettingError: a setting has a value that cannot work.
        """
        try:
            self._update(settings)
        except SettingError as error:
            from scrapy_mpworkers.crawl.unhandled import keep_short  # late: few crawls need it

            keep_short(error)
            raise

    def _update(self, settings: BaseSettings) -> None:
        warn_of_names(settings)
        options = read_settings(settings)
        if not options.enabled:
            # Every pipeline where Scrapy runs it, as if it had been listed in ITEM_PIPELINES.
            for entry, order in options.pipelines:
                pipeline = as_pipeline(load_object(entry))
                settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", pipeline, order)
        elif options.pipelines or wants_callbacks(options, self._crawler.spidercls):
            if options.pipelines:
                self.placed_routes = add_routes(settings, options)
            if self._crawler.crawling and not is_contract_check():  # not for a look at settings
                warm_up(options, hops_of(settings, options), self._crawler.spidercls)
        add_component(settings, "EXTENSIONS", "extension.WorkerExtension", 0)
        add_component(settings, "SPIDER_MIDDLEWARES", "spidermiddlewares.WorkerSpiderMiddleware", 0)
