"""Crawls whose pipeline breaks while it is opened or closed; prints what came of each, as JSON."""

import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "project"))

from crawled.bombs import CRASHES, ERRORS
from crawled.spiders import PagesSpider
from scrapy.crawler import CrawlerProcess
from twisted.internet.defer import inlineCallbacks

settings = json.loads(os.environ["CRAWL_SETTINGS"])
settings |= {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_WORKERS": 1,
    "MPWORKERS_RESTART_INTENSITY": 1,
    "TELNETCONSOLE_ENABLED": False,
}


@inlineCallbacks
def crawl_all(process):
    for phase in ("Open", "Close"):
        for way in (*CRASHES, *ERRORS):
            pipeline = {f"crawled.bombs.BreaksIn{phase}": 300}
            own = {"MPWORKERS_PIPELINES": pipeline, "WAY": way}
            PagesSpider.custom_settings = settings | own
            crawler, error = process.create_crawler(PagesSpider), None
            try:
                yield process.crawl(crawler)
            except Exception as exception:
                error = f"{type(exception).__name__}: {exception}"
            stats = {key: value for key, value in crawler.stats.get_stats().items() if "/" in key}
            print(
                json.dumps([phase, way, {"error": error, "stats": stats}], default=str), flush=True
            )


def stop(_):
    from twisted.internet import reactor

    reactor.stop()


process = CrawlerProcess(settings)
# The first crawl installs the reactor; it is a plain one.
process.crawl(PagesSpider).addCallback(lambda _: crawl_all(process)).addBoth(stop)
process.start(stop_after_crawl=False)
