"""Pipelines that remember, hold items back, or write a file."""

from __future__ import annotations

import csv
import itertools
import json
import sqlite3
import time
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from itemadapter import ItemAdapter
from scrapy import signals
from scrapy.exceptions import CloseSpider, DropItem
from scrapy.exporters import CsvItemExporter, JsonLinesItemExporter

if TYPE_CHECKING:
    import openpyxl
    import pandas as pd
    import xlsxwriter
    from pybloom_live import ScalableBloomFilter

SEEN_URLS: set[str] = set()
total = 0


class DuplicatesBySet:
    def __init__(self):
        self.ids_seen = set()

    def process_item(self, item, spider):
        adapter = ItemAdapter(item)
        if adapter["id"] in self.ids_seen:
            raise DropItem(f"Item ID already seen: {adapter['id']}")
        self.ids_seen.add(adapter["id"])
        return item


class DuplicatesByAnotherName:
    def __init__(self):
        self.urls = set()

    def process_item(self, item, spider):
        urls = self.urls
        if item["url"] in urls:
            raise DropItem("seen")
        urls.add(item["url"])
        return item


class DuplicatesByClassAttribute:
    fingerprints: ClassVar[set[str]] = set()

    @classmethod
    def is_new(cls, fingerprint):
        if fingerprint in cls.fingerprints:
            return False
        cls.fingerprints.add(fingerprint)
        return True

    def process_item(self, item, spider):
        if not self.is_new(hash(item["url"])):
            raise DropItem("seen")
        return item


class DuplicatesByDict:
    def open_spider(self, spider):
        self.seen = {}

    def process_item(self, item, spider):
        key = (item["name"], item["date"])
        if key in self.seen:
            raise DropItem("seen")
        self.seen[key] = True
        return item


class DuplicatesByGlobal:
    def process_item(self, item, spider):
        if item["url"] in SEEN_URLS:
            raise DropItem("seen")
        SEEN_URLS.add(item["url"])
        return item


class DuplicatesByLength:
    def __init__(self):
        self.titles = set()

    def process_item(self, item, spider):
        before = len(self.titles)
        self.titles.add(item["title"].lower())
        if len(self.titles) == before:
            raise DropItem("seen")
        return item


class DuplicatesByBloomFilter:
    def open_spider(self, spider):
        self.filter = ScalableBloomFilter()

    def process_item(self, item, spider):
        if item["url"] in self.filter:
            raise DropItem("seen")
        self.filter.add(item["url"])
        return item


class DuplicatesFromArgument:
    def __init__(self, seen=None):
        self.seen = seen or set()

    def process_item(self, item, spider):
        if item["url"] in self.seen:
            raise DropItem("seen")
        self.seen.add(item["url"])
        return item


class Recent:
    def __init__(self):
        self.last = deque(maxlen=100)

    def process_item(self, item, spider):
        item["is_new"] = item["url"] not in self.last
        self.last.append(item["url"])
        return item


class LimitPerSite:
    def __init__(self):
        self.per_site = defaultdict(int)

    def process_item(self, item, spider):
        self.per_site[item["site"]] += 1
        if self.per_site[item["site"]] > 100:
            raise DropItem("enough of it")
        return item


class GlobalCount:
    def process_item(self, item, spider):
        global total
        total += 1
        item["number"] = total
        return item


class CountsOnSelf:
    def open_spider(self, spider):
        self.count = 0

    def process_item(self, item, spider):
        self.count += 1
        return item

    def close_spider(self, spider):
        spider.logger.info("%d items", self.count)


class StopsAfterMany:
    def __init__(self):
        self.n = 0

    def process_item(self, item, spider):
        self.n = self.n + 1
        if self.n > 1000:
            raise CloseSpider("enough")
        return item


class RunningAverage:
    def __init__(self):
        self.total, self.n = 0, 0

    def process_item(self, item, spider):
        self.total += item["price"]
        self.n += 1
        item["above_average"] = item["price"] > self.total / self.n
        return item


class PriceChange:
    def __init__(self):
        self.prices = {}

    def process_item(self, item, spider):
        before = self.prices.get(item["id"])
        if before is not None:
            item["change"] = item["price"] - before
        self.prices[item["id"]] = item["price"]
        return item


class FirstSeen:
    def __init__(self):
        self.first = {}

    def process_item(self, item, spider):
        if item["id"] not in self.first:
            self.first[item["id"]] = time.time()
        item["first_seen"] = self.first[item["id"]]
        return item


