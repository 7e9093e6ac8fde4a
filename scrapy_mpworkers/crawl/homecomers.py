"""Keeps callbacks in Scrapy's process that came back from a worker, where it made a difference."""

from __future__ import annotations

import logging

from scrapy import Request, Spider

from scrapy_mpworkers.callbacks import Choice, shown
from scrapy_mpworkers.crawl.shared_values import SharedValues
from scrapy_mpworkers.wire.callbacks import How, Part
from scrapy_mpworkers.wire.texts import ascii_safe

logger = logging.getLogger(__name__)


class Homecomers:
    """Decides which callbacks stay."""

    def __init__(self, spider: Spider, choice: Choice, shared: SharedValues) -> None:
        self._spider = spider
        self._choice = choice
        self._shared = shared

    def has_come(self, name: str, request: Request, part: Part) -> None:
        """Keep a callback from now on, unless what it shares is shared by chance this time."""
        if part.how == How.AT_HOME:
            self.stays(name, request, part.why)
        elif self._shared.are_shared(name, request, part.why):
            where, key = part.why
            why = f"it changes {where}[{key!r}], which others in that process have, too"
            self.stays(name, request, why)

    def stays(self, name: str, request: Request, why: str) -> None:
        """From now on run the callback, or the one that its rule names, in Scrapy's process."""
        own = shown(self._spider, name, request)
        key = own if name == "_callback" else name
        if key not in self._choice.stays:
            self._choice.stays[key] = why
            logger.warning(
                "The callback %s runs in Scrapy's own process from now on: %s", own, ascii_safe(why)
            )
