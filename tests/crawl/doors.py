"""How tests come in through the door of a level."""

from __future__ import annotations

from scrapy_mpworkers.crawl.pool import Backpressure


async def enter(door: Backpressure, size: int) -> None:
    """Wait for room for *size* bytes if need be, and take it."""
    if not door.enter_at_once(size):
        await door.wait_in_line(size)
