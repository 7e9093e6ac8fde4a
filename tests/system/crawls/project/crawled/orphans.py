"""A pipeline that leaves processes behind, and who has to collect them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import psutil
from scrapy import signals

from .signs import pause, tell
from .spiders import TellingSpider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response


class Leaves:
    """Two programs whose parent, a shell, ends at once: one of them leaves the group as well."""

    def process_item(self, item: dict[str, Any]) -> Any:
        subprocess.run(["sh", "-c", "sleep 0.01 & setsid sleep 0.01 &"], check=True)
        return item


class OrphansSpider(TellingSpider):
    """Tells how many dead children Scrapy's process has in the end."""

    name = "orphans"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> OrphansSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.spider_closed, signals.spider_closed)
        return spider

    def parse(self, response: Response) -> Iterator[Any]:
        for _ in range(int(self.items)):
            yield self.make()

    async def spider_closed(self) -> None:
        while any(is_alive(process) for process in psutil.process_iter(["name", "status"])):
            await pause(0.01)
        children = psutil.Process().children()
        dead = [child for child in children if child.status() == psutil.STATUS_ZOMBIE]
        tell("zombies", os.getpid(), len(dead))


def is_alive(process: psutil.Process) -> bool:
    return process.info["name"] == "sleep" and process.info["status"] != psutil.STATUS_ZOMBIE
