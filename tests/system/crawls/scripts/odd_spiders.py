"""Crawls with spiders of which no worker could have the whole; each in its own words of trouble."""

import contextvars
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path

import scrapy
from odd_pipelines import Peeks, Plain, Touches
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

PLUGIN = Path(__file__).parent / "elsewhere" / "odd_spider.py"


class Base(scrapy.Spider):
    name = "base"
    shelf = "A"

    async def start(self):
        yield {"spider": self.name, "pid": os.getpid()}


class Demanding(scrapy.Spider):
    """Its subclasses are made with an argument."""

    def __init_subclass__(cls, shop, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.shop = shop


class Moody:
    """Can be pickled, and cannot be loaded."""

    def __reduce__(self):
        return _raise, (os.getpid(),)


class Guard:
    """A setting that cannot be pickled; Scrapy copies all settings."""

    def __init__(self):
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return self


class SetsStat:
    @classmethod
    def from_crawler(cls, crawler):
        crawler.stats.set_value("guard", threading.Lock())
        return cls()


def _raise(home):
    if os.getpid() != home:
        raise RuntimeError("not here")
    return Moody()


def closing_over(thing, name):
    class Closes(Base):
        def helper(self):
            return "helped"

        def shouted(self):
            return self.shelf.lower() + super().shelf

        def thing(self):
            return thing

    Closes.name = name
    return Closes


def spiders(process):
    spec = importlib.util.spec_from_file_location("spider_of_a_plugin", PLUGIN)
    module = sys.modules["spider_of_a_plugin"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Asks(Demanding, shop="a shop"):
        name = "demanding"
        lock = threading.Lock()
        start = Base.start

    class Breaks(Base):
        name = "moody"
        mood = Moody()

    yield type("Unbound", (Base,), {"name": "unbound"})
    yield module.LoadedSpider
    yield closing_over(process, "process")
    yield closing_over(contextvars.copy_context(), "context")
    yield closing_over(sys, "module")
    yield closing_over(threading.RLock(), "lock")
    yield Asks
    yield Breaks


settings = json.loads(os.environ["CRAWL_SETTINGS"])
without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
    settings={
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Plain: 1, Peeks: 2, Touches: 3},
        "MPWORKERS_WORKERS": 1,
        "EXTENSIONS": {SetsStat: 1},
        "GUARD": Guard(),
        "CLEANER": lambda text: text.strip(),
        **settings,
    }
)
for cls in spiders(process):
    process.crawl(cls)
process.start()
print(os.getpid())
