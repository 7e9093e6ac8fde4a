"""Pipelines that touch nothing of the crawl, and all of it."""

import asyncio
import os
import time

from scrapy.exceptions import DropItem


class Plain:
    def process_item(self, item):
        return item | {"pid": os.getpid()}


class Peeks:
    """Would touch what some spiders do not have in a worker."""

    def __init__(self, crawler):
        self.spider = crawler.spider
        self.settings = crawler.settings

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        if item.get("is_locked"):
            self.spider.lock.acquire()
            self.settings["GUARD"].close()
        return item


class Touches:
    """Notes what it gets, or the error that it gets instead."""

    def __init__(self, crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        spider, settings = self.crawler.spider, self.crawler.settings
        item["got"] = {
            "name": attempt(lambda: spider.name + ""),
            "shelf": attempt(lambda: spider.shelf + ""),
            "class": attempt(lambda: type(spider).__name__),
            "helper": attempt(lambda: spider.helper()),
            "shouted": attempt(lambda: spider.shouted()),
            "lock": attempt(lambda: spider.lock.acquire()),
            "thing": attempt(lambda: spider.thing() and "a thing"),
            "mood": attempt(lambda: f"{spider.mood}"),
            "shop": attempt(lambda: spider.shop + ""),
            "GUARD": attempt(lambda: bool(settings["GUARD"])),
            "CLEANER": attempt(lambda: settings["CLEANER"](" clean ")),
            "guard": attempt(lambda: self.crawler.stats.get_value("guard") == 1),
            "copied": attempt(lambda: settings.copy()["BOT_NAME"]),
        }
        return item


def attempt(look):
    try:
        return look()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:150]


class Marks:
    """Its methods are pipelines, and count in a global of this module."""

    count = 0

    def __init__(self, text):
        self.text = text

    def mark(self, item):
        return item | {"steps": item["steps"] + self.text, "count": counted()}

    @classmethod
    def of_class(cls, item):
        return item | {"steps": item["steps"] + "n", "count": counted() - item["count"]}


counts = []


def counted():
    counts.append(None)
    return len(counts)


unnamed = lambda item: item | {"steps": item["steps"] + "u", "counts": counted()}  # noqa: E731


class OwnEnd(BaseException):
    pass


ENDINGS = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError("by whom"),
    "OwnEnd": OwnEnd("enough"),
}
LOOKS = {
    "meta": lambda response: response.meta["n"],
    "cb_kwargs": lambda response: response.cb_kwargs["shelf"],
    "request": lambda response: response.request.url,
    "if": lambda response: bool(response.request),
    "text": lambda response: response.text,
    "replaced": lambda response: response.replace(body=b"other"),
}


class Ends:
    async def process_item(self, item):
        if item.get("way") == "awaited":
            await asyncio.sleep(0.001)
        if "ends" in item:
            raise ENDINGS[item["ends"]]
        return item


class Looks:
    def process_item(self, item):
        if "look" not in item:
            return item
        saw = LOOKS[item["look"]](item["response"])
        if item["look"] == "replaced":
            item["response"], saw = saw, saw.text
        return item | {"saw": saw}


def opened():
    return open(os.devnull)  # noqa: SIM115


class Asks:
    """Asks with each item to close the spider, each time for another reason."""

    def __init__(self, crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        self.crawler.engine.close_spider(self.crawler.spider, f"by {item['n']} in {os.getpid()}")
        time.sleep(0.05)  # so that others are under way while the spider closes
        return item


class OpensBadly:
    def open_spider(self):
        raise ValueError("no shelf")

    def process_item(self, item):
        return item


class OpensBadlyLater(OpensBadly):
    async def open_spider(self):
        raise ValueError("no shelf")


def popped(item):
    item["length"] = len(item.pop("page"))
    item["rows"] = item["copy"] = ["short"]
    return item


def replaced(item):
    item.update(page=item["page"][:10], rows=())
    return item


def cleared(item):
    item["rows"].clear()
    del item["page"]
    return item


def another(item):
    return {"how": item["how"], "rows": ["r"], "response": item["response"]}


def without_response(item):
    return {name: item[name] for name in ("how", "rows")} | {"rows": []}


def kept(item):
    item["n"] = 1
    return item


SHRINKS = {
    "pop": popped,
    "replace": replaced,
    "clear": cleared,
    "another": another,
    "without_response": without_response,
    "drop": popped,
    "fail": cleared,
    "keep": kept,
}


class Shrinks:
    def process_item(self, item):
        return SHRINKS[item["how"]](item)


class Stores:
    """Adds to each, and sees what is shared."""

    def process_item(self, item):
        item["stored"] = len(item.get("page", ""))
        item["shares"] = item.get("copy") is item["rows"]
        if item["how"] == "drop":
            raise DropItem("not wanted")
        if item["how"] == "fail":
            raise ValueError("not stored")
        return item
