"""What Scrapy's own spiders let a user override, further than ``callback_spiders``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, ClassVar

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, CSVFeedSpider, Rule, SitemapSpider, XMLFeedSpider

from .callback_spiders import PAGES, OfSite
from .callbacks import case
from .lifecycle import RENDERED_EARLY
from .pages import SITE

# CrawlSpider


class CrawlPages(OfSite, CrawlSpider):
    """Has the callback of most cases."""

    def page(self, response: Any, **given: Any) -> Any:
        yield {"url": response.url, "given": given}


class ParseAsRule(CrawlPages):
    """Its ``parse`` is the callback of a rule, and asks for one more page."""

    rules = (Rule(LinkExtractor(allow="/[ab]$"), callback="parse", follow=True),)

    def parse(self, response: Any, more: str = "") -> Any:
        yield {"url": response.url, "more": more}
        yield Request(f"{SITE}/d", self.parse, cb_kwargs={"more": "given"})


class AsyncGeneratorOfRule(CrawlPages):
    rules = (Rule(LinkExtractor(allow="/[abc]$"), callback="parse_later", follow=True),)

    async def parse_later(self, response: Any) -> Any:
        yield {"url": response.url}
        yield Request(f"{SITE}/d", self.parse_later, dont_filter=not response.url.endswith("/d"))


class WithArguments(CrawlPages):
    rules = (
        Rule(
            LinkExtractor(allow="/[abc]$"),
            callback="page",
            cb_kwargs={"of": "rule"},
            process_request="with_arguments",
        ),
    )

    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/", cb_kwargs={"of": "start"})

    def parse_start_url(self, response: Any, **given: Any) -> Any:
        return {"start": response.url, "given": given}

    def with_arguments(self, request: Request, response: Any) -> Request | None:
        if request.url.endswith("/c"):
            return None
        request.cb_kwargs["from"] = response.url
        if request.url.endswith("/b"):
            request.cb_kwargs["of"] = "request"
        return request


class FollowsNothing(CrawlPages):
    rules = (Rule(LinkExtractor(), callback="page", follow=True),)

    def parse_start_url(self, response: Any, **given: Any) -> Any:
        return Request(f"{SITE}/more", self.page)


class OwnWay(CrawlPages):
    """Overrides the method through which all callbacks go."""

    rules = (Rule(LinkExtractor(allow="/[ab]$"), callback="page"),)

    async def parse_with_rules(self, response: Any, *given: Any, **more: Any) -> AsyncIterator[Any]:
        yield {"before": response.url}
        async for one in super().parse_with_rules(response, *given, **more):
            yield one
        yield {"after": response.url}


def of_the_module(response: Any) -> Any:
    return {"module": response.url}


class Functions(CrawlPages):
    rules = (
        Rule(LinkExtractor(allow="/a$"), callback=of_the_module),
        Rule(LinkExtractor(allow="/b$"), callback=lambda response: [{"lambda": response.url}]),
        Rule(LinkExtractor(allow="/c$")),
    )


class Links(CrawlPages):
    rules = (Rule(process_links="all_but_b", callback="page"), Rule(callback="page"))

    def all_but_b(self, links: list[Any]) -> Iterator[Any]:
        for link in links:
            if not link.url.endswith("/b"):
                link.url += "?seen"
                yield link


class RulesMade(CrawlPages):
    """Makes its rules of an argument, when it has its crawler."""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Any:
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.rules = [Rule(LinkExtractor(allow=f"/{one}$"), "page") for one in spider.pages]
        spider._compile_rules()
        return spider


class Fails(CrawlPages):
    """A callback of a rule fails, and a page that has no errback."""

    start_urls: ClassVar[list[str]] = [f"{SITE}/more"]
    rules = (Rule(LinkExtractor(allow="/(a|missing)$"), callback="page", follow=True),)

    def page(self, response: Any, **given: Any) -> Any:
        raise KeyError(response.url)


class Results(CrawlPages):
    rules = (Rule(LinkExtractor(allow="/[ab]$"), callback="page"),)

    def process_results(self, response: Any, results: Iterable[Any]) -> Iterable[Any]:
        return sorted([*results, {"url": "added"}], key=lambda one: str(one["url"]))


# SitemapSpider


class Sitemaps(SitemapSpider):
    """Begins with robots.txt, and filters."""

    name = "sitemaps"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    sitemap_urls: ClassVar[list[str]] = [f"{SITE}/robots.txt"]  # type: ignore[misc]
    sitemap_rules: ClassVar[list[Any]] = [  # type: ignore[misc]
        (re.compile("/[ab]$"), "page"),
        ("/c", lambda response: {"lambda": response.url}),
        ("", "parse"),
    ]
    sitemap_alternate_links = True

    def sitemap_filter(self, entries: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        for entry in entries:
            if entry.get("lastmod", "2024") >= "2024":
                yield entry

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}

    def parse(self, response: Any) -> Any:
        return {"parse": response.url}


class FollowedSitemaps(Sitemaps):
    sitemap_urls: ClassVar[list[str]] = [f"{SITE}/index.xml"]  # type: ignore[misc]
    sitemap_follow: ClassVar[list[str]] = ["/alternates"]  # type: ignore[misc]
    sitemap_alternate_links = False


# Feeds


class Feed(XMLFeedSpider):
    name = "feed"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/rows.xml"]

    def parse_node(self, response: Any, selector: Any) -> Any:
        yield {"n": selector.xpath("@n").get(), "word": selector.xpath("word/text()").get()}
        if selector.xpath("@n").get() == "2":
            yield response.follow("/a", self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}


class Namespaces(Feed):
    start_urls: ClassVar[list[str]] = [f"{SITE}/listed.xml"]
    namespaces: ClassVar[Any] = [("own", "urn:x")]  # type: ignore[misc]

    def parse_node(self, response: Any, selector: Any) -> Any:
        return {name: selector.xpath(f"{name}").get() for name in ("@own:n", "own:word/text()")}


class NodesInOneGo(Feed):
    def parse_nodes(self, response: Any, nodes: Iterable[Any]) -> Any:
        yield {"count": len([*nodes])}
        yield from super().parse_nodes(response, response.xpath("//item[2]"))


class OldName(XMLFeedSpider):
    """Has the name that ``parse_node`` once had."""

    name = "old"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/rows.xml"]

    def parse_item(self, response: Any, selector: Any) -> Any:
        return {"n": selector.xpath("@n").get()}


class NoSuchIterator(Feed):
    iterator = "sax"


class NoText(Feed):
    iterator = "xml"
    start_urls: ClassVar[list[str]] = [f"{SITE}/binary", f"{SITE}/rows.xml"]


class FailsAtARow(Feed):
    def parse_node(self, response: Any, selector: Any) -> Any:
        return {"n": 10 // (1 - int(selector.xpath("@n").get()))}


class OptionsOfRows(CSVFeedSpider):
    name = "rows"
    custom_settings: ClassVar[dict[str, Any]] = PAGES
    start_urls: ClassVar[list[str]] = [f"{SITE}/options.csv"]
    delimiter, quotechar, headers = ";", "'", ["n", "words"]

    def adapt_response(self, response: Any) -> Any:
        return response.replace(body=response.body + b"2;added\n")

    def parse_row(self, response: Any, row: dict[str, str]) -> Any:
        return row

    def process_results(self, response: Any, results: Iterable[Any]) -> Iterable[Any]:
        for one in results:
            yield {**one, "of": response.url}
            yield Request(f"{SITE}/{'abc'[int(one['n'])]}", self.page)

    def page(self, response: Any) -> Iterator[Any]:
        yield {"page": response.url}


#: A feed spider raises before it makes its generator, and in a worker when that is asked for.
DEPTH = {"errors": "by then the request has its depth"}
FOLLOWS_NOTHING = {"CRAWLSPIDER_FOLLOW_LINKS": False}

CASES = [
    case("crawl_spider_parse_as_a_rule", ParseAsRule, 3, 4),
    case("crawl_spider_async_generator", AsyncGeneratorOfRule, 7, 8, alike=True),
    case("crawl_spider_with_arguments", WithArguments, 3, 3),
    case(
        "crawl_spider_follows_nothing", FollowsNothing, 1, 2, settings=FOLLOWS_NOTHING, alike=True
    ),
    case("crawl_spider_in_its_own_way", OwnWay, 8, 3),
    case("crawl_spider_with_functions", Functions, 2, 4),
    case("crawl_spider_with_changed_links", Links, 5, 6, alike=True),
    case(
        "crawl_spider_with_rules_made",
        RulesMade,
        2,
        3,
        spider_arguments={"pages": "ab"},
        alike=True,
    ),
    case("crawl_spider_fails", Fails, 0, 3, settings={"RETRY_ENABLED": False}, alike=True),
    case("crawl_spider_with_results", Results, 5, 3, alike=True),
    case("sitemap_spider_from_robots", Sitemaps, 5, 9, not_compared=RENDERED_EARLY),
    case("sitemap_spider_follows_some", FollowedSitemaps, 1, 3, alike=True),
    case("feed_spider_generator", Feed, 4, 2, alike=True),
    case("feed_spider_namespaces", Namespaces, 2, 1, alike=True),
    case("feed_spider_nodes_in_one_go", NodesInOneGo, 2, 1, alike=True),
    case("feed_spider_old_name", OldName, 3, 1, alike=True),
    case("feed_spider_no_such_iterator", NoSuchIterator, 0, 1, not_compared=DEPTH, alike=True),
    case("feed_spider_no_text", NoText, 4, 3, not_compared=DEPTH, alike=True),
    case("feed_spider_fails_at_a_row", FailsAtARow, 1, 1),
    case("csv_spider_with_options", OptionsOfRows, 6, 4),
]
