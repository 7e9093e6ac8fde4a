"""The garbage of pages does not wait for long, and the application's collector stays its own."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from scrapy.http import HtmlResponse, Response, TextResponse
from twisted.python.failure import Failure

from scrapy_mpworkers.crawl.collector import PageCollector, thawed


class Page:
    """Refers to itself, as a response does with its selector."""

    def __init__(self) -> None:
        self.selector = self


@pytest.fixture(autouse=True)
def _collector_is_as_it_was() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.enable()
    gc.freeze()  # as the tests begin


def pages_left(count: int) -> int:
    collector = PageCollector()
    collector.begin()
    pages: weakref.WeakSet[Page] = weakref.WeakSet()
    for _ in range(count):
        pages.add(Page())
        collector.response_is_done(pages)
    collector.end()
    return len(pages)


def test_pages_are_collected_soon() -> None:
    assert pages_left(1000) < 100


def parsed(number: int) -> HtmlResponse:
    """A response whose selector has been used."""
    response = HtmlResponse(f"https://example.com/{number}", body=b"<title>One</title>")
    assert response.css("title::text").get() == "One"
    return response


def test_pages_that_nobody_refers_to_need_no_collector() -> None:
    gc.disable()
    collector = PageCollector()
    pages: weakref.WeakSet[Response] = weakref.WeakSet()
    for number in range(100):
        page = parsed(number)
        pages.add(page)
        collector.response_is_done(page)
    del page
    collector.end()

    assert len(pages) < 20


@pytest.mark.parametrize("kept", ["page", "selector"])
def test_what_somebody_refers_to_is_left_as_it_is(kept: str) -> None:
    collector = PageCollector()
    page = parsed(0)
    selector: Any = page.selector
    held, identity = (page if kept == "page" else selector), (id(page), id(selector))
    collector.response_is_done(page)
    del page, selector
    for number in range(1, 100):
        collector.response_is_done(parsed(number))
    collector.end()

    page = held if kept == "page" else held.response
    assert (id(page), id(page.selector)) == identity


def test_pages_without_selectors_and_failures() -> None:
    collector = PageCollector()
    pages: weakref.WeakSet[Any] = weakref.WeakSet()
    for page in [
        Response("https://example.com"),
        TextResponse("https://example.com"),
        Failure(OSError()),
    ]:
        pages.add(page)
        collector.response_is_done(page)
    del page
    for number in range(100):
        collector.response_is_done(parsed(number))

    assert not pages


def test_a_collector_that_is_switched_off_stays_so() -> None:
    gc.disable()

    assert pages_left(200) == 200
    assert not gc.isenabled()


def test_what_was_there_is_spared_until_the_crawl_ends() -> None:
    collector = PageCollector()

    collector.begin()
    frozen = gc.get_freeze_count()
    collector.end()

    assert frozen > 1000
    assert gc.get_freeze_count() == 0


def test_one_crawl_at_a_time_spares_it() -> None:
    first, second = PageCollector(), PageCollector()
    first.begin()
    frozen = gc.get_freeze_count()

    second.begin()
    second.end()
    between = gc.get_freeze_count()
    first.end()

    assert frozen - 100 < between <= frozen  # a few have ended meanwhile
    assert gc.get_freeze_count() == 0


def test_what_the_application_has_frozen_stays_frozen() -> None:
    gc.freeze()
    before = PageCollector()
    before.begin()
    before.end()
    assert gc.get_freeze_count() > 0

    gc.unfreeze()
    meanwhile = PageCollector()
    meanwhile.begin()
    kept = [[] for _ in range(1000)]
    gc.freeze()
    meanwhile.end()
    assert gc.get_freeze_count() > len(kept)


def test_a_look_at_all_objects_leaves_what_a_crawl_has_frozen_to_the_crawl() -> None:
    collector = PageCollector()
    collector.begin()
    younger = [[] for _ in range(1000)]
    with thawed():
        between = gc.get_freeze_count()
    frozen = gc.get_freeze_count()
    collector.end()

    assert between == 0
    assert frozen > len(younger)
    assert gc.get_freeze_count() == 0


def test_a_look_at_all_objects_leaves_what_the_application_has_frozen_to_it() -> None:
    gc.freeze()
    with thawed():
        pass
    collector = PageCollector()
    collector.begin()
    collector.end()

    assert gc.get_freeze_count() > 0
