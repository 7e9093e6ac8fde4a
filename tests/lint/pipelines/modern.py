"""Typed, with dataclasses, mixins, generics and async: styles of newer projects."""

from __future__ import annotations

import asyncio
import bisect
import gzip
import heapq
import io
import json
import logging
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from itemadapter import ItemAdapter
from scrapy.exceptions import DropItem

from .helpers import clean

if TYPE_CHECKING:
    import aioboto3
    import networkx as nx
    import openai
    import openpyxl
    import pandas as pd
    import trafilatura
    from datasketch import MinHash, MinHashLSH
    from lxml import etree
    from motor.motor_asyncio import AsyncIOMotorClient
    from opensearchpy import AsyncOpenSearch
    from pydantic import BaseModel
    from scrapy import Spider
    from scrapy.crawler import Crawler

    class Book(BaseModel):
        title: str


T = TypeVar("T")
logger = logging.getLogger(__name__)


class Stateless:
    verdict: dict[str, Any] = {}


class Stateful:
    verdict: dict[str, Any] = {}


class Waiting:
    verdict = ""


class BaseCleaner(Generic[T]):
    pattern = re.compile(r"\s+")

    def process_item(self, item: T) -> T:
        for name, value in ItemAdapter(item).items():
            self.set(item, name, self.clean(value))
        return item

    def set(self, item: T, name: str, value: Any) -> None:
        ItemAdapter(item)[name] = value

    def clean(self, value: Any) -> Any:
        return self.pattern.sub(" ", value) if isinstance(value, str) else value


class CleansMore(BaseCleaner[dict], Stateless):
    def clean(self, value: Any) -> Any:
        return clean(super().clean(value))


@dataclass
class ByDataclass(Stateless):
    limit: int = 100
    fields: list[str] = field(default_factory=list)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ByDataclass:
        return cls(crawler.settings.getint("LIMIT"), crawler.settings.getlist("FIELDS"))

    def process_item(self, item: Any) -> Any:
        for name in self.fields:
            item[name] = item[name][: self.limit]
        return item


class Validates(Stateless):
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        errors: list[str] = []
        try:
            return Book(**item).model_dump()
        except ValueError as error:
            errors.append(str(error))
        raise DropItem("; ".join(errors))


class Extracts(Stateless):
    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.options: dict[str, Any] = options or {}
        self.options.setdefault("favor_recall", True)

    async def process_item(self, item: Any) -> Any:
        item["text"] = await asyncio.to_thread(trafilatura.extract, item["html"], **self.options)
        return item


class XPaths(Stateless):
    def __init__(self) -> None:
        self.paths = {name: etree.XPath(path) for name, path in {"title": "//h1"}.items()}

    def process_item(self, item: Any) -> Any:
        tree = etree.HTML(item["html"])
        root = etree.Element("item")
        for name, path in self.paths.items():
            item[name] = path(tree)
            root.append(etree.Element(name))
        item["xml"] = etree.tostring(root)
        return item


class Times(Stateless):
    def process_item(self, item: Any) -> Any:
        self.started = time.monotonic()
        item["text"] = item["html"].strip()
        item["seconds"] = time.monotonic() - self.started
        return item


class LooksUpInATable(Stateless):
    def open_spider(self) -> None:
        self.rates = pd.DataFrame(json.loads(Path("rates.json").read_text())).set_index("code")

    def process_item(self, item: Any) -> Any:
        item["rate"] = self.rates.loc[item["currency"], "rate"]
        item["known"] = self.rates.query("rate > 1").shape[0]
        return item


class ReusesABuffer(Stateless):
    def __init__(self) -> None:
        self.out = io.BytesIO()

    def process_item(self, item: Any) -> Any:
        self.out.seek(0)
        self.out.truncate()
        self.out.write(item["text"].encode())
        item["size"] = len(self.out.getvalue())
        return item


class CompressesEach(Stateless):
    def __init__(self, folder: Path = Path("pages")) -> None:
        self.folder = folder

    def path_of(self, item: Any) -> Path:
        return self.folder / f"{item['id']}.gz"

    def process_item(self, item: Any) -> Any:
        with gzip.open(self.path_of(item), "wb") as file:
            file.write(item["body"])
        return item


class LruByHand(Stateless):
    verdict = {"cache": ("self._cache",)}

    def __init__(self) -> None:
        self._cache: OrderedDict[str, str] = OrderedDict()

    def normalized(self, name: str) -> str:
        if name not in self._cache:
            self._cache[name] = clean(name)
            if len(self._cache) > 1000:
                self._cache.popitem(last=False)
        return self._cache[name]

    def process_item(self, item: Any) -> Any:
        item["name"] = self.normalized(item["name"])
        return item


class MemoByGet(Stateless):
    verdict = {"cache": ("self.brands",)}

    def __init__(self) -> None:
        self.brands: dict[str, str] = {}

    def process_item(self, item: Any) -> Any:
        brand = self.brands.get(item["brand"])
        if brand is None:
            brand = self.brands[item["brand"]] = clean(item["brand"])
        item["brand"] = brand
        return item


class ToGraph(Stateless):
    def process_item(self, item: Any) -> Any:
        edges: dict[str, set[str]] = {}
        for a, b in item["links"]:
            edges.setdefault(a, set()).add(b)
        item["degree"] = {a: len(bs) for a, bs in edges.items()}
        return item


@dataclass
class DuplicatesOfDataclass(Stateful):
    verdict = {"state": ("self.seen",)}

    seen: set[str] = field(default_factory=set)

    def process_item(self, item: Any) -> Any:
        if (url := item["url"]) in self.seen:
            raise DropItem(url)
        self.seen.add(url)
        return item


