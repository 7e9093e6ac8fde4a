"""Pipelines that fill what only the script behind the crawl reads, and their innocent likes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import ClassVar

from scrapy.exceptions import DropItem

from . import helpers
from .helpers import ROWS, Collected

rows: list[dict] = []
by_shop = defaultdict(list)
words: Counter[str] = Counter()
found = 0
offers: list[dict] = []
known: set[str] = set()


class IntoAClassAttribute:
    verdict = {"lost": ("self.results",)}
    results: ClassVar[dict] = {}

    def process_item(self, item):
        self.results[item["id"]] = dict(item)
        return item


class IntoAClassAttributeByItsName:
    verdict = {"lost": ("self.results",)}
    results: ClassVar[list] = []

    def process_item(self, item):
        IntoAClassAttributeByItsName.results.append(item)
        return item


class CountsInItsClass:
    verdict = {"lost": ("self.total",)}
    total = 0

    def process_item(self, item):
        type(self).total += 1
        return item


class ExtendsItsClass:
    verdict = {"lost": ("self.results",)}
    results: ClassVar[list] = []

    def process_item(self, item):
        self.results += [item]
        return item


class InheritsResults(IntoAClassAttribute):
    verdict = {"lost": ("self.results",)}

    def process_item(self, item):
        return super().process_item(item)


class IntoAGlobal:
    verdict = {"lost": ("rows",)}

    def process_item(self, item):
        rows.append(dict(item))
        return item


class IntoADefaultdict:
    verdict = {"lost": ("by_shop",)}

    def process_item(self, item, spider):
        by_shop[item["shop"]].append(item)
        return item


class IntoACounter:
    verdict = {"lost": ("words",)}

    def process_item(self, item, spider):
        words.update(item["text"].split())
        return item


class CountsInAGlobal:
    verdict = {"lost": ("found",)}

    def process_item(self, item):
        global found
        found += 1
        return item


class IntoAnotherModule:
    verdict = {"lost": ("helpers.ROWS",)}

    def process_item(self, item):
        helpers.ROWS.append(item)
        return item


class IntoAnImportedList:
    verdict = {"lost": ("ROWS",)}

    def process_item(self, item):
        ROWS.append(item)
        return item


class IntoAnotherClass:
    verdict = {"lost": ("Collected.rows",)}

    def process_item(self, item):
        Collected.rows.append(item)
        return item


class Results:
    items: ClassVar[list] = []
    count = 0


class IntoAClassBeside:
    verdict = {"lost": ("Results.count", "Results.items")}

    def process_item(self, item):
        Results.items.append(item)
        Results.count += 1
        return item


class OntoTheSpider:
    verdict = {"lost": ("spider.collected",)}

    def process_item(self, item, spider):
        spider.collected.append(item)
        return item


class IntoAGlobalThatAnotherNamesALocal:
    """``offers`` is a local of its neighbour, which reads nothing."""

    verdict = {"lost": ("offers",)}

    def process_item(self, item):
        offers.append(item)
        return item


class HasALocalOfThatName:
    verdict: ClassVar[dict] = {}

    def process_item(self, item):
        item["offers"] = [offers for offers in item["shops"] if offers]
        return item


class ByAMethodOfItsOwn:
    verdict = {"lost": ("self.results",)}
    results: ClassVar[dict] = {}

    def keep(self, row):
        self.results.setdefault(row["shop"], []).append(row)

    def process_item(self, item):
        self.keep(dict(item))
        return item


class ForgetsByImportedSet:
    """A memory of items, wherever it lies."""

    verdict = {"state": ("helpers.KNOWN",)}

    def process_item(self, item):
        if item["url"] in helpers.KNOWN:
            raise DropItem("seen")
        helpers.KNOWN.add(item["url"])
        return item


class FillsWhatAHelperLooksUp:
    verdict = {"state": ("helpers.KNOWN",)}

    def process_item(self, item):
        if helpers.has(item["url"]):
            raise DropItem("seen")
        helpers.KNOWN.add(item["url"])
        return item


class RemembersByAMemberOfAModule:
    verdict = {"state": ("KNOWN",)}

    def process_item(self, item):
        if helpers.is_known(item["url"]):
            raise DropItem("seen")
        return item


class FillsForTheNext:
    """The next pipeline reads it: together they remember."""

    verdict: ClassVar[dict] = {}

    def process_item(self, item):
        known.add(item["url"])
        return item


class ReadsFromTheLast:
    verdict: ClassVar[dict] = {}

    def process_item(self, item):
        if item["parent"] not in known:
            raise DropItem("no parent")
        return item


class OfItsOwnObject:
    """Nobody has the object after the crawl."""

    verdict: ClassVar[dict] = {}

    def __init__(self):
        self.results = []

    def process_item(self, item):
        self.results.append(item["id"])
        return item


class CountsOnItself:
    """``self.n += 1`` leaves the class as it is."""

    verdict: ClassVar[dict] = {}
    n = 0

    def process_item(self, item):
        self.n += 1
        return item


@dataclass
class OfADataclass:
    verdict = {}  # noqa: RUF012
    rows: list = field(default_factory=list)

    def process_item(self, item):
        self.rows.append(item["id"])
        return item


class FillsALocal:
    verdict: ClassVar[dict] = {}

    def process_item(self, item):
        rows = []
        rows.append(item["id"])
        item["rows"] = rows
        return item


class FillsAParameter:
    verdict: ClassVar[dict] = {}

    def _fill(self, rows, item):
        rows.append(item["id"])
        return rows

    def process_item(self, item):
        item["rows"] = self._fill([], item)
        return item


class SortsByALambda:
    verdict: ClassVar[dict] = {}

    def process_item(self, item):
        item["rows"] = sorted(item["rows"], key=lambda rows: rows.append(1) or rows[0])
        return item


class TellsTheStats:
    verdict: ClassVar[dict] = {}

    def __init__(self, crawler):
        self.stats = crawler.stats

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        self.stats.inc_value("found")
        return item
