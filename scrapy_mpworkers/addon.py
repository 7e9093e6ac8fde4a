"""Switches the components on: ``ADDONS = {"scrapy_mpworkers.Addon": 500}``."""

from __future__ import annotations

from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from scrapy_mpworkers.extension import WorkerExtension
from scrapy_mpworkers.functions import as_pipeline
from scrapy_mpworkers.hops import add_routes
from scrapy_mpworkers.middleware import WorkerSpiderMiddleware
from scrapy_mpworkers.pipeline import route_class
from scrapy_mpworkers.settings import WorkerSettings, read_settings, warn_of_unknown_names


class Addon:
    """The add-on. What the user has already set for a component, ``None`` included, stays."""

    def update_settings(self, settings: BaseSettings) -> None:
        """Enable extension, spider middleware and a pipeline for each route.

        Raises:
            SettingError: a setting has a value that cannot work.
        """
        warn_of_unknown_names(settings)
        options = read_settings(settings)
        if not options.enabled:
            _put_back(settings, options)
        elif options.levels:
            add_routes(settings, options, route_class)
        settings.setdefault_in_component_priority_dict("EXTENSIONS", WorkerExtension, 0)
        settings.setdefault_in_component_priority_dict(
            "SPIDER_MIDDLEWARES", WorkerSpiderMiddleware, 0
        )


def _put_back(settings: BaseSettings, options: WorkerSettings) -> None:
    """Every pipeline where Scrapy runs it, as if it had been listed in ITEM_PIPELINES."""
    for entry, order in options.pipelines:
        pipeline = as_pipeline(load_object(entry))
        settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", pipeline, order)
