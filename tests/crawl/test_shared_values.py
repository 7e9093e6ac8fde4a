"""What a request shares with others, found by the references to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scrapy import Request

from scrapy_mpworkers.crawl.shared_values import SharedValues

URL = "http://site.test/"
PLACE = ("cb_kwargs", "item")


def test_what_only_the_request_has_is_not_shared() -> None:
    request = Request(URL, cb_kwargs={"item": {}, "n": 1, "words": ["a"]}, meta={"note": []})

    assert SharedValues().of("page", request) == ()


def test_one_object_of_two_requests_is_shared() -> None:
    item: dict[str, Any] = {"left": 2}
    requests = [Request(URL, cb_kwargs={"item": item}) for _ in range(2)]
    del item
    shared = SharedValues()

    assert shared.of("page", requests[0]) == (PLACE,)
    assert shared.are_shared("page", requests[0], PLACE)


def test_what_nobody_can_change_is_not_shared() -> None:
    words = ("a", "b")

    assert SharedValues().of("page", Request(URL, meta={"words": words})) == ()


def test_the_next_request_of_a_chain_shares_by_chance_and_is_asked_once() -> None:
    first = Request(URL, meta={"item": {}})
    shared = SharedValues()
    shared.begins_here(first)
    second = Request(URL, meta=first.meta)

    assert shared.of("page", second) == (("meta", "item"),)
    assert not shared.are_shared("page", second, ("meta", "item"))
    assert shared.of("page", second) == ()
    assert shared.of("other", second) == (("meta", "item"),)


def test_a_generator_that_has_not_gone_on_yet_shares_by_chance() -> None:
    def parse() -> Iterator[Request]:
        item = {"n": 1}
        yield Request(URL, cb_kwargs={"item": item})

    running = parse()
    request = next(running)
    shared = SharedValues()

    assert shared.of("page", request) == (PLACE,)
    assert not shared.are_shared("page", request, PLACE)
