"""Tries to start a crawl with each of some settings; prints what came of it, a JSON line each."""

import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "project"))

import scrapy
from scrapy.crawler import CrawlerProcess
from twisted.internet.defer import inlineCallbacks

settings = json.loads(os.environ["CRAWL_SETTINGS"])
trials = settings.pop("TRIALS")


class MySpider(scrapy.Spider):
    name = "myspider"
    started = False

    async def start(self):
        type(self).started = True
        return
        yield


@inlineCallbacks
def try_all(process):
    for trial in trials:
        MySpider.started, error = False, None
        MySpider.custom_settings = {"ADDONS": {"scrapy_mpworkers.Addon": 500}} | settings | trial
        try:
            yield process.crawl(MySpider)
        except Exception as exception:
            error = str(exception)
        print(json.dumps({"error": error, "started": MySpider.started}), flush=True)


def stop(_):
    from twisted.internet import reactor

    reactor.stop()


process = CrawlerProcess(settings)
# The first crawl installs the reactor, so none that is refused before that can be the first.
process.crawl(MySpider).addCallback(lambda _: try_all(process)).addBoth(stop)
process.start(stop_after_crawl=False)
