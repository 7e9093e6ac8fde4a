"""What pipelines do to items, beyond setting a field."""

from __future__ import annotations

import datetime
import decimal
from collections import defaultdict
from typing import Any

import attrs
from scrapy import Field, Item

from ..case import Case, Expected
from .kinds import TEN, RichWordItem, WordData
from .spiders import WORDS, WordSpider


class FieldsSpider(WordSpider):
    def make(self, n: int) -> Any:
        return {"n": n, "word": WORDS[n], "old": [n], "junk": {"a": n}, "last": None}


class DeleteFields:
    def process_item(self, item: Any) -> Any:
        del item["junk"]
        item.pop("last")
        return item


class RenameFields:
    """A renamed field goes to the end, where the feed shows it."""

    def process_item(self, item: Any) -> Any:
        item["new"] = item.pop("old")
        item["n"] = item.pop("n")
        return item


class SwapFields:
    """The same keys in another order, and the same values under other keys."""

    def process_item(self, item: Any) -> Any:
        item["old"], item["junk"] = item["junk"], item["old"]
        for key in sorted(item, reverse=True):
            item[key] = item.pop(key)
        return item


class ClearAndFill:
    def process_item(self, item: Any) -> Any:
        word = item["word"]
        item.clear()
        item["only"] = word
        return item


class DeleteItemFields:
    def process_item(self, item: Any) -> Any:
        del item["tags"]
        item["word"] = item.pop("word").upper()
        return item


class DeleteAttributes:
    """A dataclass may lose attributes too; items then simply lack the field."""

    def process_item(self, item: Any) -> Any:
        del item.length
        item.unforeseen = "attribute"
        return item


class RichItemSpider(WordSpider):
    def make(self, n: int) -> Any:
        return RichWordItem(n=n, word=WORDS[n], tags=[n])


class DataSpider(WordSpider):
    def make(self, n: int) -> Any:
        return WordData(n, WORDS[n], length=1)


class AliasSpider(WordSpider):
    """Two fields share one list, and a third holds it inside."""

    def make(self, n: int) -> Any:
        shared = [n]
        return {"first": shared, "second": shared, "third": {"inner": shared}, "own": [n]}


class UseAlias:
    """Changes what is shared, and looks at it by its other name."""

    def process_item(self, item: Any) -> Any:
        item["first"].append("through the first")
        item["count"] = len(item["second"])
        item["still_shared"] = item["first"] is item["second"] is item["third"]["inner"]
        return item


class MakeAlias:
    def process_item(self, item: Any) -> Any:
        item["fourth"] = item["own"]
        return item


class BreakAlias:
    def process_item(self, item: Any) -> Any:
        item["second"] = list(item["second"])
        item["second"].append("alone")
        return item


class UseAliasOnTheReactor:
    """Behind the hop fields must share as they share inline."""

    def process_item(self, item: Any) -> Any:
        item["own"].append("on the reactor")
        item["first"].append("on the reactor")
        return item


class LoudItem(Item):
    """Its own ``__setitem__``: a value that is set twice shows it."""

    word = Field()
    length = Field()
    sets = Field()

    def __setitem__(self, key: str, value: Any) -> None:
        count = self._values.get("sets", 0) + 1
        super().__setitem__("sets", count)
        super().__setitem__(key, f"{value}!" if isinstance(value, str) else value)


class LoudSpider(WordSpider):
    def make(self, n: int) -> Any:
        return LoudItem(word=WORDS[n])


class SetOnce:
    def process_item(self, item: Any) -> Any:
        item["word"] = item["word"].title()
        item["length"] = 3
        return item


