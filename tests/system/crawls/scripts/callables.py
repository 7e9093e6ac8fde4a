"""Everything that can be called with an item is a pipeline, wherever it was made."""

import functools
import json
import os
import random

import odd_pipelines
import scrapy
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess


class Suffix:
    def __init__(self, text):
        self.text = text

    def __call__(self, item):
        return item | {"steps": item["steps"] + self.text}

    def method(self, item):
        return self(item)

    @classmethod
    def of_class(cls, item):
        return cls("k")(item)

    @staticmethod
    def static(item):
        return item | {"steps": item["steps"] + "s"}


def main():
    def local(item):
        return item | {"steps": item["steps"] + "b"}

    def with_text(text, item):
        return item | {"steps": item["steps"] + text}

    async def later(item):
        return item | {"steps": item["steps"] + "f", "pid": os.getpid()}

    rng = random.Random(1)
    functions = [
        lambda item: item | {"steps": item["steps"] + "a"},
        local,
        functools.partial(with_text, "c"),
        Suffix("d"),
        lambda item: item | {"steps": item["steps"] + "e" + str(rng.random())[:0]},
        later,
        Suffix("g").method,
        Suffix.of_class,
        Suffix.static,
        odd_pipelines.Marks("m").mark,
        odd_pipelines.Marks.of_class,
        odd_pipelines.unnamed,
        functools.partial(lambda end, item: item | {"steps": item["steps"] + end}, "z"),
    ]

    class MySpider(scrapy.Spider):
        name = "myspider"

        async def start(self):
            for n in range(4):
                yield {"n": n, "steps": ""}

    settings = json.loads(os.environ["CRAWL_SETTINGS"])
    without_reactor = settings.get("TWISTED_REACTOR_ENABLED") is False
    pipelines = {function: order for order, function in enumerate(functions)}
    level = {"name": "all", "workers": 2, "pipelines": pipelines}
    level["key"] = functools.partial(lambda two, item: item["n"] % two, 2)
    if "MPWORKERS_WORKERS" in settings or "MPWORKERS_ENABLED" in settings:
        given = {"MPWORKERS_PIPELINES": pipelines}
    else:
        given = {"MPWORKERS_LEVELS": [level]}
    process = (AsyncCrawlerProcess if without_reactor else CrawlerProcess)(
        settings={"ADDONS": {"scrapy_mpworkers.Addon": 500}, **given, **settings}
    )
    process.crawl(MySpider)
    process.start()
    print(os.getpid())


main()
