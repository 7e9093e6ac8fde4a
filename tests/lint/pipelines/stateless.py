"""Pipelines that are right in any number of processes."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import sqlite3
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itemadapter import ItemAdapter
from scrapy.exceptions import DropItem, NotConfigured

if TYPE_CHECKING:
    import cachetools
    import jinja2
    import joblib
    import spacy
    import torch
    from bs4 import BeautifulSoup
    from langdetect import detect
    from PIL import Image
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

logger = logging.getLogger(__name__)
RATES = {"EUR": 1.0, "USD": 0.9}


class PriceToEuro:
    vat_factor = 1.15

    def process_item(self, item, spider):
        adapter = ItemAdapter(item)
        if not adapter.get("price"):
            raise DropItem("Missing price")
        if adapter.get("price_excludes_vat"):
            adapter["price"] = adapter["price"] * self.vat_factor
        adapter["price"] *= RATES[adapter["currency"]]
        return item


class Validation:
    required = ("title", "url")

    def process_item(self, item, spider):
        missing = [name for name in self.required if not item.get(name)]
        if missing:
            raise DropItem(f"Missing {', '.join(missing)}")
        return item


class CollectsErrorsOfOneItem:
    """Each item begins with an empty list."""

    def process_item(self, item, spider):
        self.errors = []
        self.check_title(item)
        self.check_price(item)
        if self.errors:
            raise DropItem(", ".join(self.errors))
        return item

    def check_title(self, item):
        if len(item["title"]) > 200:
            self.errors.append("title")

    def check_price(self, item):
        if item["price"] < 0:
            self.errors.append("price")


class KeepsTheItemForItsMethods:
    def process_item(self, item, spider):
        self.item = item
        self.strip()
        return self.item

    def strip(self):
        for name, value in self.item.items():
            self.item[name] = value.strip()


class ExtractText:
    def process_item(self, item, spider):
        soup = BeautifulSoup(item["html"], "lxml")
        for tag in soup(["script", "style"]):
            tag.decompose()
        parts = []
        for paragraph in soup.find_all("p"):
            parts.append(paragraph.get_text(" ", strip=True))
        item["text"] = "\n".join(parts)
        item.setdefault("tags", []).append("text")
        return item


class CompiledPatterns:
    def __init__(self):
        self.patterns = [re.compile(r"\d+"), re.compile(r"\s+")]

    def process_item(self, item, spider):
        for pattern in self.patterns:
            item["text"] = pattern.sub(" ", item["text"])
        return item


class Entities:
    def open_spider(self, spider):
        self.nlp = spacy.load(spider.settings.get("SPACY_MODEL", "en_core_web_sm"))

    def process_item(self, item, spider):
        doc = self.nlp(item["text"])
        item["entities"] = sorted({ent.text for ent in doc.ents})
        return item


class Classifier:
    """Loads its model with the first item."""

    model = None

    def __init__(self, path):
        self.path = path

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["MODEL_PATH"])

    def process_item(self, item, spider):
        if self.model is None:
            self.model = joblib.load(self.path)
        item["label"] = self.model.predict([item["text"]])[0]
        return item


class Embeddings:
    def __init__(self):
        self.model = torch.jit.load("model.pt")
        self.model.eval()

    def process_item(self, item):
        with torch.no_grad():
            item["vector"] = self.model(item["text"]).tolist()
        return item


class Thumbnail:
    size = (128, 128)

    def process_item(self, item, spider):
        image = Image.open(io.BytesIO(item["body"]))
        image.thumbnail(self.size)
        out = io.BytesIO()
        image.save(out, "JPEG")
        item["thumbnail"] = out.getvalue()
        return item


class Fingerprint:
    def process_item(self, item, spider):
        digest = hashlib.sha256()
        digest.update(item["url"].encode())
        digest.update(item["text"].encode())
        item["hash"] = digest.hexdigest()
        return item


class KeepsAHash:
    """A hash object takes ``update`` as a set does."""

    def process_item(self, item):
        self.digest = hashlib.md5()
        self.digest.update(item["text"].encode())
        item["hash"] = self.digest.hexdigest()
        return item


class CountsInStats:
    def __init__(self, stats):
        self.stats = stats

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.stats)

    def process_item(self, item, spider):
        self.stats.inc_value(f"items/{item['site']}")
        self.stats.max_value("longest", len(item["text"]))
        return item


class Templates:
    def open_spider(self, spider):
        self.env = jinja2.Environment(loader=jinja2.FileSystemLoader("templates"))
        self.template = self.env.get_template("page.html")

    def process_item(self, item, spider):
        item["page"] = self.template.render(**item)
        return item


class CurrencyTable:
    def open_spider(self, spider):
        self.rates = {}
        with open("rates.json") as file:
            for row in json.load(file):
                self.rates[row["code"]] = row["rate"]

    def process_item(self, item, spider):
        item["eur"] = item["price"] * self.rates.get(item["currency"], 1)
        return item


class StopWords:
    words = frozenset({"a", "the"})

    def process_item(self, item, spider):
        item["words"] = [word for word in item["text"].split() if word not in self.words]
        return item


class LogsOnly:
    def __init__(self):
        self.logger = logging.getLogger(type(self).__name__)

    def process_item(self, item, spider):
        self.logger.info("Scraped %s", item["url"])
        logger.debug("%r", item)
        spider.logger.info("One more")
        return item


class LanguageWithLruCache:
    @staticmethod
    @lru_cache(maxsize=1000)
    def detect(text):
        return detect(text)

    def process_item(self, item, spider):
        item["language"] = self.detect(item["text"])
        return item


class Slugs:
    """A dict as a memo: what it lacks is computed again."""

    def __init__(self):
        self.cache = {}

    def process_item(self, item, spider):
        name = item["category"]
        if name not in self.cache:
            self.cache[name] = slugify(name)
        item["slug"] = self.cache[name]
        return item


class MemoByException:
    known: dict[str, Any] = {}

    def process_item(self, item, spider):
        item["domain"] = self.domain_of(item["url"])
        return item

    def domain_of(self, url):
        try:
            return self.known[url]
        except KeyError:
            domain = slugify(url)
            self.known[url] = domain
            return domain


class MemoThatReturnsEarly:
    def open_spider(self, spider):
        self._brands = {}

    def _brand(self, name):
        if name in self._brands:
            return self._brands[name]
        brand = slugify(name).title()
        self._brands[name] = brand
        return brand

    def process_item(self, item, spider):
        item["brand"] = self._brand(item["brand"])
        return item


class SQLite:
    """Writers of one SQLite file lock each other out; nothing is overwritten."""

    def open_spider(self, spider):
        self.connection = sqlite3.connect("items.db")
        self.cursor = self.connection.cursor()
        self.cursor.execute("CREATE TABLE IF NOT EXISTS items (url TEXT PRIMARY KEY, title TEXT)")

    def process_item(self, item, spider):
        self.cursor.execute("REPLACE INTO items VALUES (?, ?)", (item["url"], item["title"]))
        self.connection.commit()
        return item

    def close_spider(self, spider):
        self.connection.close()


class SavesEachPage:
    """A file for each item."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def process_item(self, item, spider):
        name = hashlib.md5(item["url"].encode()).hexdigest()
        path = self.folder / f"{name}.html"
        with path.open("wb") as file:
            file.write(item["body"])
        with open(os.path.join(self.folder, name + ".json"), "w") as file:
            json.dump(dict(item), file)
        return item


