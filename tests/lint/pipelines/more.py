"""More of both kinds, in styles that are easily taken for each other."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import logging
import os
import pickle
import re
import smtplib
import sqlite3
import subprocess
import threading
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from itemadapter import ItemAdapter, is_item
from scrapy import signals
from scrapy.exceptions import DropItem
from scrapy.exporters import CsvItemExporter, JsonItemExporter

from .helpers import Buffer, Client, Deduplicator, Slugger, clean, is_known

if TYPE_CHECKING:
    import aiohttp
    import diskcache
    import httpx
    import mysql.connector
    import nltk
    import numpy as np
    import pandas as pd
    import requests
    import tldextract
    from azure.storage.blob import BlobServiceClient
    from google.cloud import bigquery
    from pymongo import MongoClient, UpdateOne
    from redis import Redis
    from simhash import Simhash, SimhashIndex
    from sklearn.feature_extraction.text import TfidfVectorizer

log = logging.getLogger(__name__)
CATEGORIES: dict[str, str] = {}
MODEL = None


class Stateless:
    verdict = {}


class DefaultValues(Stateless):
    defaults = {"currency": "EUR", "stock": 0}

    def process_item(self, item, spider):
        for name, value in self.defaults.items():
            item.setdefault(name, value)
        return item


class UpdatesItem(Stateless):
    extra = {"source": "web"}

    def process_item(self, item, spider):
        item.update(self.extra)
        data = dict(self.extra)
        data.update(item)
        data["when"] = datetime.now(timezone.utc)
        item["data"] = data
        return item


class RunsAProgram(Stateless):
    def process_item(self, item, spider):
        done = subprocess.run(["pdftotext", "-", "-"], input=item["body"], capture_output=True)
        item["text"] = done.stdout.decode()
        return item


class TemporaryFile(Stateless):
    def process_item(self, item, spider):
        path = Path("/tmp") / f"{item['id']}-{os.getpid()}.pdf"
        path.write_bytes(item["body"])
        with open(path, "rb") as file:
            item["size"] = len(file.read())
        path.unlink()
        return item


class LazyProperty(Stateless):
    @cached_property
    def tagger(self):
        return nltk.PerceptronTagger()

    def process_item(self, item, spider):
        item["tags"] = self.tagger.tag(item["text"].split())
        return item


class LazyByUnderscore(Stateless):
    _stopwords = None

    @property
    def stopwords(self):
        if self._stopwords is None:
            self._stopwords = set(nltk.corpus.stopwords.words("english"))
        return self._stopwords

    def process_item(self, item, spider):
        item["words"] = [w for w in item["text"].split() if w not in self.stopwords]
        return item


class Vectors(Stateless):
    def open_spider(self, spider):
        with open("vectorizer.pkl", "rb") as file:
            self.vectorizer = pickle.load(file)
        self.names = np.array(self.vectorizer.get_feature_names_out())

    def process_item(self, item, spider):
        weights = self.vectorizer.transform([item["text"]]).toarray()[0]
        best = weights.argsort()[-10:]
        item["keywords"] = self.names[best].tolist()
        return item


class Tfidf(Stateless):
    """Fits for each item alone."""

    def process_item(self, item, spider):
        self.vectorizer = TfidfVectorizer()
        matrix = self.vectorizer.fit_transform(item["paragraphs"])
        item["scores"] = matrix.sum(axis=1).tolist()
        return item


class Table(Stateless):
    def process_item(self, item, spider):
        df = pd.DataFrame(item["rows"])
        df["price"] = df["price"].astype(float)
        item["mean"] = df["price"].mean()
        return item


class LockAndLogger(Stateless):
    def __init__(self):
        self.lock = threading.Lock()
        self.logger = logging.getLogger("x")

    def process_item(self, item, spider):
        with self.lock:
            self.logger.debug("one")
        return item


class Domain(Stateless):
    def __init__(self):
        self.extract = tldextract.TLDExtract(cache_dir=False)

    def process_item(self, item, spider):
        item["domain"] = self.extract(item["url"]).registered_domain
        return item


class SettingsDriven(Stateless):
    def __init__(self, settings):
        self.settings = settings
        self.fields = settings.getlist("CLEAN_FIELDS")
        self.pattern = re.compile(settings["PATTERN"])

    @classmethod
    def from_settings(cls, settings):
        return cls(settings)

    def process_item(self, item, spider):
        for name in self.fields:
            item[name] = self.pattern.sub("", item[name])
        if self.settings.getbool("UPPER"):
            item["title"] = item["title"].upper()
        return item


class SkipsOtherSpiders(Stateless):
    def process_item(self, item, spider):
        if spider.name not in getattr(self, "spiders", []):
            return item
        item["checked"] = True
        return item


class WalksNested(Stateless):
    def process_item(self, item, spider):
        return self.walk(item)

    def walk(self, value):
        if is_item(value):
            adapter = ItemAdapter(value)
            for name in adapter:
                adapter[name] = self.walk(adapter[name])
            return value
        if isinstance(value, list):
            return [self.walk(one) for one in value]
        return value.strip() if isinstance(value, str) else value


class CountsDropsInStats(Stateless):
    def open_spider(self, spider):
        self.stats = spider.crawler.stats

    def process_item(self, item, spider):
        if not item["title"]:
            self.stats.inc_value("no_title")
            raise DropItem("no title")
        self.stats.set_value("last", item["title"])
        return item


class ReplacesManyTimes(Stateless):
    def process_item(self, item, spider):
        text, other = item["text"], item["other"]
        text = text.replace("a", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("b", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("c", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("d", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("e", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("f", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("g", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("h", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("i", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("j", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("k", other)
        other = other.strip(text) + text.strip(other)
        text = text.replace("l", other)
        other = other.strip(text) + text.strip(other)
        item["text"] = text
        return item


class CollectionPerSpider(Stateless):
    verdict = {"cache": ("self.collections",)}

    def open_spider(self, spider):
        self.db = make_database()
        self.collections = {}

    def process_item(self, item, spider):
        if spider.name not in self.collections:
            self.collections[spider.name] = self.db[spider.name]
        self.collections[spider.name].save(item)
        return item


class ConnectionPerSite(Stateless):
    verdict = {"cache": ("self.connections",)}

    def __init__(self):
        self.connections = {}

    def connection(self, site):
        if site not in self.connections:
            self.connections[site] = sqlite3.connect(f"{site}.db")
        return self.connections[site]

    def process_item(self, item, spider):
        with self.connection(item["site"]) as connection:
            connection.execute("REPLACE INTO items VALUES (?)", (item["url"],))
        return item

    def close_spider(self, spider):
        for connection in self.connections.values():
            connection.close()


class StatementByType(Stateless):
    def open_spider(self, spider):
        self.connection = sqlite3.connect("shop.db")

    def process_item(self, item, spider):
        if item["type"] == "book":
            self.sql = f"INSERT INTO {item['table']} VALUES (?)"
            self.values = (item["isbn"],)
        elif item["type"] == "film":
            self.sql = f"INSERT INTO {item['table']} VALUES (?, ?)"
            self.values = (item["title"], item["minutes"])
        else:
            raise DropItem("of no type")
        self.connection.execute(self.sql, self.values)
        return item


class NestedWork(Stateless):
    def process_item(self, item, spider):
        for page in item["pages"]:
            self.page = page
            with log_errors():
                self.words = self.page.split()
            item["count"] += len(self.words)
        return item


class ClientForEachItem(Stateless):
    def process_item(self, item, spider):
        self.cursor = sqlite3.connect("items.db").cursor()
        try:
            self.save(item)
        finally:
            self.cursor.close()
        return item

    def save(self, item):
        self.cursor.execute("INSERT INTO items VALUES (?)", (item["url"],))


class CleansThenStores(Stateless):
    rules = [("title", str.strip), ("price", float)]

    def process_item(self, item, spider):
        self.adapter = ItemAdapter(item)
        for name, rule in self.rules:
            self.apply(name, rule)
        return self.adapter.item

    def apply(self, name, rule):
        if self.adapter.get(name):
            self.adapter[name] = rule(self.adapter[name])


class FitsOnce(Stateless):
    def open_spider(self, spider):
        rows = json.loads(Path("train.json").read_text())
        self.vectorizer = TfidfVectorizer().fit(rows)
        self.vocabulary = set()
        self.vocabulary.update(self.vectorizer.vocabulary_)

    def process_item(self, item, spider):
        item["known"] = [w for w in item["text"].split() if w in self.vocabulary]
        return item


class LazyByOr(Stateless):
    limit = None

    def process_item(self, item, spider):
        self.limit = self.limit or spider.settings.getint("LIMIT")
        item["text"] = item["text"][: self.limit]
        return item


class LazyGlobal(Stateless):
    def process_item(self, item, spider):
        global MODEL
        if MODEL is None:
            MODEL = nltk.PerceptronTagger()
        item["tags"] = MODEL.tag(item["text"].split())
        return item


class SeenOnDisk(Stateless):
    """All workers share it."""

    def open_spider(self, spider):
        self.seen = diskcache.Cache("seen")

    def process_item(self, item, spider):
        if item["url"] in self.seen:
            raise DropItem("seen")
        self.seen[item["url"]] = True
        return item


class CurrentItem(Stateless):
    current = None

    def process_item(self, item, spider):
        try:
            self.current = item["url"]
            self.work(item)
        finally:
            self.current = None
        return item

    def work(self, item):
        if len(item["text"]) > 1000:
            log.info("%s is long", self.current)


class ThreadsForEachItem(Stateless):
    def open_spider(self, spider):
        self.pool = ThreadPoolExecutor(4)

    def process_item(self, item, spider):
        item["sizes"] = list(self.pool.map(len, item["parts"]))
        return item

    def close_spider(self, spider):
        self.pool.shutdown()


class CleansByAFunction(Stateless):
    def process_item(self, item, spider):
        item["text"] = clean(item["text"])
        return item


class SendsByAHelper(Stateless):
    def __init__(self):
        self.client = Client()

    def process_item(self, item, spider):
        self.client.send(dict(item))
        return item


class SlugsByAHelper(Stateless):
    verdict = {"cache": ("self.slugger.slugs",)}

    def __init__(self):
        self.slugger = Slugger()

    def process_item(self, item, spider):
        item["slug"] = self.slugger.slug(item["title"])
        return item


class Stateful:
    pass


class FuturesUntilTheEnd(Stateful):
    verdict = {"buffer": ("self.futures",)}

    def open_spider(self, spider):
        self.pool = ThreadPoolExecutor(4)
        self.futures = []

    def process_item(self, item, spider):
        self.futures.append(self.pool.submit(print, item))
        return item

    def close_spider(self, spider):
        for future in self.futures:
            future.result()


class LastOfItsKind(Stateful):
    """Only some items set what all read."""

    verdict = {"state": ("self.section",)}

    section = None

    def process_item(self, item, spider):
        if item["type"] == "heading":
            self.section = item["title"]
        item["section"] = self.section
        return item


class SwitchesFiles(Stateful):
    verdict = {"file": ("self.file",), "state": ("self.day",)}

    day = None

    def process_item(self, item, spider):
        if item["day"] != self.day:
            self.day = item["day"]
            self.file = open(f"{self.day}.jl", "w")
        self.file.write(json.dumps(dict(item)))
        return item


class ReturnsWhatItKept(Stateful):
    """Looks like a cache, and is a memory of items."""

    verdict = {"state": ("self.cache",)}

    def __init__(self):
        self.cache = {}

    def process_item(self, item, spider):
        if item["ean"] in self.cache:
            item = self.cache[item["ean"]]
        self.cache[item["ean"]] = item
        return item


class HeaderOfAllFields(Stateful):
    verdict = {"buffer": ("self.fields", "self.rows")}

    def __init__(self):
        self.fields, self.rows = set(), []

    def process_item(self, item, spider):
        self.fields.update(item.keys())
        self.rows.append(dict(item))
        return item

    def close_spider(self, spider):
        with open("all.csv", "w") as file:
            writer = csv.DictWriter(file, sorted(self.fields))
            writer.writeheader()
            writer.writerows(self.rows)


class InSpiderState(Stateful):
    verdict = {"state": ("spider.state",)}

    def process_item(self, item, spider):
        spider.state["count"] = spider.state.get("count", 0) + 1
        return item


class KeepsTheLastThousand(Stateful):
    verdict = {"state": ("self.recent",)}

    def __init__(self):
        self.recent = []

    def process_item(self, item, spider):
        item["is_new"] = item["url"] not in self.recent
        self.recent = [*self.recent[-999:], item["url"]]
        return item


class OutlierByMean(Stateful):
    verdict = {"state": ("self.prices",)}

    def __init__(self):
        self.prices = []

    def process_item(self, item, spider):
        self.prices.append(item["price"])
        mean = sum(self.prices) / len(self.prices)
        item["outlier"] = abs(item["price"] - mean) > 3 * mean
        return item


class LogsAtTheEnd(Stateful):
    verdict = {"state": ("self.missing",)}

    missing = 0

    def process_item(self, item, spider):
        if not item.get("price"):
            self.missing += 1
        return item

    def spider_closed(self, spider, reason):
        log.info("%d without a price", self.missing)


class DuplicatesByAFunction(Stateful):
    verdict = {"state": ("KNOWN",)}

    def process_item(self, item, spider):
        if is_known(item["url"]):
            raise DropItem("seen")
        return item


class DuplicatesByAHelper(Stateful):
    verdict = {"state": ("self.dedup.seen",)}

    def open_spider(self, spider):
        self.dedup = Deduplicator()

    def process_item(self, item, spider):
        if not self.dedup.is_new(item["url"]):
            raise DropItem("seen")
        return item


class BuffersByAHelper(Stateful):
    verdict = {"buffer": ("self.buffer.rows",)}

    def __init__(self, size=100):
        self.buffer = Buffer(size)

    def process_item(self, item, spider):
        self.buffer.push(dict(item))
        return item

    def close_spider(self, spider):
        self.buffer.flush()


class NearDuplicates(Stateful):
    verdict = {"state": ("self.index",)}

    def __init__(self):
        self.index = SimhashIndex([], k=3)

    def process_item(self, item, spider):
        value = Simhash(item["text"])
        if self.index.get_near_dups(value):
            raise DropItem("near duplicate")
        self.index.add(item["url"], value)
        return item


class TitlesList(Stateful):
    verdict = {"state": ("self.titles",)}

    titles: list[str] = []

    def process_item(self, item, spider):
        if any(item["title"] == title for title in self.titles):
            raise DropItem("seen")
        self.titles.append(item["title"])
        return item


class CheapestPerProduct(Stateful):
    verdict = {"buffer": ("self.cheapest",)}

    def open_spider(self, spider):
        self.cheapest = {}

    def process_item(self, item, spider):
        known = self.cheapest.get(item["ean"])
        if known is None or item["price"] < known["price"]:
            self.cheapest[item["ean"]] = item
        return item

    def close_spider(self, spider):
        Path("cheapest.json").write_text(json.dumps(self.cheapest))


class BulkWrite(Stateful):
    verdict = {"buffer": ("self.operations",)}

    def open_spider(self, spider):
        self.collection = MongoClient()["db"]["items"]
        self.operations = []

    def process_item(self, item, spider):
        self.operations.append(UpdateOne({"_id": item["id"]}, {"$set": dict(item)}, upsert=True))
        if len(self.operations) == 1000:
            self.collection.bulk_write(self.operations, ordered=False)
            self.operations = []
        return item

    def close_spider(self, spider):
        if self.operations:
            self.collection.bulk_write(self.operations, ordered=False)


class BatchPerTable(Stateful):
    verdict = {"buffer": ("self.batches",)}

    def __init__(self):
        self.batches = defaultdict(list)

    def process_item(self, item, spider):
        batch = self.batches[item["table"]]
        self.batches[item["table"]].append(item)
        if len(batch) > 50:
            self.write(item["table"])
        return item

    def write(self, table):
        print(table, self.batches.pop(table))

    def close_spider(self, spider):
        for table in list(self.batches):
            self.write(table)


class AsyncQueue(Stateful):
    verdict = {"buffer": ("self.queue",)}

    async def open_spider(self):
        self.queue = asyncio.Queue()
        self.task = asyncio.create_task(self.drain())

    async def drain(self):
        while True:
            print(await self.queue.get())

    async def process_item(self, item):
        await self.queue.put(item)
        return item

    async def close_spider(self):
        await self.queue.join()
        self.task.cancel()


class TextOfAll(Stateful):
    verdict = {"buffer": ("self.text",)}

    def open_spider(self, spider):
        self.text = ""

    def process_item(self, item, spider):
        self.text += item["text"] + "\n"
        return item

    def close_spider(self, spider):
        print(len(self.text), self.text)


class MaxPrice(Stateful):
    verdict = {"state": ("self.highest",)}

    highest = 0

    def process_item(self, item, spider):
        if item["price"] > self.highest:
            self.highest = item["price"]
        item["highest"] = self.highest
        return item


class GroupIds(Stateful):
    verdict = {"state": ("CATEGORIES",)}

    def process_item(self, item, spider):
        item["category"] = CATEGORIES.setdefault(item["name"].lower(), item["name"])
        return item


class JsonArray(Stateful):
    verdict = {"file": ("self.file",)}

    def open_spider(self, spider):
        self.file = open("items.json", mode="wb")
        self.exporter = JsonItemExporter(self.file)
        self.exporter.start_exporting()

    def process_item(self, item, spider):
        self.exporter.export_item(item)
        return item

    def close_spider(self, spider):
        self.exporter.finish_exporting()
        self.file.close()


class CsvBySignals(Stateful):
    verdict = {"file": ("self.files",)}

    def __init__(self):
        self.files = {}

    @classmethod
    def from_crawler(cls, crawler):
        pipeline = cls()
        crawler.signals.connect(pipeline.spider_opened, signals.spider_opened)
        crawler.signals.connect(pipeline.spider_closed, signals.spider_closed)
        return pipeline

    def spider_opened(self, spider):
        file = open("%s_items.csv" % spider.name, "w+b")  # noqa: UP031
        self.files[spider] = file
        self.exporter = CsvItemExporter(file)
        self.exporter.start_exporting()

    def spider_closed(self, spider):
        self.exporter.finish_exporting()
        file = self.files.pop(spider)
        file.close()

    def process_item(self, item, spider):
        self.exporter.export_item(item)
        return item


class FirstLineDiffers(Stateful):
    """Commas between, none before the first."""

    verdict = {"file": ("self.file",), "state": ("self.count",)}

    def open_spider(self, spider):
        self.file = Path("items.json").open("w")
        self.file.write("[")
        self.count = 0

    def process_item(self, item, spider):
        if self.count:
            self.file.write(",")
        self.count += 1
        self.file.write(json.dumps(dict(item)))
        return item

    def close_spider(self, spider):
        self.file.write("]")
        self.file.close()


class AppendsRow(Stateful):
    verdict = {"file": ("open(self.path, 'a', newline='')",)}

    path = "rows.csv"

    def process_item(self, item, spider):
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow(item.values())
        return item


class LogsProgress(Stateful):
    verdict = {"state": ("self.done",)}

    def __init__(self):
        self.done = 0

    def process_item(self, item, spider):
        self.done += 1
        if self.done % 100 == 0:
            log.info("%d done", self.done)
        return item


class Waiting:
    pass


class MySqlConnector(Waiting):
    verdict = "stores"

    def __init__(self):
        self.create_connection()

    def create_connection(self):
        self.conn = mysql.connector.connect(host="localhost", database="quotes")
        self.curr = self.conn.cursor()

    def store_db(self, item):
        self.curr.execute("INSERT INTO quotes VALUES (%s)", (item["text"],))
        self.conn.commit()

    def process_item(self, item, spider):
        self.store_db(item)
        return item


class BigQuery(Waiting):
    verdict = "stores"

    def open_spider(self, spider):
        self.client = bigquery.Client()

    def process_item(self, item, spider):
        errors = self.client.insert_rows_json("items", [ItemAdapter(item).asdict()])
        if errors:
            log.error("Not stored: %s", errors)
        return item


class Blob(Waiting):
    verdict = "stores"

    def open_spider(self, spider):
        service = BlobServiceClient.from_connection_string(spider.settings["AZURE"])
        self.container = service.get_container_client("items")

    def process_item(self, item, spider):
        self.container.upload_blob(item["id"], json.dumps(dict(item)))
        return item


class RedisList(Waiting):
    verdict = "stores"

    def __init__(self, url):
        self.server = Redis.from_url(url)

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings.get("REDIS_URL"))

    def process_item(self, item, spider):
        self.server.rpush(f"{spider.name}:items", json.dumps(dict(item), default=str))
        return item


class ApiSession(Waiting):
    verdict = "waits"

    def open_spider(self, spider):
        self.session = requests.Session()
        self.session.headers.update({"Authorization": spider.settings["TOKEN"]})

    def process_item(self, item, spider):
        answer = self.session.get("https://api.example.com/lookup", params={"q": item["name"]})
        item["extra"] = answer.json()["result"]
        return item


class Translates(Waiting):
    verdict = "waits"

    def __init__(self):
        self.client = httpx.AsyncClient()

    async def translate(self, text):
        answer = await self.client.post("https://translate.example.com", json={"q": text})
        return answer.json()["text"]

    async def process_item(self, item):
        item["title"], item["text"] = await asyncio.gather(
            self.translate(item["title"]), self.translate(item["text"])
        )
        return item


class SessionForEachItem(Waiting):
    verdict = "waits"

    async def process_item(self, item):
        async with aiohttp.ClientSession() as session, session.get(item["api"]) as answer:
            item["extra"] = await answer.json()
        return item


class Smtp(Waiting):
    verdict = "waits"

    def process_item(self, item, spider):
        with smtplib.SMTP("localhost") as server:
            server.sendmail("from@example.com", "to@example.com", item["text"])
        return item


class UrlOpen(Waiting):
    verdict = "waits"

    def process_item(self, item, spider):
        with urllib.request.urlopen("https://api.example.com/" + quote(item["name"])) as answer:
            item["extra"] = json.loads(answer.read())
        return item


def log_errors():
    return contextlib.suppress(ValueError)


def make_database():
    return {"books": []}
