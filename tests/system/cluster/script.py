"""A user's script, without a ``__main__`` guard: runs the spider with the settings of its test."""

import json
import os
import sys
from pathlib import Path

from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

sys.path.insert(0, str(Path(__file__).parents[2]))

from system.cluster.work import Numbers  # noqa: E402


class Doubles:
    """Lives in ``__main__``, which workers must not run again."""

    def process_item(self, item):
        item["doubled"] = 2 * item["n"]
        return item


settings = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_BACKEND": "dask",
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
    "LOG_LEVEL": "INFO",
    **json.loads(os.environ["CRAWL_SETTINGS"]),
}
if settings.pop("DOUBLES", False):
    settings["MPWORKERS_PIPELINES"] = {Doubles: 300}
has_reactor = settings.get("TWISTED_REACTOR_ENABLED", True)
on_asyncio = has_reactor and "TWISTED_REACTOR" not in settings
process = (CrawlerProcess if has_reactor and not on_asyncio else AsyncCrawlerProcess)(settings)
process.crawl(Numbers)
process.start()
