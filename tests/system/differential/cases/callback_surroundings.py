"""What is around a callback: the spider's attributes, the crawl's parts, pipelines, its home."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from time import sleep
from typing import Any

from scrapy.exceptions import DropItem

from ..case import Case, Expected
from .callbacks import case
from .lifecycle import RENDERED_EARLY
from .pages import SiteSpider


class UsesTheCrawl(SiteSpider):
    """Logs, counts, reads settings and arguments."""

    def parse(self, response: Any) -> Any:
        self.logger.info("at %s", response.url)
        self.logger.warning("look at %(url)s", {"url": response.url})
        try:
            raise ValueError("in between")
        except ValueError:
            self.logger.exception("caught")
        self.crawler.stats.inc_value("pages/seen")
        self.crawler.stats.max_value("pages/longest", len(response.body))
        self.crawler.stats.set_value(f"pages/{response.url}", "seen")
        yield {
            "setting": self.settings["CASE_SETTING"],
            "again": self.crawler.settings.getint("CONCURRENT_ITEMS"),
            "argument": self.argument,  # type: ignore[attr-defined]
            "name": self.name,
        }
        yield response.follow("/a", self.page)


class Login(SiteSpider):
    """A callback at home renews what one in a worker reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.token = "none"
        self.seen: list[str] = []
        self.sizes = {"pages": 0}

    def parse(self, response: Any) -> Any:
        return response.follow("/login", self.logged_in)

    def logged_in(self, response: Any) -> Iterator[Any]:
        self.token = response.css("input[name=token]::attr(value)").get()
        self.seen.append(response.url)
        self.sizes["pages"] += 1
        self.new = ("made", "here")
        yield response.follow("/a", self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"token": self.token, "seen": [*self.seen], "sizes": self.sizes, "new": self.new}
        if self.token == "t1":
            yield response.follow("/b", self.renew)

    def renew(self, response: Any) -> Iterator[Any]:
        self.token = "t2"
        self.seen.append(response.url)
        yield response.follow("/c", self.page)