@dataclass
class RowsOfDataclass(Stateful):
    verdict = {"buffer": ("self.rows",)}

    rows: list[Any] = field(default_factory=list)

    def process_item(self, item: Any) -> Any:
        self.rows.append(item)
        return item

    def close_spider(self) -> None:
        Path("rows.json").write_text(json.dumps(self.rows))


class SeenByUnion(Stateful):
    verdict = {"state": ("self.seen",)}

    seen: frozenset[str] = frozenset()

    def process_item(self, item: Any) -> Any:
        if item["url"] in self.seen:
            raise DropItem("seen")
        self.seen |= {item["url"]}
        return item


class SeenByException(Stateful):
    verdict = {"state": ("self.seen",)}

    def __init__(self) -> None:
        self.seen: dict[str, bool] = {}

    def process_item(self, item: Any) -> Any:
        try:
            self.seen[item["url"]]
        except KeyError:
            self.seen[item["url"]] = True
            return item
        raise DropItem("seen")


class GraphOfLinks(Stateful):
    verdict = {"buffer": ("self.graph",)}

    def open_spider(self) -> None:
        self.graph = nx.DiGraph()

    def process_item(self, item: Any) -> Any:
        for link in item["links"]:
            self.graph.add_edge(item["url"], link)
        return item

    def close_spider(self) -> None:
        nx.write_gml(self.graph, "links.gml")


class TopTen(Stateful):
    verdict = {"buffer": ("self.top",)}

    def __init__(self) -> None:
        self.top: list[Any] = []

    def process_item(self, item: Any) -> Any:
        heapq.heappush(self.top, (item["score"], item["url"]))
        if len(self.top) > 10:
            heapq.heappop(self.top)
        return item

    def close_spider(self, spider: Spider) -> None:
        spider.logger.info("%s", sorted(self.top))


class Median(Stateful):
    verdict = {"state": ("self.prices",)}

    def __init__(self) -> None:
        self.prices: list[float] = []

    def process_item(self, item: Any) -> Any:
        bisect.insort(self.prices, item["price"])
        item["median"] = self.prices[len(self.prices) // 2]
        return item


class NearDuplicatesByLsh(Stateful):
    verdict = {"state": ("self.lsh",)}

    def open_spider(self) -> None:
        self.lsh = MinHashLSH(threshold=0.9)

    def process_item(self, item: Any) -> Any:
        hashed = MinHash()
        for word in item["text"].split():
            hashed.update(word.encode())
        if self.lsh.query(hashed):
            raise DropItem("near duplicate")
        self.lsh.insert(item["url"], hashed)
        return item


class CsvByPandas(Stateful):
    verdict = {"file": ("pd.DataFrame([dict(item)]).to_csv('items.csv', mode='a', header=False)",)}

    def process_item(self, item: Any) -> Any:
        pd.DataFrame([dict(item)]).to_csv("items.csv", mode="a", header=False)
        return item


class SavesTheBookEachTime(Stateful):
    verdict = {"state": ("self.book", "self.sheet")}

    def open_spider(self) -> None:
        self.book = openpyxl.load_workbook("items.xlsx")
        self.sheet = self.book.active

    def process_item(self, item: Any) -> Any:
        self.sheet.append([item["title"]])
        self.book.save("items.xlsx")
        return item


class OpensLate(Stateful):
    verdict = {"file": ("self.file",)}

    file: Any = None

    def process_item(self, item: Any, spider: Spider) -> Any:
        if self.file is None:
            self.file = gzip.open(f"{spider.name}.jl.gz", "at")
        self.file.write(json.dumps(dict(item)) + "\n")
        return item


class CircuitBreaker(Stateful):
    verdict = {"state": ("self.failures",)}

    failures = 0

    def process_item(self, item: Any) -> Any:
        if self.failures > 5:
            raise DropItem("the service is down")
        try:
            item["text"] = clean(item["html"])
        except ValueError:
            self.failures += 1
        else:
            self.failures = 0
        return item


class AsksAModel(Waiting):
    verdict = "waits"

    def __init__(self, key: str) -> None:
        self.client = openai.AsyncOpenAI(api_key=key)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> AsksAModel:
        return cls(crawler.settings["KEY"])

    async def process_item(self, item: Any) -> Any:
        answer = await self.client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": item["text"]}]
        )
        item["summary"] = answer.choices[0].message.content
        return item


class IndexesAsync(Waiting):
    verdict = "stores"

    async def open_spider(self) -> None:
        self.client = AsyncOpenSearch("http://localhost:9200")

    async def process_item(self, item: Any) -> Any:
        await self.client.index(index="items", body=ItemAdapter(item).asdict())
        return item


class UploadsAsync(Waiting):
    verdict = "stores"

    def __init__(self) -> None:
        self.session = aioboto3.Session()

    async def process_item(self, item: Any) -> Any:
        async with self.session.client("s3") as s3:
            await s3.put_object(Bucket="items", Key=item["id"], Body=item["body"])
        return item


class Repository(Waiting):
    verdict = "stores"

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._items: Any = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Repository:
        return cls(uri=crawler.settings["MONGO_URI"])

    @property
    def items(self) -> Any:
        if self._items is None:
            self._items = AsyncIOMotorClient(self.uri)["shop"]["items"]
        return self._items

    async def process_item(self, item: Any) -> Any:
        await self.items.replace_one({"_id": item["id"]}, dict(item), upsert=True)
        return item
