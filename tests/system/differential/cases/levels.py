"""Several levels: every order of them, what travels between them, and state that stays right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any

from scrapy.exceptions import DropItem
from scrapy.http import Response, TextResponse

from scrapy_mpworkers import BatchMixin

from ..case import Case, Expected
from .kinds import TEN
from .spiders import WORDS, WordSpider


class Step:
    """Signs the item, so that the order shows; drops one and fails with another."""

    first = -1

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item.setdefault("path", []).append(type(self).__name__)
        if item["n"] == self.first:
            raise DropItem(f"{type(self).__name__} drops {item['n']}")
        if item["n"] == self.first + 1:
            raise ValueError(f"{type(self).__name__} fails with {item['n']}")
        return self.change(item)

    def change(self, item: dict[str, Any]) -> dict[str, Any]:
        return item


class Enlarges(Step):
    first = 0

    def change(self, item: dict[str, Any]) -> dict[str, Any]:
        item["text"] = item["word"] * 100
        return item


class Reorders(Step):
    """The same fields in another order, and one of them under another name."""

    first = 2

    def change(self, item: dict[str, Any]) -> dict[str, Any]:
        item["id"] = item.pop("n")
        for name in sorted(item, reverse=True):
            item[name] = item.pop(name)
        item["n"] = item["id"]
        return item


class Shrinks(Step):
    first = 4

    def change(self, item: dict[str, Any]) -> dict[str, Any]:
        item["length"] = len(item.pop("text"))
        return item


class Shouts(Step):
    first = 6

    def change(self, item: dict[str, Any]) -> dict[str, Any]:
        item["word"] = item["word"].upper()
        return item


class Shouting(Shouts):
    first = -9


STEPS = (Enlarges, Reorders, Shrinks, Shouts)
SIDES = ("reactor", "one", "two")


def order_case(places: Sequence[str]) -> Case:
    """Each step at its place: on the reactor, or at one of two levels."""
    found: dict[str, dict[Any, int | None]] = {side: {} for side in SIDES}
    for number, (step, side) in enumerate(zip(STEPS, places, strict=False)):
        found[side][step] = 100 * number
    submitted, position = 0, 0
    for side, run in groupby(places):
        if side != "reactor":
            submitted += 10 - 2 * position  # each step before has lost two
        position += len(list(run))
    return Case(
        f"levels_{'_'.join(places)}",
        WordSpider,
        {},
        Expected(10 - 2 * len(places), len(places), len(places)),
        reactor_pipelines=found["reactor"],
        levels=[{"name": side, "pipelines": found[side]} for side in SIDES[1:] if found[side]],
        submitted=submitted,
        workers=1,
        alike=True,
    )


ORDERS = [
    order_case(places)
    for length in range(1, 5)
    for places in product(SIDES, repeat=length)
    if set(places) - {"reactor"}
]


@dataclass
class Word:
    n: int
    word: str
    notes: list[str] = field(default_factory=list)


class ToWord:
    """Another type, as a whole."""

    def process_item(self, item: dict[str, Any]) -> Word:
        return Word(item["n"], item["word"], ["made"])


class Annotates:
    def process_item(self, item: Word) -> Word:
        item.notes.append(f"{item.word} at another level")
        return item


class ResponseSpider(WordSpider):
    def make(self, n: int) -> Any:
        page = TextResponse(f"http://words.test/{n}", body=WORDS[n].encode(), encoding="utf-8")
        return {"n": n, "page": page, "again": [page]}


class ReadsPage:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["text"] = item["page"].text
        item["is_one"] = item["again"][0] is item["page"]
        return item


class ReadsPageAgain(ReadsPage):
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["length"] = len(item["page"].body)
        item["same"] = isinstance(item.pop("again")[0], Response)
        return item


class DropsPages(ReadsPage):
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["dropped_here"] = True
        raise DropItem(item["page"].url)


def local_class() -> type:
    @dataclass
    class Local:
        n: int
        word: str

    return Local


Local = local_class()


class LocalSpider(WordSpider):
    def make(self, n: int) -> Any:
        return Local(n, WORDS[n])


class Wraps:
    """What only Scrapy's process can open: an object of a class that crossed by value."""

    def process_item(self, item: Any) -> dict[str, Any]:
        return {"n": item.n, "inner": item}


class Unwraps:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        inner = item.pop("inner")
        item["word"] = inner.word
        return item


class SiteSpider(WordSpider):
    """Thirty items of three sites, with words that come again."""

    async def start(self) -> Any:
        for n in range(30):
            yield {"n": n, "site": f"site{n % 3}", "word": WORDS[n * 7 % 10]}


