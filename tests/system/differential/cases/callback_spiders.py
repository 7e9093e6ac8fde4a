"""Scrapy's own spiders, whose methods call those of the user."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from scrapy import Request
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, CSVFeedSpider, Rule, SitemapSpider, XMLFeedSpider

from .callbacks import case
from .pages import SITE, Pages

PAGES: dict[str, Any] = {"DOWNLOADER_MIDDLEWARES": {Pages: 1000}}


class OfSite:
    """Begins with the first page, as Scrapy's own spiders do."""

    name = "of_site"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/"]


class ByString(OfSite, CrawlSpider):
    rules = (Rule(LinkExtractor(allow="/[ab]$"), callback="page"),)

    def page(self, response: Any) -> Iterator[Any]:
        yield {
            "url": response.url,
            "rule": response.meta["rule"],
            "text": response.meta["link_text"],
        }


class ByMethod(OfSite, CrawlSpider):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rules = (
            Rule(LinkExtractor(allow="/[ab]$"), callback=self.page, cb_kwargs={"of": "method"}),
            Rule(LinkExtractor(allow="/c$"), callback="other", follow=False),
        )
        super().__init__(*args, **kwargs)

    def page(self, response: Any, of: str) -> Any:
        return {"url": response.url, "of": of}

    async def other(self, response: Any) -> Any:
        return [{"url": response.url, "title": response.css("title::text").get()}]


class WithLambdas(OfSite, CrawlSpider):
    rules = (
        Rule(
            LinkExtractor(),
            callback="page",
            process_links=lambda links: [link for link in links if not link.url.endswith("/b")],
            process_request=lambda request, response: request.replace(
                meta={**request.meta, "of": response.url}
            ),
        ),
    )

    def page(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url, "of": response.meta["of"]}


class WithNames(OfSite, CrawlSpider):
    rules = (
        Rule(
            LinkExtractor(allow="/[abc]$"),
            callback="page",
            errback="failed",
            follow=True,
            process_links="some",
            process_request="marked",
        ),
        Rule(LinkExtractor(allow="/more")),
    )
    start_urls: ClassVar[list[str]] = [f"{SITE}/more"]

    def parse_start_url(self, response: Any) -> Any:
        return [{"start": response.url}, Request(f"{SITE}/", self.parse_with_more)]

    def parse_with_more(self, response: Any) -> Any:
        yield from self._requests_to_follow(response)

    def process_results(self, response: Any, results: Iterable[Any]) -> Iterable[Any]:
        for one in results:
            yield {**one, "processed": True} if isinstance(one, dict) else one

    def some(self, links: list[Any]) -> list[Any]:
        return links[:2]

    def marked(self, request: Request, response: Any) -> Request | None:
        request.meta["marked"] = response.url
        return request

    def page(self, response: Any) -> Any:
        return [{"url": response.url, "marked": response.meta["marked"]}]

    def failed(self, failure: Any) -> Any:
        return {"failed": failure.request.url}


class WithErrback(OfSite, CrawlSpider):
    start_urls: ClassVar[list[str]] = [f"{SITE}/more"]
    rules = (Rule(LinkExtractor(), callback="page", errback="failed", follow=False),)

    def page(self, response: Any) -> Any:
        yield {"url": response.url}

    def failed(self, failure: Any) -> Any:
        yield {"failed": failure.request.url, "status": failure.value.response.status}


class NoB:
    """Cannot be sent to a worker, which makes the rules of its spider's class by itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, links: list[Any]) -> list[Any]:
        with self.lock:
            return [link for link in links if not link.url.endswith("/b")]


class WithLock(OfSite, CrawlSpider):
    rules = (Rule(LinkExtractor(), callback="page", process_links=NoB()),)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url}


class Sitemap(SitemapSpider):
    name = "sitemap"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    sitemap_urls: ClassVar[list[str]] = [f"{SITE}/sitemap.xml"]  # type: ignore[misc]
    sitemap_rules: ClassVar[list[Any]] = [("/a", "page"), ("/[bc]", "other")]  # type: ignore[misc]

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}

    def other(self, response: Any) -> Iterator[Any]:
        yield {"other": response.url}


class Feed(XMLFeedSpider):
    name = "feed"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/rows.xml"]
    itertag = "item"

    def parse_node(self, response: Any, selector: Any) -> Any:
        return {"n": selector.xpath("@n").get(), "word": selector.xpath("word/text()").get()}


class XmlFeed(Feed):
    iterator = "xml"
    namespaces: ClassVar[Any] = [("s", "http://www.sitemaps.org/schemas/sitemap/0.9")]  # type: ignore[misc]
    start_urls: ClassVar[list[str]] = [f"{SITE}/sitemap.xml"]
    itertag = "s:url"

    def parse_node(self, response: Any, selector: Any) -> Any:
        url = selector.xpath("s:loc/text()").get()
        return [{"url": url}, Request(url, self.page)]

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}

    def process_results(self, response: Any, results: Iterable[Any]) -> Iterable[Any]:
        return [one for one in results if "/b" not in getattr(one, "url", "")]


class HtmlFeed(Feed):
    iterator = "html"

    def adapt_response(self, response: Any) -> Any:
        return response.replace(body=response.body.replace(b"word 1", b"adapted"))


class Rows(CSVFeedSpider):
    name = "rows"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/rows.csv"]

    def parse_row(self, response: Any, row: dict[str, str]) -> Any:
        yield {**row, "of": response.url}
        if row["n"] == "1":
            yield Request(f"{SITE}/a", self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}


CASES = [
    case("crawl_spider_by_string", ByString, 2, 3),
    case("crawl_spider_by_string_listed", ByString, 2, 2, callbacks=["page"], alike=True),
    case("crawl_spider_by_method", ByMethod, 3, 4),
    case("crawl_spider_with_lambdas", WithLambdas, 2, 3),
    case("crawl_spider_with_names", WithNames, 3, 4),
    case("crawl_spider_with_an_errback", WithErrback, 4, 5),
    case("crawl_spider_with_a_lock", WithLock, 2, 3),
    case("sitemap_spider", Sitemap, 3, 4),
    case("sitemap_spider_listed", Sitemap, 3, 1, callbacks=["page"], alike=True),
    case("feed_spider", Feed, 3, 1),
    case("feed_spider_xml", XmlFeed, 5, 3),
    case("feed_spider_html", HtmlFeed, 3, 1, alike=True),
    case("feed_spider_listed", Feed, 3, 1, callbacks=["parse_node"], alike=True),
    case("csv_spider", Rows, 4, 2),
]
