"""Several pipelines, on both sides of the process boundary, in one order."""

from __future__ import annotations

from typing import Any

from scrapy.exceptions import DropItem

from ..case import Case, Expected
from .kinds import TEN, Measure
from .outputs import Result, ToDataclass
from .spiders import WordSpider


class Step:
    """Signs the item, so that the order shows."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item.setdefault("path", []).append(type(self).__name__)
        return item


class A(Step):
    pass


class B(Step):
    pass


class C(Step):
    pass


class D(Step):
    pass


class E(Step):
    pass


class Renewed(Step):
    """A reactor pipeline that passes on another object than it got."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        return super().process_item({"renewed": True, **item, "path": list(item["path"])})


class LosesTwo(Step):
    first = 0

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        super().process_item(item)
        if item["n"] == self.first:
            raise DropItem(f"{type(self).__name__} drops {item['n']}")
        if item["n"] == self.first + 1:
            raise ValueError(f"{type(self).__name__} fails {item['n']}")
        return item


class LosesFirst(LosesTwo):
    first = 2


class LosesOnTheReactor(LosesTwo):
    first = 4


class LosesLast(LosesTwo):
    first = 6


class Enlarge:
    """Adds a value that is worth not sending twice."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["text"] = item["word"] * 10_000
        return item


class Shrink:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["length"] = len(item["text"])
        del item["text"]
        return item


class ReadResult:
    def process_item(self, item: Result) -> Result:
        item.text = f"{item.number}: {item.text}"
        return item


class ReadResultOnTheReactor(ReadResult):
    pass


CASES = [
    Case("several_pipelines_in_one_hop", WordSpider, {C: 300, A: 100, B: 200}, TEN),
    Case(
        "pipelines_by_path_and_disabled",
        WordSpider,
        {f"{__name__}.B": 200, f"{__name__}.A": 100, C: None},
        TEN,
        reactor_pipelines={D: None},
    ),
    Case(
        "two_hops_with_a_reactor_pipeline_between",
        WordSpider,
        {B: 200, C: 300, E: 500},
        TEN,
        reactor_pipelines={A: 100, D: 400},
        submitted=20,
    ),
    Case(
        "two_hops_and_another_object_between",
        WordSpider,
        {B: 200, E: 500},
        TEN,
        reactor_pipelines={Renewed: 400},
        submitted=20,
    ),
    Case(
        "two_hops_with_losses_everywhere",
        WordSpider,
        {LosesFirst: 100, C: 200, LosesLast: 500},
        Expected(scraped=4, dropped=3, failed=3),
        reactor_pipelines={LosesOnTheReactor: 400},
        submitted=10 + 6,
    ),
    Case(
        "two_hops_and_a_big_value",
        WordSpider,
        {Enlarge: 100, Shrink: 300},
        TEN,
        reactor_pipelines={Measure: 200},
        submitted=20,
    ),
    Case(
        "two_hops_and_another_type",
        WordSpider,
        {ToDataclass: 100, ReadResult: 300},
        TEN,
        reactor_pipelines={ReadResultOnTheReactor: 200},
        submitted=20,
    ),
]
