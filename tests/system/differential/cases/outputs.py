"""What a pipeline may return instead of its item."""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict
from typing import Any

from ..case import Case, Expected
from .kinds import TEN, DataSpider, DictSpider, ItemSpider, NestedSpider, WordData
from .spiders import WordSpider


@dataclasses.dataclass(slots=True)
class Result:
    number: int
    text: str


#: Nothing of the crawl has the yielded object any more, only a spider that keeps it.
REPLACED = {"yielded": "only an item that pipelines return is changed where the spider has it"}


class ReturnNone:
    def process_item(self, item: Any) -> Any:
        item["lost"] = True


class ReplaceNone:
    """A pipeline behind one that forgot its ``return``."""

    def process_item(self, item: Any) -> Any:
        return {"replaced": item is None}


class ToDataclass:
    def process_item(self, item: dict[str, Any]) -> Result:
        return Result(item["n"], item["word"])


class ToDict:
    def process_item(self, item: Any) -> dict[str, Any]:
        return {"text": item["word"], "number": item["n"]}


class ToOrderedDict:
    def process_item(self, item: dict[str, Any]) -> OrderedDict[str, Any]:
        return OrderedDict(reversed(item.items()))


class ToInner:
    """Returns one of its item's own parts."""

    def process_item(self, item: Any) -> WordData:
        item.word.length = 1
        return item.word


class ToText:
    """Returns what no exporter takes."""

    def process_item(self, item: dict[str, Any]) -> str:
        return f"{item['n']} {item['word']}"


class ShallowCopy:
    """The item that the spider yielded must stay as it was."""

    def process_item(self, item: Any) -> Any:
        changed = item.copy()
        changed["length"] = len(item["word"])
        return changed


class DeepCopy:
    def process_item(self, item: Any) -> Any:
        changed = copy.deepcopy(item)
        changed.tags.append("copied")
        changed.word = None
        return changed


class SameCopy:
    """Returns an equal copy, which is another object all the same."""

    def process_item(self, item: Any) -> Any:
        return dict(item)


CASES = [
    Case("returns_none", WordSpider, {ReturnNone: 300}, TEN, feed_lines=0, not_compared=REPLACED),
    Case(
        "returns_none_midway",
        WordSpider,
        {ReturnNone: 300, ReplaceNone: 400},
        TEN,
        not_compared=REPLACED,
    ),
    Case(
        "returns_none_to_the_reactor",
        WordSpider,
        {ReturnNone: 300},
        TEN,
        reactor_pipelines={ReplaceNone: 400},
        not_compared=REPLACED,
    ),
    Case("type_from_dict_to_dataclass", DictSpider, {ToDataclass: 300}, TEN),
    Case("type_from_item_to_dict", ItemSpider, {ToDict: 300}, TEN),
    Case("type_from_dict_to_ordered_dict", DictSpider, {ToOrderedDict: 300}, TEN),
    Case("type_from_item_to_its_part", NestedSpider, {ToInner: 300}, TEN, not_compared=REPLACED),
    Case("type_that_no_feed_takes", DictSpider, {ToText: 300}, TEN, feed_lines=0),
    Case("returns_a_shallow_copy", ItemSpider, {ShallowCopy: 300}, Expected(scraped=10)),
    Case("returns_a_deep_copy", DataSpider, {DeepCopy: 300}, TEN),
    Case("returns_an_equal_copy", DictSpider, {SameCopy: 300}, TEN),
]