class LoudDict(dict):
    """A dict with a rule and an attribute of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.history: list[str] = []

    def __setitem__(self, key: str, value: Any) -> None:
        self.history.append(key)
        super().__setitem__(key, value)


class LoudDictSpider(WordSpider):
    def make(self, n: int) -> Any:
        return LoudDict(n=n, word=WORDS[n])


@attrs.define
class LoudAttrs:
    """A converter and a validator run on each assignment."""

    word: str = attrs.field(converter=lambda word: f"{word}!")
    length: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(int))
    )


class LoudAttrsSpider(WordSpider):
    def make(self, n: int) -> Any:
        return LoudAttrs(WORDS[n])


class SetAttributesOnce:
    def process_item(self, item: Any) -> Any:
        item.word = item.word.title()
        item.length = 3
        return item


class Text(str):
    """A string with something to say about itself."""

    source = ""


class ValuesSpider(WordSpider):
    """Values of many types, changed by nobody: unchanged has to mean unchanged."""

    def make(self, n: int) -> Any:
        text = Text(WORDS[n])
        text.source = "here"
        return {
            "n": n,
            "float": n / 3,
            "huge": 10**50 + n,
            "bool": n % 2 == 0,
            "text": text,
            "tuple": (n, (WORDS[n], None)),
            "list_in_tuple": (n, [n]),
            "set": {n, n + 1},
            "decimal": decimal.Decimal(n) / 8,
            "date": datetime.date(2024, 1, 1 + n),
            "moment": datetime.datetime(2024, 1, 1, n, tzinfo=datetime.timezone.utc),
            "groups": defaultdict(list, a=[n]),
            "empty": {},
            "": "an empty key",
            "ünïcode 🦊": "🦊" * n,
        }


class LookAtValues:
    def process_item(self, item: Any) -> Any:
        assert item["n"] >= 0
        return item


class ChangeValues:
    """Changes in place what can be changed in place."""

    def process_item(self, item: Any) -> Any:
        item["list_in_tuple"][1].append("in a tuple")
        item["set"].add(item["n"] + 2)
        item["groups"]["b"].append("by default")
        item["empty"]["no"] = "longer"
        item["text"].source = "there"
        item["date"] += datetime.timedelta(days=1)
        return item


class GrownItem(Item):
    """Gets fields by name, in each process where somebody needs them."""

    n = Field()


class GrownSpider(WordSpider):
    def make(self, n: int) -> Any:
        item = GrownItem(n=n)
        item.fields["word"] = Field()
        item["word"] = WORDS[n]
        return item


class GrowItem:
    def process_item(self, item: Any) -> Any:
        item["word"] = item["word"].upper()
        item.fields["length"] = Field()
        item["length"] = len(item["word"])
        return item


class UseGrownOnTheReactor:
    def process_item(self, item: Any) -> Any:
        item["length"] += 1
        return item


CASES = [
    Case("fields_deleted", FieldsSpider, {DeleteFields: 300}, TEN),
    Case("fields_renamed", FieldsSpider, {RenameFields: 300}, TEN),
    Case("fields_swapped_and_reordered", FieldsSpider, {SwapFields: 300}, TEN),
    Case("fields_all_replaced", FieldsSpider, {ClearAndFill: 300}, TEN),
    Case("fields_deleted_of_an_item", RichItemSpider, {DeleteItemFields: 300}, TEN),
    Case(
        "attributes_deleted_and_added",
        DataSpider,
        {DeleteAttributes: 300},
        TEN,
    ),
    Case(
        "aliases_used_made_and_broken",
        AliasSpider,
        {UseAlias: 300, MakeAlias: 400, BreakAlias: 500},
        TEN,
        reactor_pipelines={UseAliasOnTheReactor: 600},
    ),
    Case(
        "aliases_between_hops",
        AliasSpider,
        {MakeAlias: 300, UseAlias: 500},
        TEN,
        reactor_pipelines={UseAliasOnTheReactor: 400},
        submitted=20,
    ),
    Case("item_with_its_own_setitem", LoudSpider, {SetOnce: 300}, TEN),
    Case(
        "dict_with_its_own_setitem",
        LoudDictSpider,
        {SetOnce: 300},
        TEN,
        not_compared=dict.fromkeys(
            ("identity", "yielded"),
            "subclasses of dict are replaced as a whole, so the yielded object stays as it was",
        ),
    ),
    Case("attrs_with_converter_and_validator", LoudAttrsSpider, {SetAttributesOnce: 300}, TEN),
    Case("values_of_many_types_untouched", ValuesSpider, {LookAtValues: 300}, TEN),
    Case("values_of_many_types_changed", ValuesSpider, {ChangeValues: 300}, Expected(scraped=10)),
    Case(
        "item_that_gets_fields_by_name",
        GrownSpider,
        {GrowItem: 300},
        TEN,
        reactor_pipelines={UseGrownOnTheReactor: 400},
    ),
]
