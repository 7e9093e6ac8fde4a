"""Pipelines that take longer than asyncio's debug mode thinks a callback should."""

from __future__ import annotations

import asyncio
import time
from typing import Any


class Lasts:
    def open_spider(self) -> None:
        time.sleep(0.15)

    def process_item(self, item: dict[str, Any]) -> Any:
        time.sleep(0.15)
        return item

    def close_spider(self) -> None:
        time.sleep(0.15)


class Waits:
    """The same where it awaits something."""

    async def process_item(self, item: dict[str, Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, future.set_result, None)
        await future
        time.sleep(0.15)
        return item
