"""Which callbacks a name, a mark or True stands for."""

from __future__ import annotations

from typing import Any

import pytest
from scrapy import Request, Spider
from scrapy.spiders import CrawlSpider, CSVFeedSpider, Rule, XMLFeedSpider

from scrapy_mpworkers import in_worker
from scrapy_mpworkers.callbacks import (
    BY_MARK,
    BY_NAME,
    ONE_OF_ALL,
    Choice,
    chosen,
    has_marks,
    is_generator,
    not_there,
    shown,
)
from scrapy_mpworkers.crawl.homecomers import Homecomers
from scrapy_mpworkers.crawl.shared_values import SharedValues


class Base(Spider):
    name = "base"

    def parse(self, response: Any) -> None: ...

    @in_worker
    def heavy(self, response: Any) -> str:
        return f"heavy {response}"


class Derived(Base):
    def light(self, response: Any) -> None: ...


class Unbound:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of context")


class HasProxy(Base):
    app = Unbound()


def test_an_attribute_that_lets_nobody_look_bears_no_mark() -> None:
    assert has_marks(HasProxy)
    assert chosen(HasProxy, (), ()) == {"heavy": BY_MARK}


def test_a_marked_method_stays_the_method_that_it_is() -> None:
    assert Base().heavy("as ever") == "heavy as ever"
    assert Base.heavy.__name__ == "heavy"


def test_marks_are_seen_in_subclasses() -> None:
    assert has_marks(Derived)
    assert not has_marks(Spider)
    assert Choice(Derived(), ()).is_wanted("heavy", None)
    assert not Choice(Derived(), ()).is_wanted("light", None)


def test_a_method_that_replaces_a_marked_one_has_no_mark() -> None:
    class Replaced(Base):
        def heavy(self, response: Any) -> str:
            return "light"

    assert not Choice(Replaced(), ()).is_wanted("heavy", None)


@pytest.mark.parametrize(
    "written", ["light", f"{__name__}.Derived.light", f"{__name__}.Base.light"]
)
def test_names_alone_or_behind_the_class_or_one_of_its_bases(written: str) -> None:
    choice = Choice(Derived(), [written])

    assert choice.is_wanted("light", None)
    assert not choice.is_wanted("parse", None)
    assert not_there(Derived, [written]) == []


def test_names_of_other_spiders_and_of_nothing() -> None:
    names = ["myproject.Other.light", "parse_artcle"]

    assert not Choice(Derived(), names).is_wanted("light", None)
    assert not_there(Derived, [*names, "light"]) == [
        (f"MPWORKERS_CALLBACKS lists {name}, but Derived has no such method", "") for name in names
    ]
    assert not_there(Derived, True) == []


@pytest.mark.parametrize(
    ("written", "likely"),
    [
        ("ligth_pages", ""),
        ("lihgt", ""),  # as like as two names that are both right
        ("heavyy", "heavy"),
        ("self.light", "light"),
        ("Derived.light", "light"),
        ("Base.heavy", "heavy"),
        (f"{__name__}.Derived.heavyy", "heavy"),
        ("Other.light", ""),
        ("erived.light", ""),
    ],
)
def test_a_name_that_is_likely_a_slip_is_told_with_the_one_that_was_meant(
    written: str, likely: str
) -> None:
    (absent,) = not_there(Derived, [written])

    assert absent.likely == likely
    assert absent.line.endswith(f"no such method. Did you mean {likely}?") == bool(likely)


def test_a_name_is_no_slip_of_one_that_is_listed_as_well() -> None:
    assert [absent.likely for absent in not_there(Derived, ["heavy", "heavyy"])] == [""]


def test_each_callback_is_chosen_for_a_reason() -> None:
    names = [f"{__name__}.Base.light", f"{__name__}.Derived.light", "parse", "myproject.Other.x"]

    assert chosen(Derived, names, ["other"]) == {
        "light": BY_NAME,
        "parse": BY_NAME,
        "heavy": BY_MARK,
    }
    assert chosen(Derived, True, ["parse", "heavy"]) == {"parse": ONE_OF_ALL, "heavy": BY_MARK}
    assert chosen(Base, False, ["parse"]) == {"heavy": BY_MARK}
    assert chosen(Spider, (), ["parse"]) == {}