class DropsSeen:
    """Remembers: right only where the same words meet the same worker, in order."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["word"] in self.seen:
            raise DropItem(f"{item['n']}: {item['word']} is known")
        self.seen.add(item["word"])
        return item


class Numbers:
    """What a writer of one file does, for a feed to show: lines in the order they came."""

    def __init__(self) -> None:
        self.count = 0

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        item["line"] = self.count
        return item


class NumbersOfSites(Numbers):
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        self.counts[item["site"]] = item["line"] = self.counts.get(item["site"], 0) + 1
        return item


def site_of(item: Any) -> tuple[str, int]:
    return item["site"], len(item["site"])


class StoresBatches(BatchMixin):
    """Drops, fails, and raises as a whole for the sake of one."""

    def process_batch(self, items: list[dict[str, Any]]) -> list[Any]:
        return [self.end_of(item) for item in items]

    def end_of(self, item: dict[str, Any]) -> Any:
        item["stored"] = True
        if item["n"] == 2:
            return DropItem("not wanted")
        if item["n"] == 5:
            return ValueError("bad row")
        return item


class RaisesForOne(StoresBatches):
    def end_of(self, item: dict[str, Any]) -> Any:
        item["tries"] = item.get("tries", 0) + 1
        if item["n"] == 7:
            raise LookupError("one bad row")
        return item


class StoresLater(BatchMixin):
    async def process_batch(self, items: list[dict[str, Any]]) -> list[Any]:
        for item in items:
            item["by"] = "a coroutine"
        return items


class RenewsAll(StoresLater):
    def process_batch(self, items: list[dict[str, Any]]) -> Any:
        return tuple({"renewed": True, **item} for item in items)


def two_levels(first: Any, second: Any, **options: Any) -> Sequence[Mapping[str, Any]]:
    return [
        {"name": "first", "pipelines": dict.fromkeys(first, 100)},
        {"name": "second", "pipelines": dict.fromkeys(second, 200), **options},
    ]


SOLO = {"workers": 1}
CASES = [
    Case(
        "levels_and_another_type",
        WordSpider,
        {},
        TEN,
        levels=two_levels([ToWord], [Annotates]),
        submitted=20,
    ),
    Case(
        "levels_and_responses",
        ResponseSpider,
        {},
        TEN,
        levels=two_levels([ReadsPage], [ReadsPageAgain]),
        submitted=20,
    ),
    Case(
        "levels_and_dropped_responses",
        ResponseSpider,
        {},
        Expected(dropped=10),
        levels=two_levels([ReadsPage], [DropsPages]),
        submitted=20,
    ),
    Case(
        "levels_and_what_only_scrapy_can_open",
        LocalSpider,
        {},
        TEN,
        levels=two_levels([Wraps], [Unwraps]),
        submitted=20,
    ),
    Case(
        "dedupe_by_one_worker",
        SiteSpider,
        {},
        Expected(scraped=10, dropped=20),
        levels=[{"name": "dedupe", "pipelines": {DropsSeen: 1}, "workers": 1}],
    ),
    Case(
        "dedupe_by_key",
        SiteSpider,
        {},
        Expected(scraped=10, dropped=20),
        levels=[{"name": "dedupe", "pipelines": {DropsSeen: 1}, "key": "word", "workers": 2}],
    ),
    Case(
        "one_writer_by_one_worker",
        SiteSpider,
        {},
        Expected(scraped=30),
        levels=[{"name": "write", "pipelines": {Numbers: 1}, "workers": 1}],
    ),
    Case(
        "writers_by_key_function",
        SiteSpider,
        {},
        Expected(scraped=30),
        levels=[
            {"name": "write", "pipelines": {NumbersOfSites: 1}, "key": site_of, "workers": 2},
        ],
    ),
    Case(
        "key_of_what_the_level_before_has_made",
        SiteSpider,
        {},
        Expected(scraped=30),
        levels=[
            {"name": "shout", "pipelines": {Shouting: 1}, "workers": 1},
            {
                "name": "write",
                "pipelines": {NumbersOfSites: 2},
                "key": f"{__name__}.site_of",
                "workers": 2,
            },
        ],
        submitted=60,
    ),
    Case(
        "batches",
        WordSpider,
        {},
        Expected(scraped=8, dropped=1, failed=1),
        levels=[{"name": "store", "pipelines": {StoresBatches: 1}, "batch_size": 4, **SOLO}],
    ),
    Case(
        "batches_one_of_which_raises",
        WordSpider,
        {},
        Expected(scraped=9, failed=1),
        levels=[{"name": "store", "pipelines": {RaisesForOne: 1}, "batch_size": 4, **SOLO}],
        not_compared={"logs": "the warning that a batch is tried one by one"}
        | {"log_templates": "likewise", "stats": "its count"},
    ),
    Case(
        "batches_and_other_objects",
        WordSpider,
        {},
        TEN,
        levels=[{"name": "store", "pipelines": {RenewsAll: 1}, "batch_size": 4, **SOLO}],
    ),
    Case(
        "batches_between_other_pipelines",
        WordSpider,
        {},
        Expected(scraped=6, dropped=2, failed=2),
        levels=[
            {
                "name": "store",
                "pipelines": {Enlarges: 1, StoresLater: 2, Shouts: 3},
                "batch_size": 3,
                "batch_seconds": 0.05,
            }
        ],
    ),
]
