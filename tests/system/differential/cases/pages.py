"""A site without a network: a downloader middleware has its pages."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.responsetypes import responsetypes

SITE = "http://site.test"


class Page(NamedTuple):
    body: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = {}


def html(title: str, *paths: str) -> Page:
    links = "".join(f'<a href="{path}">to {path}</a>' for path in paths)
    return Page(f"<html><title>{title}</title><p>“{title}”</p>{links}</html>".encode())


def xml(body: str) -> Page:
    return Page(f'<?xml version="1.0"?>{body}'.encode(), "application/xml")


ROWS = "".join(f"<item n='{n}'><word>word {n}</word></item>" for n in range(3))
SITEMAP = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
LISTED = "<x:rows xmlns:x='urn:x'><item x:n='1'><x:word>ant</x:word></item><item/></x:rows>"
INDEX = (
    '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    f"<sitemap><loc>{SITE}/sitemap.xml</loc><lastmod>2024-01-01</lastmod></sitemap>"
    f"<sitemap><loc>{SITE}/old.xml</loc><lastmod>2004-01-01</lastmod></sitemap>"
    f"<sitemap><loc>{SITE}/alternates.xml.gz</loc><lastmod>2024-01-01</lastmod></sitemap>"
    "</sitemapindex>"
)
ALTERNATES = SITEMAP.format(
    f"<url><loc>{SITE}/d</loc><lastmod>2024-02-01</lastmod>"
    "<xhtml:link xmlns:xhtml='http://www.w3.org/1999/xhtml' rel='alternate' "
    f"href='{SITE}/e'/></url>"
)
FORM = (
    b'<form action="/found" method="post"><input name="q" value="ant">'
    b'<input type="hidden" name="token" value="t1"><input type="submit" name="go" value="1"></form>'
)

PAGES: dict[str, Page | Exception] = {
    "/": html("home", "/a", "/b", "/c"),
    **{f"/{name}": html(name) for name in "abcde"},
    "/more": html("more", "/a", "/moved", "/busy", "/missing"),
    "/login": Page(FORM),
    "/found": html("found"),
    "/missing": Page(b"<title>none here</title>", status=404),
    "/forbidden": Page(b"<title>not you</title>", status=403),
    "/busy": Page(b"<title>busy</title>", status=503),
    "/moved": Page(b"", status=301, headers={"Location": f"{SITE}/d"}),
    "/gone": OSError("the line is cut"),
    "/json": Page(b'{"words": ["ant", "bee"]}', "application/json"),
    "/binary": Page(bytes(range(256)), "application/octet-stream"),
    "/zipped": Page(gzip.compress(b"<title>zipped</title>"), headers={"Content-Encoding": "gzip"}),
    "/file.gz": Page(gzip.compress(b"in a file"), "application/gzip"),
    "/shift_jis": Page("<title>日本語のページ</title><p>漢字</p>".encode("shift_jis"), "text/html"),
    "/latin": Page("<title>café</title>".encode("latin-1"), "text/html"),
    "/plain": Page("naïve text".encode("latin-1"), "text/plain; charset=latin-1"),
    "/rows.xml": xml(f"<rows>{ROWS}</rows>"),
    "/rows.csv": Page(b"n,word\n0,ant\n1,bee\n2,cat\n", "text/csv"),
    "/listed.xml": xml(LISTED),
    "/options.csv": Page(b"0;'ant; bee'\n1;cat\n", "text/csv"),
    "/robots.txt": Page(f"Sitemap: {SITE}/index.xml\nSitemap: /binary\n".encode(), "text/plain"),
    "/index.xml": xml(INDEX),
    "/alternates.xml.gz": Page(gzip.compress(ALTERNATES.encode()), "application/gzip"),
    "/sitemap.xml": xml(
        SITEMAP.format("".join(f"<url><loc>{SITE}/{name}</loc></url>" for name in "abc"))
    ),
}


class Pages:
    """Gives the pages, next to where Scrapy would download them."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Pages:
        return cls(crawler)

    def process_request(self, request: Request) -> Response:
        page = PAGES[urlsplit(request.url).path or "/"]
        if isinstance(page, Exception):
            raise type(page)(*page.args)
        headers = {"Content-Type": page.kind, **page.headers}
        found = responsetypes.from_content_type(page.kind.encode())
        return found(request.url, status=page.status, headers=headers, body=page.body)


class SiteSpider(Spider):
    """Begins with the first page; its callbacks run in workers."""

    name = "site"
    custom_settings: ClassVar[dict[str, Any]] = {"DOWNLOADER_MIDDLEWARES": {Pages: 1000}}  # type: ignore[misc]

    async def start(self) -> AsyncIterator[Any]:
        yield Request(f"{SITE}/", meta={"note": [1]}, errback=self.failed)

    def parse(self, response: Any) -> Any:
        yield {"title": response.css("title::text").get(), "url": response.url}

    def page(self, response: Any) -> Iterator[Any]:
        """The second callback of most cases."""
        yield {"title": response.css("title::text").get(), "url": response.url}

    def failed(self, failure: Any) -> Iterator[Any]:
        yield {"failed": type(failure.value).__name__, "url": failure.request.url}