class Locked(SiteSpider):
    """Has attributes that no process can be sent, which its callbacks let be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = threading.Lock()
        self.words = {"ant": 1}
        self.make = lambda n: n + 1

    def parse(self, response: Any) -> Any:
        yield {"words": self.words, "made": self.make(1)}
        yield response.follow("/a", self.page)


# Pipelines behind


class Titles:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["upper"] = item["title"].upper()
        if item["title"] == "b":
            raise DropItem("no b")
        if item["title"] == "c":
            raise ValueError("no c either")
        return item


class Note:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["noted"] = True
        return item


class WithPages(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield from response.follow_all(css="a", callback=self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"title": response.css("title::text").get(), "page": response}


class ReadPage:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        page = item.pop("page")
        item["size"], item["status"] = len(page.body), page.status
        return item


class ReadRequest:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["asked"] = item.pop("page").request.url
        return item


class ManyOfEach(SiteSpider):
    def parse(self, response: Any) -> Any:
        for n in range(10):
            yield response.follow(f"/a?{n}", self.page, cb_kwargs={"n": n})

    def page(self, response: Any, n: int) -> Iterator[Any]:  # type: ignore[override]
        for m in range(30):
            yield {"title": f"{n} {m}", "page": response}


# What must stay at home


class Helper:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def parse(self, response: Any) -> Iterator[Any]:
        yield {"helped": response.url}


class OthersMethod(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        yield response.follow("/a", Helper().parse)


class Countdown(SiteSpider):
    """The last of three pages yields the item that they share."""

    def parse(self, response: Any) -> Any:
        item: dict[str, Any] = {"left": 3, "urls": []}
        for path in "abc":
            yield response.follow(f"/{path}", self.page, cb_kwargs={"item": item})

    def page(self, response: Any, item: dict[str, Any]) -> Iterator[Any]:
        item["left"] -= 1
        item["urls"] = sorted([*item["urls"], response.url])
        if not item["left"]:
            yield item


class CountdownInMeta(Countdown):
    def parse(self, response: Any) -> Any:
        item: dict[str, Any] = {"left": 3, "urls": []}
        return [response.follow(f"/{path}", self.page, meta={"item": item}) for path in "abc"]

    def page(self, response: Any) -> Any:  # type: ignore[override]
        return super().page(response, response.meta["item"])


class SharedValues(SiteSpider):
    """Shares what nobody can tell from its copy, or what nobody changes."""

    def parse(self, response: Any) -> Any:
        day, kinds = date(2024, 2, 29), (Path("a"), Helper)
        for href in "abc":
            yield response.follow(
                f"/{href}",
                self.page,
                cb_kwargs={"day": day, "kinds": kinds, "first": response},
                meta={"lock": threading.Lock, "spider": self},
            )

    def page(self, response: Any, day: Any, kinds: Any, first: Any) -> Iterator[Any]:
        yield {"day": day.isoformat(), "kinds": repr(kinds), "first": first.url}


class Carried(SiteSpider):
    """Each page has an item of its own, which its callback fills."""

    def parse(self, response: Any) -> Any:
        for href in "abc":
            item = {"href": href, "tags": []}
            yield response.follow(f"/{href}", self.page, cb_kwargs={"item": item})

    def page(self, response: Any, item: dict[str, Any]) -> Iterator[Any]:
        item["tags"].append(response.css("title::text").get())
        yield item


class Unsendable(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1, "generator": (n for n in range(3))}
        yield response.follow("/a", self.page)


class UnsendableLate(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        sleep(0.1)
        yield {"n": 2}
        yield {"n": 3, "generator": (n for n in range(3))}


class UnsendableMeta(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, meta={"title": response.css("title")})
        yield response.follow("/b", self.page, meta={"from": response})

    def page(self, response: Any) -> Iterator[Any]:
        title, page = response.meta.get("title"), response.meta.get("from")
        yield {"title": title and title.get(), "from": page and page.url}


class ResponsesOnTheWay(SiteSpider):
    """Hands its response on, which the next callback reads."""

    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, cb_kwargs={"first": response})

    def page(self, response: Any, first: Any) -> Iterator[Any]:
        yield {"first": first.css("title::text").get(), "second": response.url}


#: Whichever page is the last of three.
LAST = dict.fromkeys(("scraped", "results", "logs"), "which page comes last is a matter of time")
SETTINGS = {"CASE_SETTING": "seen by all"}

CASES = [
    case(
        "callback_uses_the_crawl",
        UsesTheCrawl,
        2,
        2,
        settings=SETTINGS,
        spider_arguments={"argument": "given"},
        not_compared=RENDERED_EARLY,
    ),
    case("attributes_renewed_at_home", Login, 2, 2, callbacks=["page"]),
    case("attributes_with_a_lock", Locked, 2, 2),
    Case(
        "callbacks_and_pipelines",
        WithPages,
        {Titles: 300},
        Expected(scraped=1, dropped=1, failed=1),
        callbacks=True,
        called=4,
    ),
    Case(
        "callbacks_and_pipelines_of_both_kinds",
        WithPages,
        {ReadPage: 300},
        Expected(scraped=1, dropped=1, failed=1),
        reactor_pipelines={Titles: 200, Note: 400},
        callbacks=True,
        called=4,
        submitted=1,
    ),
    Case(
        "callbacks_and_reactor_pipelines",
        WithPages,
        {},
        Expected(scraped=3),
        reactor_pipelines={ReadRequest: 200, Note: 400},
        callbacks=True,
        called=4,
    ),
    Case(
        "callbacks_whose_items_wait_for_room",
        ManyOfEach,
        {Titles: 300, ReadPage: 400},
        Expected(scraped=300),
        callbacks=True,
        called=11,
        settings={"MPWORKERS_MAX_PENDING": 4, "CONCURRENT_ITEMS": 3},
    ),
    case("others_method_stays", OthersMethod, 2, 1, stays=1),
    case("shared_argument_stays", Countdown, 1, 4, stays=2, not_compared=LAST),
    case("shared_meta_stays", CountdownInMeta, 1, 4, stays=2, not_compared=LAST),
    case(
        "shared_argument_of_home", Countdown, 1, 3, callbacks=["page"], stays=1, not_compared=LAST
    ),
    case("shared_values", SharedValues, 3, 4),
    case("item_carried_from_home", Carried, 3, 3, callbacks=["page"]),
    case("unpicklable_item_stays", Unsendable, 2, 2, stays=1, feed_lines=1),
    case("unpicklable_item_stays_late", UnsendableLate, 3, 1, stays=1, feed_lines=2),
    case("unpicklable_meta_stays", UnsendableMeta, 2, 1, callbacks=["parse"], stays=1),
    case("response_on_the_way", ResponsesOnTheWay, 1, 2),
]
