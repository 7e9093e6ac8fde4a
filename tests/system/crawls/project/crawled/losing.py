"""Pipelines that lose some items, each in another way."""

from __future__ import annotations

import os
from typing import Any

from scrapy.exceptions import DropItem


class LosesSome:
    """Drops, fails, or dies of, some items."""

    dropped = failed = deadly = -1

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == self.dropped:
            raise DropItem("nobody wants it")
        if item["n"] == self.failed:
            raise ValueError("no luck")
        if item["n"] == self.deadly:
            os._exit(3)
        return item


class First(LosesSome):
    dropped, failed, deadly = 3, 5, 7


class Second(LosesSome):
    dropped, failed = 13, 15


class AtHome(LosesSome):
    """Stays in Scrapy's process."""

    dropped = 9
