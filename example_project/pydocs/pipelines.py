"""The way of a page: text and keywords (heavy), then comparison and index (in batches)."""

from __future__ import annotations

import logging

from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem
from trafilatura import extract
from trafilatura.deduplication import Simhash
from yake import KeywordExtractor

from pydocs.index import open_index
from pydocs.items import Page
from scrapy_mpworkers import BatchMixin

logger = logging.getLogger(__name__)


class ExtractText:
    """HTML to its main text and the text's fingerprint; drops pages that say nothing."""

    min_chars = 100

    def process_item(self, page: Page) -> Page:
        # The first table is pydoc's heading: name, version and path of the source.
        text = extract(page.html, fast=True, favor_recall=True, prune_xpath="(//table)[1]") or ""
        if len(text) < self.min_chars:
            raise DropItem(f"{page.module} has no documentation")
        page.text = text
        page.fingerprint = Simhash(text).hash
        page.html = ""  # nobody behind this needs it
        return page


class Keywords:
    """The words that set a page apart from others, best first."""

    # The purpose of a module is told at the top; below come methods, much the same in all.
    read_chars = 4_000
    # What pydoc writes on every page.
    boilerplate = frozenset(
        [
            "args",
            "attributes",
            "builtins",
            "class",
            "classes",
            "data",
            "defined",
            "descriptors",
            "dict",
            "errorhandler",
            "false",
            "functions",
            "inherited",
            "initialize",
            "kwargs",
            "method",
            "methods",
            "module",
            "modules",
            "none",
            "object",
            "order",
            "package",
            "contents",
            "readonly",
            "reference",
            "repr",
            "resolution",
            "return",
            "returns",
            "self",
            "signature",
            "static",
            "str",
            "true",
            "type",
            "value",
            "values",
            "weakref",
        ]
    )

    def __init__(self) -> None:
        self.extractor = KeywordExtractor(lan="en", n=2, top=12)
        self.extractor.stopword_set |= self.boilerplate

    def process_item(self, page: Page) -> Page:
        scored = self.extractor.extract_keywords(page.text[: self.read_chars])
        page.keywords = [keyword.lower() for keyword, _ in scored][:6]
        return page


class NearCopies:
    """Notes which pages say nearly the same.

    It remembers every page it saw, so it belongs where all of them come by.
    """

    max_differing_bits = 3  # of 64

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def process_item(self, page: Page) -> Page:
        page.near_copies = [
            module
            for module, fingerprint in self.seen.items()
            if (fingerprint ^ page.fingerprint).bit_count() <= self.max_differing_bits
        ]
        self.seen[page.module] = page.fingerprint
        return page

    def close_spider(self) -> None:
        logger.info("Compared %d pages with each other", len(self.seen))


class SearchIndex(BatchMixin):
    """Writes the full-text index: a commit for each batch."""

    def __init__(self, where: str, crawl: float) -> None:
        self.where = where
        self.crawl = crawl

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SearchIndex:
        return cls(crawler.settings["STORE_DSN"], crawler.settings["CRAWL_STARTED"])

    def open_spider(self) -> None:
        self.index = open_index(self.where)

    def process_batch(self, pages: list[Page]) -> list[Page]:
        self.index.save(pages, self.crawl)
        return pages

    def close_spider(self) -> None:
        self.index.finish(self.crawl)
        self.index.close()
        logger.info("The index is at %s", self.where)