class OneFileEachProcess:
    def open_spider(self, spider):
        self.file = open(f"items-{os.getpid()}.jl", "w")

    def process_item(self, item, spider):
        self.file.write(json.dumps(dict(item)) + "\n")
        return item

    def close_spider(self, spider):
        self.file.close()


class Timestamp:
    def process_item(self, item, spider):
        item["scraped_at"] = datetime.now().isoformat()
        item["spider"] = spider.name
        return item


class Reconnects:
    """What it binds anew is a connection, not a memory."""

    def open_spider(self, spider):
        self.connect()

    def connect(self):
        self.connection = sqlite3.connect("items.db")

    def process_item(self, item, spider):
        try:
            self.connection.execute("INSERT INTO items VALUES (?)", (item["url"],))
        except sqlite3.OperationalError:
            self.connect()
            self.connection.execute("INSERT INTO items VALUES (?)", (item["url"],))
        return item


class CreatesTableOnce:
    ready = False

    def process_item(self, item, spider):
        if not self.ready:
            self.connection = sqlite3.connect("items.db")
            self.ready = True
        self.connection.execute("INSERT INTO items VALUES (?)", (item["url"],))
        return item


class OnlyWithSetting:
    def __init__(self, limit):
        self.limit = limit

    @classmethod
    def from_crawler(cls, crawler):
        if not crawler.settings.getbool("LIMIT_ENABLED"):
            raise NotConfigured
        return cls(limit=crawler.settings.getint("LIMIT"))

    def process_item(self, item, spider):
        item["text"] = item["text"][: self.limit]
        return item