class NumbersCategories:
    """Each process would number them in an order of its own."""

    def __init__(self):
        self.numbers = OrderedDict()

    def process_item(self, item, spider):
        if item["category"] not in self.numbers:
            self.numbers[item["category"]] = len(self.numbers)
        item["category_id"] = self.numbers[item["category"]]
        return item


class SerialNumbers:
    def __init__(self):
        self.ids = itertools.count(1)

    def process_item(self, item, spider):
        item["id"] = next(self.ids)
        return item


class ComparesWithLast:
    last = None

    def process_item(self, item, spider):
        if item["title"] == self.last:
            raise DropItem("the same again")
        self.last = item["title"]
        return item


class RateLimit:
    def __init__(self):
        self.last_call = 0.0

    def process_item(self, item, spider):
        pause = self.last_call + 1 - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        self.last_call = time.monotonic()
        return item


class _DuplicatesBase:
    def is_duplicate(self, key):
        if key in self.known:
            return True
        self.known.add(key)
        return False


class DuplicatesByBase(_DuplicatesBase):
    def __init__(self):
        self.known = set()

    def process_item(self, item, spider):
        if self.is_duplicate(item["url"]):
            raise DropItem("seen")
        return item


class BatchOfHundred:
    def __init__(self, connection):
        self.connection = connection
        self.rows = []

    def process_item(self, item, spider):
        self.rows.append(tuple(item.values()))
        if len(self.rows) >= 100:
            self.flush()
        return item

    def flush(self):
        self.connection.executemany("INSERT INTO items VALUES (?, ?)", self.rows)
        self.rows = []

    def close_spider(self, spider):
        if self.rows:
            self.flush()


class BatchThatIsNeverClosed:
    def __init__(self):
        self.rows = []

    def process_item(self, item, spider):
        self.rows.append(dict(item))
        if len(self.rows) >= 100:
            print(json.dumps(self.rows))
            self.rows.clear()
        return item


class DumpsAtTheEnd:
    def open_spider(self, spider):
        self.items = []

    def process_item(self, item, spider):
        self.items.append(ItemAdapter(item).asdict())
        return item

    def close_spider(self, spider):
        with open("items.json", "w") as file:
            json.dump(self.items, file)


class GroupsAtTheEnd:
    def __init__(self):
        self.groups = {}

    def process_item(self, item, spider):
        self.groups.setdefault(item["site"], []).append(item["url"])
        return item

    def close_spider(self, spider):
        for site, urls in self.groups.items():
            print(site, len(urls))


class CountsWords:
    def __init__(self):
        self.words = Counter()

    def process_item(self, item, spider):
        self.words.update(item["text"].split())
        return item

    def close_spider(self, spider):
        print(self.words.most_common(10))


class EndsByASignal:
    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        pipeline.rows = []
        crawler.signals.connect(pipeline.spider_closed, signals.spider_closed)
        return pipeline

    def process_item(self, item, spider):
        self.rows += [dict(item)]
        return item

    def spider_closed(self, spider):
        print(json.dumps(self.rows))


class CountsOnTheSpider:
    def process_item(self, item, spider):
        if spider.total >= spider.limit:
            raise DropItem("enough")
        spider.total = spider.total + 1
        return item


class SeenOnTheSpider:
    def process_item(self, item, spider):
        if item["url"] in spider.seen:
            raise DropItem("seen")
        spider.seen.add(item["url"])
        return item


class NumbersOfIts:
    def __init__(self):
        self.next_id = 18000

    def process_item(self, item, spider):
        item["id"] = self.next_id
        self.next_id += 1
        return item


class CommitsAtTheEnd:
    def open_spider(self, spider):
        self.connection = sqlite3.connect("items.db")
        self.cursor = self.connection.cursor()

    def process_item(self, item, spider):
        self.cursor.execute("INSERT INTO items VALUES (?)", (item["url"],))
        return item

    def close_spider(self, spider):
        self.connection.commit()
        self.connection.close()


class FileForEachShop:
    def open_spider(self, spider):
        self.files = {}

    def process_item(self, item, spider):
        if item["shop"] not in self.files:
            self.files[item["shop"]] = open(f"shop-{item['shop']}.jl", "a")
        self.files[item["shop"]].write(json.dumps(dict(item)) + "\n")
        return item

    def close_spider(self, spider):
        for name in self.files:
            self.files[name].close()


class FillsWhatItNeverMakes:
    def process_item(self, item, spider):
        self.count(item)
        return item

    def count(self, item):
        self.by_site[item["site"]] = item

    def close_spider(self, spider):
        for site in self.by_site:
            print(site)


class Inherits(DumpsAtTheEnd):
    def process_item(self, item, spider):
        item["more"] = True
        return super().process_item(item, spider)


