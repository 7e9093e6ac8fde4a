"""Items that carry parts of the crawl itself: a response, the spider, the crawler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, Spider
from scrapy.exceptions import DropItem
from scrapy.http import Response

from ..case import Case, Expected
from .outputs import REPLACED
from .spiders import WORDS, WordSpider

FIVE = Expected(scraped=5)


class ResponseSpider(WordSpider):
    """Five pages, each with something in its request's ``meta``."""

    async def start(self) -> AsyncIterator[Any]:
        for n in range(5):
            url = f"data:text/html,<title>{WORDS[n]}</title>"
            yield Request(url, self.parse, meta={"note": [n]}, cb_kwargs={"n": n})

    def parse(self, response: Response, n: int) -> Iterator[Any]:
        yield {"n": n, "response": response}


class NestedResponseSpider(ResponseSpider):
    def parse(self, response: Response, n: int) -> Iterator[Any]:
        response.css("title")  # a selector is cached now, which no process can be sent
        yield {"n": n, "response": response, "again": {"pages": [response, response]}}


class ReadTitle:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        response = item["response"]
        item["title"] = response.css("title::text").get()
        item["kind"] = type(response).__name__
        item["size"] = len(response.body)
        item["at"] = response.urljoin("#part")
        return item


class UseMeta:
    """Behind the hop: the response is the crawl's own, with its request."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        response = item.pop("response")
        item["note"] = response.meta["note"]
        item["n_again"] = response.cb_kwargs["n"]
        item["request"] = response.request.url
        return item


class UseMetaInside:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        pages = item.pop("again")["pages"]
        item["same"] = all(page is item["response"] for page in pages)
        return item


class LoseTheResponse:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        del item["response"]
        return item


class LoseSomeItems:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["size"] = len(item["response"].body)
        if item["n"] == 0:
            raise DropItem("with its response")
        if item["n"] == 1:
            raise ValueError("with its response")
        return item


class SpiderInItem(WordSpider):
    currency = "EUR"

    def make(self, n: int) -> Any:
        return {"n": n, "spider": self, "list": [self], "crawler": self.crawler}


class ReadSpider:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["currency"] = item["spider"].currency
        item["is_spider"] = item["spider"] is spider is item["list"][0]
        item["is_crawler"] = item["crawler"] is spider.crawler
        item["setting"] = item["crawler"].settings["CASE_SETTING"]
        return item


class AddSpider:
    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        item["added"] = spider
        return item


class CheckSpider:
    """Behind the hop: they are the crawl's own again."""

    def process_item(self, item: dict[str, Any], spider: Spider) -> dict[str, Any]:
        spiders = [item.pop("spider"), item.pop("list")[0], item.pop("added")]
        item["own_spider"] = all(one is spider for one in spiders)
        item["own_crawler"] = item.pop("crawler") is spider.crawler
        return item


class RepackResponse:
    """The worker puts the response elsewhere, and makes another one of it."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        response = item.pop("response")
        return {"kept": [response], "replaced": response.replace(body=b"<p>new</p>")}


class UnpackResponse:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        kept, replaced = item["kept"][0], item["replaced"]
        return {
            "note": kept.meta["note"],
            "body": kept.text,
            "new_body": replaced.text,
            "new_url": replaced.url,
            "new_title": replaced.css("p::text").get(),
        }


CASES = [
    Case(
        "response_in_item",
        ResponseSpider,
        {ReadTitle: 300},
        FIVE,
        reactor_pipelines={UseMeta: 400},
    ),
    Case(
        "response_in_item_many_times",
        NestedResponseSpider,
        {ReadTitle: 300},
        FIVE,
        reactor_pipelines={UseMetaInside: 400, UseMeta: 500},
    ),
    Case("response_deleted", ResponseSpider, {ReadTitle: 300, LoseTheResponse: 400}, FIVE),
    Case(
        "response_of_lost_items",
        ResponseSpider,
        {LoseSomeItems: 300},
        Expected(scraped=3, dropped=1, failed=1),
        reactor_pipelines={UseMeta: 400},
    ),
    Case(
        "response_moved_and_replaced",
        ResponseSpider,
        {RepackResponse: 300},
        FIVE,
        reactor_pipelines={UnpackResponse: 400},
        not_compared=REPLACED,
    ),
    Case(
        "spider_and_crawler_in_item",
        SpiderInItem,
        {ReadSpider: 300, AddSpider: 400},
        Expected(scraped=10),
        reactor_pipelines={CheckSpider: 500},
        settings={"CASE_SETTING": "set"},
    ),
]