class ChoosesATable:
    """Each item chooses its own before it is used."""

    def open_spider(self, spider):
        self.tables = {"book": Path("books"), "film": Path("films")}

    def process_item(self, item, spider):
        if item.get("type"):
            self.table = self.tables[item["type"]]
            item["path"] = self.table / item["name"]
        return item


class CachesResults:
    def __init__(self):
        self.results = cachetools.LRUCache(maxsize=100)

    def process_item(self, item, spider):
        text = item["text"]
        key = (text, item.get("mode"))
        if key in self.results:
            result = self.results[key]
        else:
            result = slugify(text)
            self.results[key] = result
        item["result"] = result
        return item


class UsesASessionOfTheSpider:
    def process_item(self, item, spider):
        spider.session.add(dict(item))
        spider.session.commit()
        spider.crawler.stats.inc_value("stored")
        return item


class CommitsByItself:
    def open_spider(self, spider):
        self.connection = sqlite3.connect("items.db", isolation_level=None)

    def process_item(self, item, spider):
        self.connection.execute("INSERT INTO items VALUES (?)", (item["url"],))
        return item

    def close_spider(self, spider):
        self.connection.commit()


class Helper:
    """Made anew for each item."""

    def process_item(self, item, spider):
        counter = {}
        for word in item["text"].split():
            counter[word] = counter.get(word, 0) + 1
        item["words"] = counter
        return item


class ByType:
    """A table of its own methods, as dispatchers have."""

    def __init__(self):
        self.handlers = {"book": self.book, "film": self.film}

    def book(self, item):
        item["isbn"] = item["isbn"].replace("-", "")

    def film(self, item):
        item["minutes"] = int(item["minutes"])

    def process_item(self, item, spider):
        self.handlers[item["type"]](item)
        return item


class WritesOnly:
    """Nobody asks what it has kept."""

    def __init__(self):
        self.times = []

    def process_item(self, item, spider):
        self.times.append(item["time"])
        return item


class Cleaner:
    fields_to_strip = ["title", "text"]

    def process_item(self, item, spider):
        adapter = ItemAdapter(item)
        seen = set()
        for name in self.fields_to_strip:
            adapter[name] = adapter[name].strip()
            seen.add(name)
        adapter["count"] = len(seen)
        return item


class LocalDuplicates:
    def process_item(self, item, spider):
        seen, unique = set(), []
        for link in item["links"]:
            if link not in seen:
                seen.add(link)
                unique.append(link)
        item["links"] = unique
        return item


def slugify(text):
    return re.sub(r"\W+", "-", text.lower())


def first_words(item):
    item["summary"] = " ".join(item["text"].split()[:50])
    return item


def make_session():
    return sessionmaker(bind=create_engine("sqlite://"))
