"""What of a crawl is sent to workers, and who of them looks for pipelines that are wrong there."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from scrapy import Spider
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl.context import Carrier, CrawlContext
from scrapy_mpworkers.crawl.spider_attributes import SpiderAttributes
from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.settings import read_settings
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.crawl import Carried, Placement
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.arrivals import Arrivals


def test_the_first_workers_of_a_level_look_and_replacements_do_not() -> None:
    level = {"name": "compute", "workers": 2, "key": "n", "pipelines": {print_item: 300}}
    options = read_settings(Settings({"MPWORKERS_LEVELS": [level]}))
    crawler = get_crawler(Spider)
    crawler.spider = Spider("s")
    crossing = CrawlContext(crawler, options.levels, ())

    placements = [crossing._placement(0) for _ in range(4)]

    assert placements == [Placement(2, keyed=True), Placement(2, keyed=True), None, None]


def print_item(item: object) -> object:
    return item


lock = threading.Lock()


class HasTable(Spider):
    name = "has_table"
    TABLE = b"x" * 3_000_000


class Grumpy(Exception):  # noqa: N818  # it is raised by no program
    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


class RaisesGrumpy:
    def __reduce__(self) -> str:
        raise Grumpy from Grumpy()


class Counts:
    pickled = 0

    def __deepcopy__(self, memo: object) -> Counts:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        Counts.pickled += 1
        return Counts, ()


def crossing_of(spider: Spider, **settings: object) -> CrawlContext:
    levels = read_settings(Settings({"MPWORKERS_PIPELINES": {print_item: 300}})).levels
    crawler = get_crawler(type(spider), settings)
    crawler.spider = spider
    return CrawlContext(crawler, levels, ())


def diamond() -> type[Spider]:
    class Top(Spider):
        gate = lock

    class Left(Top):
        gate = lock

    class Right(Top):
        gate = lock

    class Bottom(Left, Right):
        gate = lock

    return Bottom


def test_each_class_of_a_spider_has_a_token_of_its_own() -> None:
    codec = ParentCodec({})

    states = [Carrier(codec).spider(diamond()("s")).cls]
    for state in states:
        states += state.bases

    names = {state.token: state.name for state in states}
    assert len(names) == len(set(names.values()))
    assert {"Bottom", "Left", "Right", "Top", "Spider"} <= set(names.values())


def test_attribute_that_is_large_in_each_worker_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spider = Spider("s")
    spider.words = ["some"] * 1000  # type: ignore[attr-defined]
    spider.dump = b"x" * (18 << 20)  # type: ignore[attr-defined]
    context = crossing_of(spider)

    for _ in range(3):
        context.state(0)

    [text] = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert text.startswith("spider.dump has 18 MiB as a pickle, and is sent to each worker")
    assert "open_spider" in text


def test_attributes_of_a_class_that_workers_import_stay() -> None:
    frame = crossing_of(HasTable()).state(0)

    assert len(frame.data) < 100_000


def test_what_is_wrong_with_a_part_is_said_though_its_error_has_no_words() -> None:
    crossing = crossing_of(Spider("s"))

    carried = crossing._carrier.carry(RaisesGrumpy())

    assert carried == Carried(None, "Grumpy: <its __str__ raised RuntimeError>")
    with pytest.raises(UnpicklableError, match=r"Grumpy: <its __str__ raised RuntimeError>"):
        crossing._sendable(RaisesGrumpy())


def test_settings_are_pickled_once_however_many_workers_start() -> None:
    crossing = crossing_of(Spider("s"), COUNTS=Counts())

    Counts.pickled = 0
    for _ in range(3):
        crossing.state(0)

    assert Counts.pickled == 1


class WantsShelf(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> WantsShelf:
        if name == "Kept" and "shelf" not in body:
            raise LookupError("no shelf")
        return super().__new__(cls, name, bases, body)


class Shelved(Spider, metaclass=WantsShelf):
    pass


def test_a_class_whose_metaclass_wants_more_is_made_without_bases_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Kept(Shelved):
        shelf = "A"
        gate = lock

    state = Carrier(ParentCodec({})).spider(Kept("s")).cls
    with caplog.at_level("DEBUG", "scrapy_mpworkers.worker.arrivals"):
        made = Arrivals(WorkerCodec()).cls(state)

    assert issubclass(made, Spider)
    assert made.shelf == "A"
    assert caplog.messages == ["Kept is made in a worker without its bases: LookupError: no shelf"]


class Caches:
    """Caches on the spider while it is pickled, as a lazy property does."""

    def __init__(self, spider: Spider) -> None:
        self.spider = spider

    def __reduce__(self) -> tuple[type, tuple[()]]:
        setattr(self.spider, f"cached_{len(vars(self.spider))}", True)
        return object, ()


def test_a_spider_may_get_attributes_while_it_is_pickled() -> None:
    spider: Any = Spider("s")
    spider.first, spider.second = Caches(spider), Caches(spider)
    codec = ParentCodec({})

    sent = Carrier(codec).spider(spider).attributes
    followed = SpiderAttributes(spider, codec)
    spider.first, spider.second = Caches(spider), Caches(spider)
    changes = followed.changed()

    assert {"first", "second"} <= sent.keys()
    assert changes is not None
    assert {"first", "second"} <= changes[1].keys()
