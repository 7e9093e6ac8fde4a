"""Which callbacks are left out of all, and which are warned of, when a crawl begins."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from scrapy import Spider
from scrapy.utils.test import get_crawler

from scrapy_mpworkers import in_worker
from scrapy_mpworkers.callbacks import Choice
from scrapy_mpworkers.crawl.callback_check import Judge, judge_callbacks
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.crawl import Placement

FOUR, ONE, NONE = Placement(workers=4), Placement(workers=1), Placement(workers=0)


class Shop(Spider):
    name = "shop"
    count = 0
    titles: list[str] = []

    def parse(self, response: Any) -> Any:
        self.count += 1
        yield response.follow("/a", self.parse_product)
        yield response.follow("/b", self.counted)
        yield {"n": self.count}

    def parse_product(self, response: Any) -> Any:
        yield {"title": response.css("h1::text").get(), "by": self.browser}  # type: ignore[attr-defined]

    @in_worker
    def counted(self, response: Any) -> None:
        self.titles.append(response.url)

    def closed(self, reason: str) -> None:
        self.logger.info(len(self.titles))


def judged(wanted: Any, placement: Placement, browser: object = "none") -> Choice:
    spider = Shop()
    spider.browser = browser  # type: ignore[attr-defined]
    choice = Choice(spider, wanted)
    codec = ParentCodec({"spider": spider})
    effects = EffectsSink(get_crawler(Shop), codec)
    judge_callbacks(spider, choice, wanted, placement, codec, effects)
    return choice


@pytest.mark.parametrize("placement", [FOUR, ONE, NONE], ids=["four", "one", "none"])
def test_of_all_what_keeps_something_is_left_out_however_many_workers_there_are(
    placement: Placement, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "scrapy_mpworkers")

    choice = judged(True, placement)

    why = "it keeps self.count from page to page"
    assert choice.stays == {"parse": why}
    said = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert said == [
        "Enabled worker callbacks: parse_product, counted",
        f"The callback parse stays in Scrapy's own process: {why}",
    ]


def test_what_cannot_be_sent_is_found_in_the_spider_itself() -> None:
    choice = judged(True, ONE, browser=threading.Lock())

    assert list(choice.stays) == ["parse", "parse_product"]
    assert (
        "self.browser, which fails in a worker: it cannot be sent" in choice.stays["parse_product"]
    )


@pytest.mark.parametrize(
    ("wanted", "starts"),
    [
        ((), ["Shop.counted changes self.titles"]),
        (True, ["Shop.counted changes self.titles"]),
        (["parse"], ["Shop.parse keeps self.count", "Shop.counted changes self.titles"]),
        (["parse_product"], ["Shop.counted changes self.titles"]),
    ],
)
def test_what_is_named_or_marked_is_warned_of(
    wanted: Any, starts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    choice = judged(wanted, FOUR)

    lines = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "counted" not in choice.stays
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"{__name__}.{start}")
        way = "take its mark @in_worker away" if ".counted " in line else "take it out of MPW"
        assert way in line


def test_nothing_is_warned_of_without_workers(caplog: pytest.LogCaptureFixture) -> None:
    judged(["parse"], NONE)

    assert caplog.records == []


def test_an_inspection_that_fails_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("scrapy_mpworkers.lint.callbacks.SpiderSource", broken)

    choice = judged(["parse", "parse_product"], FOUR)

    assert choice.stays == {}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "Shop could not be inspected (RecursionError: too deep)" in line


def test_a_check_sees_what_the_crawl_sees_without_a_spider() -> None:
    found = Judge(Shop, True, FOUR).judged()

    assert [(one.name, bool(one.stays), len(one.warnings)) for one in found] == [
        ("parse", True, 0),
        ("parse_product", False, 0),
        ("counted", False, 1),
    ]
