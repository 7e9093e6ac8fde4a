"""Every kind of item that Scrapy knows, but for pydantic's."""

from __future__ import annotations

import dataclasses
from typing import Any

import attrs
from itemadapter import ItemAdapter
from scrapy import Field, Item

from ..case import Case, Expected
from .spiders import WORDS, WordSpider


class Measure:
    """Changes one field of any item, and adds one."""

    def process_item(self, item: Any) -> Any:
        adapter = ItemAdapter(item)
        adapter["length"] = len(adapter["word"])
        adapter["word"] = adapter["word"].title()
        return item


class MeasureFrozen:
    """What frozen items ask for: a changed copy."""

    def process_item(self, item: Any) -> Any:
        evolve = attrs.evolve if attrs.has(type(item)) else dataclasses.replace
        return evolve(item, length=len(item.word), word=item.word.title())


class LookOnly:
    def process_item(self, item: Any) -> Any:
        assert ItemAdapter(item)["word"]
        return item


class WordItem(Item):
    n = Field()
    word = Field(serializer=lambda word: f"«{word}»")
    length = Field()


class RichWordItem(WordItem):
    tags = Field()


@dataclasses.dataclass
class WordData:
    n: int
    word: str
    length: int | None = None
    tags: list[str] = dataclasses.field(default_factory=list)
    seen: bool = dataclasses.field(default=False, init=False, repr=False)


@dataclasses.dataclass(slots=True)
class SlottedWordData:
    n: int
    word: str
    length: int | None = None


@dataclasses.dataclass(frozen=True)
class FrozenWordData:
    n: int
    word: str
    length: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlottedWordData:
    n: int
    word: str
    length: int | None = None


@attrs.define(slots=False)
class WordAttrs:
    n: int
    word: str
    length: int | None = None
    tags: list[str] = attrs.field(factory=list)


@attrs.define
class SlottedWordAttrs:
    n: int
    word: str
    length: int | None = None


@attrs.frozen
class FrozenWordAttrs:
    n: int
    word: str
    length: int | None = None


@dataclasses.dataclass
class Page:
    title: str
    word: WordData
    parts: list[Any]
    length: int | None = None


class DictSpider(WordSpider):
    def make(self, n: int) -> Any:
        return {"n": n, "word": WORDS[n]}


class ItemSpider(WordSpider):
    def make(self, n: int) -> Any:
        return RichWordItem(n=n, word=WORDS[n], tags=["a"])


class DataSpider(WordSpider):
    def make(self, n: int) -> Any:
        return WordData(n, WORDS[n], tags=["a", str(n)])


class SlottedDataSpider(WordSpider):
    def make(self, n: int) -> Any:
        return SlottedWordData(n, WORDS[n])


class FrozenDataSpider(WordSpider):
    def make(self, n: int) -> Any:
        return FrozenWordData(n, WORDS[n])


class FrozenSlottedDataSpider(WordSpider):
    def make(self, n: int) -> Any:
        return FrozenSlottedWordData(n, WORDS[n])


class AttrsSpider(WordSpider):
    def make(self, n: int) -> Any:
        return WordAttrs(n, WORDS[n], tags=["a"])


class SlottedAttrsSpider(WordSpider):
    def make(self, n: int) -> Any:
        return SlottedWordAttrs(n, WORDS[n])


class FrozenAttrsSpider(WordSpider):
    def make(self, n: int) -> Any:
        return FrozenWordAttrs(n, WORDS[n])


class NestedSpider(WordSpider):
    """Items in items, three deep and of several kinds."""

    def make(self, n: int) -> Any:
        word = WordData(n, WORDS[n], tags=["inner"])
        parts = [{"attrs": SlottedWordAttrs(n, WORDS[n])}, [WordItem(n=n)], (n, {"deep": [n]})]
        return Page(title=f"page {n}", word=word, parts=parts)


class ChangeInside:
    """Leaves every field in its place and changes what is inside."""

    def process_item(self, item: Page) -> Page:
        item.word.length = len(item.word.word)
        item.word.tags.append("changed")
        item.parts[0]["attrs"].length = 3
        item.parts[1][0]["word"] = "added"
        item.parts[2][1]["deep"].append("deeper")
        return item


class MixedSpider(WordSpider):
    """Items of all kinds in one crawl."""

    kinds = (
        dict,
        RichWordItem,
        WordData,
        SlottedWordData,
        WordAttrs,
        SlottedWordAttrs,
    )

    def make(self, n: int) -> Any:
        return self.kinds[n % len(self.kinds)](n=n, word=WORDS[n])


TEN = Expected(scraped=10)

CASES = [
    Case("dict_items", DictSpider, {Measure: 300}, TEN),
    Case("scrapy_items", ItemSpider, {Measure: 300}, TEN),
    Case("dataclass_items", DataSpider, {Measure: 300}, TEN),
    Case("dataclass_slots_items", SlottedDataSpider, {Measure: 300}, TEN),
    Case("dataclass_frozen_items", FrozenDataSpider, {MeasureFrozen: 300}, TEN),
    Case("dataclass_frozen_slots_items", FrozenSlottedDataSpider, {MeasureFrozen: 300}, TEN),
    Case("attrs_items", AttrsSpider, {Measure: 300}, TEN),
    Case("attrs_slots_items", SlottedAttrsSpider, {Measure: 300}, TEN),
    Case("attrs_frozen_items", FrozenAttrsSpider, {MeasureFrozen: 300}, TEN),
    Case("nested_items", NestedSpider, {ChangeInside: 300}, TEN),
    Case("mixed_items", MixedSpider, {Measure: 300}, TEN),
    Case("untouched_items", MixedSpider, {LookOnly: 300}, TEN),
    Case("untouched_frozen_items", FrozenSlottedDataSpider, {LookOnly: 300}, TEN),
]
