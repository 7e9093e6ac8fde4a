"""The spider: from the index page to the page of each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.http import HtmlResponse

from pydocs.items import Page
from pydocs.server import LocalSite


class PydocsSpider(Spider):
    """``scrapy crawl pydocs`` brings its own site; ``-a site=http://...`` names another."""

    name = "pydocs"

    @classmethod
    def from_crawler(
        cls, crawler: Crawler, *args: Any, site: str | None = None, **kwargs: Any
    ) -> PydocsSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.start_urls = [site or serve_until_closed(crawler)]
        return spider

    def parse(self, response: HtmlResponse) -> Iterator[Request]:
        yield from response.follow_all(css="main a", callback=self.parse_module)

    def parse_module(self, response: HtmlResponse) -> Iterator[Page]:
        title = response.css("title::text").get("")
        yield Page(
            module=PurePosixPath(urlsplit(response.url).path).stem,
            title=title.removeprefix("Python: "),  # pydoc puts it before every title
            html=response.text,
        )


def serve_until_closed(crawler: Crawler) -> str:
    site = LocalSite()

    def stop() -> None:
        site.close()

    # Nobody else holds this function: as the weak reference that is the default it would be
    # gone before the spider closes.
    crawler.signals.connect(stop, signals.spider_closed, weak=False)
    return site.url
