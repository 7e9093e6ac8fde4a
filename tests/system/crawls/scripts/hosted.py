"""Crawls inside a process of somebody else: two in turn, in a child that the argument names."""

import asyncio
import json
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "project"))

from crawled.signs import tell
from crawled.spiders import PagesSpider
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess, AsyncCrawlerRunner, CrawlerProcess

SETTINGS = {
    "ADDONS": {"scrapy_mpworkers.Addon": 500},
    "MPWORKERS_PIPELINES": {"crawled.pipelines.Mark": 300},
    "MPWORKERS_WORKERS": 2,
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
    "LOG_LEVEL": "INFO",
    **json.loads(os.environ["CRAWL_SETTINGS"]),
}


def crawl_in_turn():
    """Crawl, and tell what the application may do with processes of its own, before and after."""
    tell("crawling_in", os.getpid())
    tell("rights", *rights())
    if SETTINGS.get("TWISTED_REACTOR_ENABLED") is False:
        without_reactor()
    else:
        with_reactor()
    tell("rights", *rights())


def rights():
    try:
        process = multiprocessing.Process(target=int)
        process.start()
        process.join()
        may_start = True
    except AssertionError:
        may_start = False
    return [multiprocessing.current_process().daemon, may_start]


def first(process):
    """A crawler that looks, while its spider is open, at what its process is and may do."""
    crawler = process.create_crawler(PagesSpider)
    crawler.signals.connect(look, signals.spider_opened)
    return crawler


def look():
    tell("rights", *rights())


def without_reactor():
    async def crawl():
        runner = AsyncCrawlerRunner(SETTINGS)
        await runner.crawl(first(runner))
        await runner.crawl(PagesSpider)

    AsyncCrawlerProcess(SETTINGS)  # for the log
    asyncio.run(crawl())


def with_reactor():
    process = CrawlerProcess(SETTINGS)
    process.crawl(first(process)).addCallback(lambda _: process.crawl(PagesSpider)).addBoth(stop)
    process.start(stop_after_crawl=False)


def stop(_):
    from twisted.internet import reactor

    reactor.stop()


def in_process(method):
    # A shell that runs the tests in the background lets all they start ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    child = multiprocessing.get_context(method).Process(target=crawl_in_turn, daemon=True)
    child.start()
    child.join()
    return child.exitcode


def in_pool():
    with multiprocessing.Pool(1) as pool:
        pool.apply(crawl_in_turn)
        # Not by the end of the block, which terminates: Scrapy's handler of SIGTERM stays behind,
        # in a process without workers as well, and shuts down a reactor that runs no more.
        pool.close()
        pool.join()
    return 0


def in_executor():
    with ProcessPoolExecutor(1) as executor:
        executor.submit(crawl_in_turn).result()
    return 0


def in_work_horse():
    """As a worker of RQ does it: a plain fork, which leaves by ``os._exit``."""
    child = os.fork()
    if child == 0:
        crawl_in_turn()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


HOSTS = {"pool": in_pool, "executor": in_executor, "work_horse": in_work_horse}

if __name__ == "__main__":
    host = sys.argv[1]
    sys.exit(HOSTS[host]() if host in HOSTS else in_process(host))
