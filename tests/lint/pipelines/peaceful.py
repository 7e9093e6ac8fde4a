"""Stateless pipelines that look as if they kept something."""

from __future__ import annotations

import asyncio
import collections
import functools
import hashlib
import itertools
import json
import logging
import os
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from itemadapter import ItemAdapter
from itemloaders import ItemLoader
from scrapy.exceptions import DropItem
from scrapy.selector import Selector

if TYPE_CHECKING:
    import cv2
    import ftfy
    import geoip2.database
    import jieba
    import numpy as np
    import pytesseract
    import sentence_transformers
    import whoosh.index
    from django.apps import apps
    from PIL import Image
    from rapidfuzz import process
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

STEPS = []
COUNTRIES = {"de": "Germany"}


def step(function):
    STEPS.append(function)
    return function


@step
def strip(item):
    item["title"] = item["title"].strip()
    return item


class RunsSteps:
    """A list that is filled when the module is imported."""

    def process_item(self, item, spider):
        for one in STEPS:
            item = one(item)
        return item


class Registers:
    handlers = {}

    @classmethod
    def register(cls, name):
        def wrap(function):
            cls.handlers[name] = function
            return function

        return wrap

    def process_item(self, item, spider):
        self.handlers[item["kind"]](item)
        return item


class Ocr:
    def process_item(self, item, spider):
        image = np.frombuffer(item["body"], np.uint8)
        image = cv2.imdecode(image, cv2.IMREAD_GRAYSCALE)
        image = cv2.threshold(image, 127, 255, cv2.THRESH_BINARY)[1]
        item["text"] = pytesseract.image_to_string(image)
        return item


class Embeds:
    _model = None

    @classmethod
    def model(cls):
        if cls._model is None:
            cls._model = sentence_transformers.SentenceTransformer("mini")
        return cls._model

    def process_item(self, item, spider):
        item["vector"] = self.model().encode(item["text"]).tolist()
        return item


class LoadsWithTheFirst:
    loaded = False

    def load(self, spider):
        self.words = set()
        for line in Path(spider.settings["WORDS"]).read_text().splitlines():
            self.words.add(line.strip())
        self.loaded = True

    def process_item(self, item, spider):
        if not self.loaded:
            self.load(spider)
        item["known"] = [w for w in item["text"].split() if w in self.words]
        return item


class GeoIp:
    def open_spider(self, spider):
        self.reader = geoip2.database.Reader("cities.mmdb")

    def process_item(self, item, spider):
        item["country"] = self.reader.city(item["ip"]).country.iso_code
        return item

    def close_spider(self, spider):
        self.reader.close()


class MatchesFuzzily:
    def __init__(self):
        self.choices = sorted(COUNTRIES.values())

    def process_item(self, item, spider):
        item["country"], item["score"], _ = process.extractOne(item["country"], self.choices)
        return item


class RandomDelay:
    def __init__(self):
        self.random = random.Random(7)

    def process_item(self, item, spider):
        item["sample"] = self.random.random() < 0.1
        return item


class Retries:
    def process_item(self, item, spider):
        for attempt in range(3):
            try:
                return self.parse(item)
            except ValueError:
                time.sleep(attempt)
        raise DropItem("not parsed")

    def parse(self, item):
        item["data"] = json.loads(item["text"])
        return item


class BuildsAnItem:
    def process_item(self, item, spider):
        loader = ItemLoader(item={}, selector=Selector(text=item["html"]))
        loader.add_css("title", "h1::text")
        loader.add_value("url", item["url"])
        loader.add_value("links", [])
        return loader.load_item()


class ChangesNested:
    def process_item(self, item, spider):
        for review in item["reviews"]:
            review["words"] = len(review["text"].split())
            review.setdefault("tags", []).append("counted")
        item["tags"] += ["done"]
        item["count"] = item.get("count", 0) + 1
        return item


class Groups:
    def process_item(self, item, spider):
        groups = collections.defaultdict(list)
        for key, rows in itertools.groupby(item["rows"], key=lambda row: row["k"]):
            groups[key].extend(rows)
        item["groups"] = dict(groups)
        return item


class OpensItsDatabaseEachTime:
    path = "items.db"

    def process_item(self, item, spider):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("REPLACE INTO items VALUES (?)", (item["url"],))
        return item


class ScratchFile:
    def process_item(self, item, spider):
        with tempfile.NamedTemporaryFile("wb", suffix=".pdf") as file:
            file.write(item["body"])
            file.flush()
            item["size"] = os.path.getsize(file.name)
        return item


class SavesImage:
    def __init__(self, store):
        self.store = store

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["IMAGES"])

    def process_item(self, item, spider):
        folder = os.path.join(self.store, item["category"])
        os.makedirs(folder, exist_ok=True)
        name = hashlib.sha1(item["url"].encode()).hexdigest()
        target = os.path.join(folder, f"{name}.jpg")
        with open(target, "wb") as file:
            file.write(item["body"])
        Image.open(target).convert("L").save(target)
        item["path"] = target
        return item


class CachedMethod:
    @functools.cache  # noqa: B019
    def words(self, text):
        return jieba.lcut(text)

    def process_item(self, item, spider):
        item["words"] = self.words(item["text"])
        return item


class Fills:
    template = Template("$title by $author")

    def process_item(self, item, spider):
        adapter = ItemAdapter(item)
        values = {"author": "nobody"}
        values.update(adapter.asdict())
        adapter["line"] = self.template.substitute(values)
        return item


class AwaitsItsOwn:
    async def process_item(self, item):
        parts = await asyncio.gather(*(self.part(one) for one in item["parts"]))
        item["parts"] = parts
        return item

    async def part(self, text):
        await asyncio.sleep(0)
        return ftfy.fix_text(text)


class SessionPerItem:
    def __init__(self):
        engine = create_engine("sqlite:///shop.db")
        self.factory = sessionmaker(engine)

    def process_item(self, item, spider):
        with self.factory() as session:
            session.add(to_row(item))
            session.commit()
        return item


class DjangoItem:
    def process_item(self, item, spider):
        model = apps.get_model("shop", "Book")
        model.objects.update_or_create(url=item["url"], defaults=dict(item))
        return item


class Searches:
    def open_spider(self, spider):
        self.index = whoosh.index.open_dir("index")

    def process_item(self, item, spider):
        with self.index.searcher() as searcher:
            item["hits"] = len(searcher.documents())
        return item


class LogsWithAdapter:
    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger(__name__), {})

    def process_item(self, item, spider):
        self.log.extra["url"] = item["url"]
        self.log.info("one more")
        return item


class Chain:
    """Parts that are pipelines themselves."""

    def __init__(self):
        self.parts = [Fills(), Groups()]

    def process_item(self, item, spider):
        for part in self.parts:
            item = part.process_item(item, spider)
        return item


class WorksInPlace:
    def __init__(self):
        self.size = 224
        self.canvas = np.zeros((self.size, self.size))

    def process_item(self, item, spider):
        self.canvas[:] = 0
        self.canvas[: len(item["row"])] = item["row"]
        item["mean"] = float(self.canvas.mean())
        return item


def to_row(item):
    return dict(item)
