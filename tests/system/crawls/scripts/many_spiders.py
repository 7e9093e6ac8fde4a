"""Five spiders in one process, and some that break. Arguments: at_once, in_turn or one_behind (the
second begins while the first stops its workers), and the names of spiders. Tells, as JSON, what
became of each, which processes worked, and how long workers took.
"""

import asyncio
import json
import logging
import os
import re
import sys
import time

import psutil
import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerRunner, CrawlerRunner
from scrapy.exceptions import DropItem
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.log import configure_logging
from twisted.internet.defer import Deferred, DeferredList

settings = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {"__main__.Work": 300},
    "MPWORKERS_WORKERS": 2,
    "MPWORKERS_RESTART_INTENSITY": 3,
    "MPWORKERS_REDELIVER_TIMES": 1,
    **json.loads(os.environ["CRAWL_SETTINGS"]),
}
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
seen_at_once: list[int] = []
servers: set[int] = set()
messages: list[tuple[str, str]] = []


class Work:
    """Counts, logs, drops, fails, and takes its time."""

    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.crawler = crawler
        return pipeline

    def open_spider(self):
        self.seconds = self.crawler.settings.getfloat("SECONDS")

    def process_item(self, item):
        name = self.crawler.spider.name
        assert item["by"] == name
        self.crawler.stats.inc_value(f"seen/{name}")
        logging.getLogger("work").info(
            "%s has %d", name, item["n"], extra={"spider": self.crawler.spider}
        )
        time.sleep(self.seconds)
        if item["n"] % 5 == 3:
            raise DropItem("not wanted")
        if item["n"] % 5 == 4:
            raise ValueError(f"bad item of {name}")
        item["pid"] = os.getpid()
        return item


class CannotOpen(Work):
    def open_spider(self):
        raise RuntimeError("this pipeline is broken")


class DiesWhileOpening(Work):
    def open_spider(self):
        os._exit(7)


class DiesOfItems(Work):
    def process_item(self, item):
        os._exit(9)


class ClosesSlowly(Work):
    def close_spider(self):
        time.sleep(1)


class Many(scrapy.Spider):
    count = 10

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.look, signals.item_scraped)
        return spider

    async def start(self):
        for n in range(self.count):
            yield {"n": n, "by": self.name}

    def look(self):
        seen_at_once.append(len(workers()))


def many(name, count=10, pipeline="Work"):
    own = {"MPWORKERS_PIPELINES": {f"__main__.{pipeline}": 300}} if pipeline != "Work" else {}
    body = {"name": name, "count": count, "custom_settings": own, "__module__": "__main__"}
    return type(name.title(), (Many,), body)


spiders = {
    **{f"spider{n}": many(f"spider{n}", 10 + n) for n in range(5)},
    "cannot_open": many("cannot_open", pipeline="CannotOpen"),
    "dies_while_opening": many("dies_while_opening", pipeline="DiesWhileOpening"),
    "closes_slowly": many("closes_slowly", pipeline="ClosesSlowly"),
    "dies_of_items": many("dies_of_items", pipeline="DiesOfItems"),
}
# Classes that a module names can be imported from there, and so they cross.
globals().update({cls.__name__: cls for cls in spiders.values()})


def workers():
    """The worker processes: all below this one but the resource tracker and the fork server."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        is_titled = "fork server" in command or "worker.fork_server" in command
        is_server = is_titled and process.ppid() == os.getpid()
        if is_server:
            servers.add(process.pid)
        if "resource_tracker" not in command and not is_server:
            found.append(process.pid)
    return found


class Notes(logging.Handler):
    """Keeps what workers logged, by crawl, and how long they took to be ready."""

    def __init__(self):
        super().__init__()
        self.seconds = []
        self.stopping = Deferred()

    def emit(self, record):
        if record.getMessage().startswith("Stopping workers") and not self.stopping.called:
            self.stopping.callback(None)
        if record.name == "work":
            messages.append((record.spider.name, record.getMessage()))
        elif found := re.search("ready after ([0-9.]+) s", record.getMessage()):
            self.seconds.append(float(found[1]))


async def crawl(runner, name):
    crawler = runner.create_crawler(spiders[name])
    error = None
    try:
        started = runner.crawl(crawler)
        await (started if without_reactor else maybe_deferred_to_future(started))
    except Exception as exception:
        error = f"{type(exception).__name__}: {exception}"
    left = len(workers())
    return {"name": name, "error": error, "left": left, "stats": crawler.stats.get_stats()}


async def crawl_all(runner, turn, names, notes):
    if turn == "in_turn":
        return [await crawl(runner, name) for name in names]
    if turn == "one_behind":
        first = deferred_from_coro(crawl(runner, names[0]))
        await maybe_deferred_to_future(notes.stopping)
        return [await crawl(runner, names[1]), await maybe_deferred_to_future(first)]
    if without_reactor:
        return list(await asyncio.gather(*(crawl(runner, name) for name in names)))
    under_way = [deferred_from_coro(crawl(runner, name)) for name in names]
    return [end for _, end in await maybe_deferred_to_future(DeferredList(under_way))]


def main():
    turn, *names = sys.argv[1:]
    configure_logging(settings)
    notes = Notes()
    logging.root.addHandler(notes)
    ends = []
    if without_reactor:
        ends += asyncio.run(crawl_all(AsyncCrawlerRunner(settings), turn, names, notes))
    else:
        from twisted.internet import reactor

        done = deferred_from_coro(crawl_all(CrawlerRunner(settings), turn, names, notes))
        done.addCallback(ends.extend).addBoth(lambda _: reactor.stop())
        reactor.run()
    told = {
        "ends": ends,
        "most_at_once": max(seen_at_once, default=0),
        "servers": len(servers),
        "messages": messages,
        "ready_after": notes.seconds,
    }
    print(json.dumps(told, default=str))


if __name__ == "__main__":
    if settings.get("TWISTED_REACTOR", "asyncio") and not without_reactor:
        from scrapy.utils.reactor import install_reactor

        install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    main()