def test_all() -> None:
    choice = Choice(Derived(), True)

    assert all(choice.is_wanted(name, None) for name in ("_parse", "light", "heavy"))


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Spider, "parse"),
        (XMLFeedSpider, "parse_node"),
        (CSVFeedSpider, "parse_row"),
        (CrawlSpider, "parse_start_url"),
    ],
)
def test_methods_that_scrapys_own_spiders_call_stand_for_the_whole(
    cls: type[Spider], name: str
) -> None:
    assert Choice(cls(name="its"), [name]).is_wanted("_parse", None)


def test_a_rule_runs_in_a_worker_if_its_callback_does() -> None:
    choice = Choice(Derived(), ["light"])

    assert choice.is_wanted("_callback", "light")
    assert not choice.is_wanted("_callback", "parse")


def test_a_callback_that_cannot_run_in_a_worker_stays() -> None:
    choice = Choice(Derived(), True)

    choice.stays["light"] = "it yields a lock"

    assert not choice.is_wanted("light", None)
    assert choice.is_wanted("heavy", None)


class Shapes(CrawlSpider):
    name = "shapes"

    def generator(self, response: Any, n: int = 0) -> Any:
        yield n

    async def async_generator(self, response: Any) -> Any:
        yield 1

    async def coroutine(self, response: Any) -> None: ...

    def plain(self, response: Any) -> list[int]:
        return [1]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("generator", {}, True),
        ("generator", {"n": 1}, True),
        ("generator", {"unknown": 1}, False),
        ("async_generator", {}, True),
        ("coroutine", {}, False),
        ("plain", {}, False),
        ("_parse", {}, True),
        ("_callback", {}, True),
        ("_errback", {}, True),
    ],
)
def test_calls_that_do_nothing_yet(name: str, arguments: dict[str, Any], expected: bool) -> None:
    assert is_generator(Shapes(), name, arguments) is expected


def test_the_callback_by_default_is_the_one_that_it_calls() -> None:
    class Yields(Spider):
        name = "yields"

        def parse(self, response: Any) -> Any:
            yield 1

    assert is_generator(Yields(), "_parse", {})
    assert not is_generator(Base(), "_parse", {})
    assert not is_generator(Spider("bare"), "_parse", {})


def test_the_callback_by_default_is_shown_as_the_one_that_it_calls() -> None:
    assert shown(Base(), "_parse") == "parse"
    assert shown(Shapes(), "_parse") == "_parse"
    assert shown(Base(), "heavy") == "heavy"


class Feed(XMLFeedSpider):
    name = "feed"

    def parse_node(self, response: Any, selector: Any) -> None: ...


class Ruled(CrawlSpider):
    name = "ruled"
    rules = (Rule(callback="parse_item"), Rule(callback="parse_shop"), Rule())

    def parse_item(self, response: Any) -> None: ...

    def parse_shop(self, response: Any) -> None: ...

    def parse_start_url(self, response: Any, **kwargs: Any) -> Any: ...


def test_what_scrapy_calls_for_the_user_is_shown_instead_of_the_caller() -> None:
    def by_rule(index: Any) -> str:
        return shown(Ruled(), "_callback", Request("data:,", meta={"rule": index}))

    assert shown(Feed(), "_parse") == "parse_node"
    assert shown(Ruled(), "_parse") == "parse_start_url"
    assert [by_rule(index) for index in (0, 1)] == ["parse_item", "parse_shop"]
    assert [by_rule(index) for index in (2, 3, -1, None, "0")] == ["_callback"] * 5
    assert shown(Ruled(), "_callback") == "_callback"


def test_a_callback_of_one_rule_that_comes_home_does_not_bring_those_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    choice = Choice(spider := Ruled(), True)
    request = Request("data:,", meta={"rule": 0})

    for _ in range(2):
        homecomers = Homecomers(spider, choice, SharedValues())
        homecomers.stays("_callback", request, "it yields a lock")

    line = "The callback parse_item runs in Scrapy's own process from now on: it yields a lock"
    assert [record.getMessage() for record in caplog.records] == [line]
    assert not choice.is_wanted("_callback", "parse_item")
    assert choice.is_wanted("_callback", "parse_shop")


def test_what_scrapy_calls_it_from_stays_with_it() -> None:
    choice = Choice(Derived(), True)

    choice.stays |= {"parse": "it counts", "light": "it counts, too"}

    assert not choice.is_wanted("_parse", None)
    assert not choice.is_wanted("_callback", "light")
    assert choice.is_wanted("_callback", "heavy")