class AsyncBatch:
    def __init__(self):
        self.batch = []

    async def process_item(self, item):
        self.batch += [item]
        if len(self.batch) >= 10:
            await self.flush()
        return item

    async def flush(self):
        print(self.batch)
        self.batch.clear()

    async def close_spider(self):
        await self.flush()


class RemembersAndWrites:
    """What it has seen is of no use to its closing."""

    def __init__(self):
        self.seen = set()

    def open_spider(self, spider):
        self.file = open("new.txt", "w")

    def process_item(self, item, spider):
        if item["n"] not in self.seen:
            self.seen.add(item["n"])
            self.file.write(str(item))
        return item

    def close_spider(self, spider):
        self.seen.clear()
        self.file.close()


class Excel:
    def __init__(self):
        self.wb = openpyxl.Workbook()
        self.ws = self.wb.active
        self.ws.append(["title", "price"])

    def process_item(self, item, spider):
        self.ws.append([item["title"], item["price"]])
        return item

    def close_spider(self, spider):
        self.wb.save("items.xlsx")


class ExcelByRow:
    def open_spider(self, spider):
        self.book = xlsxwriter.Workbook("items.xlsx")
        self.sheet = self.book.add_worksheet()
        self.row = 0

    def process_item(self, item, spider):
        self.sheet.write(self.row, 0, item["title"])
        self.row += 1
        return item

    def close_spider(self, spider):
        self.book.close()


class Frame:
    def __init__(self):
        self.df = pd.DataFrame()

    def process_item(self, item, spider):
        self.df = pd.concat([self.df, pd.DataFrame([dict(item)])])
        return item

    def close_spider(self, spider):
        self.df.to_csv("items.csv")


class FrameByRow:
    def __init__(self):
        self.df = pd.DataFrame(columns=["title"])

    def process_item(self, item, spider):
        self.df.loc[len(self.df)] = [item["title"]]
        return item

    def close_spider(self, spider):
        self.df.to_parquet("items.parquet")


class JsonWriter:
    def open_spider(self, spider):
        self.file = open("items.jsonl", "w", encoding="utf-8")

    def close_spider(self, spider):
        self.file.close()

    def process_item(self, item, spider):
        self.file.write(json.dumps(ItemAdapter(item).asdict()) + "\n")
        return item


class CsvWriter:
    def __init__(self):
        self.file = open("items.csv", "a", newline="")
        self.writer = csv.writer(self.file)

    def process_item(self, item, spider):
        self.writer.writerow([item["title"], item["price"]])
        return item

    def close_spider(self, spider):
        self.file.close()


class CsvByLocal:
    def open_spider(self, spider):
        file = open(f"{spider.name}.csv", "w")
        self.writer = csv.DictWriter(file, ["title"])
        self.writer.writeheader()

    def process_item(self, item, spider):
        self.writer.writerow(dict(item))
        return item


class JsonLinesExporter:
    def __init__(self, path):
        self.path = Path(path)

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings.get("EXPORT_PATH"))

    def open_spider(self, spider):
        self.file = self.path.open("wb")
        self.exporter = JsonLinesItemExporter(self.file)
        self.exporter.start_exporting()

    def process_item(self, item, spider):
        self.exporter.export_item(item)
        return item

    def close_spider(self, spider):
        self.exporter.finish_exporting()
        self.file.close()


class ExportsEachYear:
    def open_spider(self, spider):
        self.exporters = {}

    def _exporter(self, item):
        year = item["year"]
        if year not in self.exporters:
            file = open(f"{year}.csv", "wb")
            exporter = CsvItemExporter(file)
            exporter.start_exporting()
            self.exporters[year] = (exporter, file)
        return self.exporters[year][0]

    def process_item(self, item, spider):
        self._exporter(item).export_item(item)
        return item

    def close_spider(self, spider):
        for exporter, file in self.exporters.values():
            exporter.finish_exporting()
            file.close()


class AppendsEachTime:
    def process_item(self, item, spider):
        with open("items.txt", "a") as file:
            file.write(item["title"] + "\n")
        return item


class EmptiesAtOpen:
    def open_spider(self, spider):
        with open("urls.txt", "w") as file:
            file.write("url\n")

    def process_item(self, item, spider):
        return item


def unique(item, seen=set()):
    if item["url"] in seen:
        raise DropItem("seen")
    seen.add(item["url"])
    return item


def unique_by_name(item, *, seen=set()):
    if item["url"] in seen:
        raise DropItem("seen")
    seen.add(item["url"])
    return item
