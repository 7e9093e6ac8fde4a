"""What the source of a spider tells of its callbacks: which they are, what they touch and keep."""

from __future__ import annotations

from typing import Any

import pytest

from scrapy_mpworkers.lint import (
    Kind,
    Report,
    callback_warnings,
    callbacks_of,
    failure_lines,
    inspect_spider,
    why_at_home,
)
from scrapy_mpworkers.wire.crawl import Placement

from .spiders import clean, failing, keeping, named

FOUR, ONE, NONE = Placement(workers=4), Placement(workers=1), Placement(workers=0)
OUT = "take it out of MPWORKERS_CALLBACKS"


def spiders(module: Any) -> list[type]:
    return [
        one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
    ]


def report(cls: type, name: str = "parse") -> Report:
    found = inspect_spider(cls, [name])[name]
    assert found.error == ""
    return found


def kept(cls: type, *names: str) -> dict[str, dict[str, tuple[str, ...]]]:
    reports = inspect_spider(cls, names or ("parse",))
    return {
        name: {finding.kind.value: finding.names for finding in one.findings}
        for name, one in reports.items()
    }


# Which they are


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (named.ByRequests, ["first", "second", "third", "by_table", "logged_in", "failed"]),
        (named.ByName, ["parse", "parse_other"]),
        (named.Inherits, ["parse", "parse_of_base"]),
        (named.ByRules, ["item", "other", "failed", "parse_start_url"]),
        (named.ByItsName, ["at_list", "at_page"]),
        (named.BySitemap, ["product", "parse"]),
        (named.ByFeed, ["parse_node"]),
    ],
)
def test_callbacks_are_told_from_other_methods(cls: type, names: list[str]) -> None:
    assert list(callbacks_of(cls)) == names


def test_a_spider_without_source_has_none_that_are_known() -> None:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec("import scrapy\nclass Made(scrapy.Spider):\n  def parse(self, response): ...", namespace)

    assert callbacks_of(namespace["Made"]) == ()
    assert report(namespace["Made"]).unread == ("Made",)


# What is right


@pytest.mark.parametrize("cls", spiders(clean), ids=lambda cls: cls.__name__)
def test_nothing_is_said_of_callbacks_that_are_right(cls: type) -> None:
    names = [name for name in callbacks_of(cls) if (cls, name) != (clean.AskedAtHome, "parse")]
    assert names

    for name, one in inspect_spider(cls, names).items():
        assert (one.findings, one.failures, one.error) == ((), (), "")
        assert callback_warnings(one, FOUR, name, OUT) == []
        assert failure_lines(one, FOUR, name, OUT) == []
        assert why_at_home(one, FOUR) == ""


@pytest.mark.parametrize(
    ("cls", "name", "touched"),
    [
        (clean.Quotes, "parse", []),
        (clean.AsksByName, "parse", ["spider.fields", "spider.limit"]),
        (clean.Authors, "parse", ["spider.allowed", "spider.category", "spider.logger"]),
        (
            clean.Authors,
            "parse_author",
            ["engine.close_spider", "settings['STOP_EARLY']", "stats"],
        ),
    ],
)
def test_what_a_callback_touches_is_named(cls: type, name: str, touched: list[str]) -> None:
    assert list(report(cls, name).capabilities) == touched


# What it keeps


@pytest.mark.parametrize(
    ("cls", "kinds"),
    [
        (keeping.Counts, {"state": ("self.count",)}),
        (keeping.CountsFromNothing, {"state": ("self.count",)}),
        (keeping.Remembers, {"state": ("self.seen",)}),
        (keeping.Pages, {"state": ("self.page_number",)}),
        (keeping.InState, {"state": ("self.state",)}),
        (keeping.InGlobals, {"state": ("SEEN", "TOTAL")}),
        (keeping.TakesFromAList, {"state": ("self.todo",)}),
        (keeping.NumbersThem, {"state": ("self.numbers",)}),
        (keeping.ByAHelper, {"state": ("self.seen",)}),
        (keeping.ByAFunction, {"state": ("self.urls",)}),
        (keeping.ByAnObject, {"state": ("self.known.urls",)}),
        (keeping.TellsAtTheEnd, {"lost": ("self.titles",)}),
        (keeping.WritesRows, {"file": ("open('rows.csv', 'a')",)}),
        (keeping.Overwrites, {"file": ("open('last.html', 'wb')",)}),
        (keeping.Caches, {"cache": ("self.hosts",)}),
        (keeping.ByALinkFilter, {"state": ("self.seen",)}),
        (keeping.ByAResultFilter, {"state": ("self.count",)}),
    ],
)
def test_what_a_callback_keeps_is_named(cls: type, kinds: dict[str, tuple[str, ...]]) -> None:
    assert kept(cls) == {"parse": kinds}


def test_what_other_callbacks_read_counts_by_where_they_run() -> None:
    attributes = ("self.is_in", "self.token")

    assert kept(keeping.LogsIn, "after_login") == {"after_login": {"lost": attributes}}
    assert kept(keeping.LogsIn, "after_login", "parse_page") == {
        "after_login": {"state": attributes},
        "parse_page": {},
    }
    assert kept(keeping.LogsIn, "parse_page", "parse", "failed") == {
        "parse_page": {},
        "parse": {},
        "failed": {},
    }


# What would fail


@pytest.mark.parametrize(
    ("cls", "name", "what"),
    [
        (failing.Downloads, "parse", ["crawler.engine.download_async"]),
        (failing.DownloadsByDeferred, "parse", ["crawler.engine.download"]),
        (failing.Crawls, "parse", ["crawler.engine.crawl"]),
        (failing.LooksAtSlots, "parse", ["crawler.engine.downloader"]),
        (failing.AsksExtensions, "parse", ["crawler.extensions"]),
        (failing.CallsTheReactor, "parse", ["twisted.internet.reactor"]),
        (failing.CallsTheReactor, "parse_in_thread", ["twisted.internet.threads"]),
        (failing.ListensToItems, "parse", ["signals.item_scraped"]),
        (failing.ListensFromTheStart, "parse", []),
        (failing.AsksForTheCertificate, "parse", ["response.certificate"]),
        (failing.KeepsAFile, "parse", ["self.lock", "self.rows"]),
        (failing.KeepsAStore, "parse", ["self.store"]),
        (failing.KeepsAStoreThatCrosses, "parse", []),
        (failing.MakesItWhenItIsUsed, "parse", []),
        (failing.OnlyInTheOtherOne, "parse", []),
        (failing.OnlyInTheOtherOne, "parse_more", ["crawler.engine.crawl"]),
        (failing.CallsTheOtherOne, "parse", ["crawler.engine.crawl"]),
    ],
)
def test_what_no_worker_has_is_named(cls: type, name: str, what: list[str]) -> None:
    assert [failure.what for failure in report(cls, name).failures] == what


# What is said


@pytest.mark.parametrize(
    ("cls", "placement", "parts"),
    [
        (keeping.Counts, FOUR, ["keeps self.count from page to page", "the 4 workers"]),
        (keeping.Counts, ONE, []),
        (keeping.TellsAtTheEnd, ONE, ["changes self.titles", "stays there"]),
        (keeping.WritesRows, FOUR, ["writes by open('rows.csv', 'a')", "mixes its lines in"]),
        (keeping.WritesRows, ONE, []),
        (keeping.Overwrites, ONE, ["overwrites what the others write"]),
        (keeping.Caches, FOUR, []),
        (keeping.TellsAtTheEnd, NONE, []),
    ],
)
def test_a_line_says_what_it_keeps_and_the_ways_out(
    cls: type, placement: Placement, parts: list[str]
) -> None:
    lines = callback_warnings(report(cls), placement, "parse", OUT)

    assert len(lines) == bool(parts)
    for line in lines:
        assert line.startswith(f"{cls.__module__}.{cls.__qualname__}.parse ")
        assert line.endswith(f"; or {OUT}.")
        assert "Yield" in line
        assert "key" not in line
        assert all(part in line for part in parts)


@pytest.mark.parametrize(
    ("cls", "parts"),
    [
        (failing.Downloads, ["Use a request that it yields", f"; or {OUT}."]),
        (failing.AsksExtensions, ["only Scrapy's own process has it. Take it out of MPW"]),
        (failing.KeepsAFile, ["self.lock", "what threading.Lock() makes cannot be sent there"]),
    ],
)
def test_a_line_says_what_would_fail_and_the_ways_out(cls: type, parts: list[str]) -> None:
    first, *_ = failure_lines(report(cls), FOUR, "parse", OUT)

    for part in [f"{cls.__qualname__}.parse uses ", "failing.py:", "fails in a worker", *parts]:
        assert part in first
    assert failure_lines(report(cls), NONE, "parse", OUT) == []


@pytest.mark.parametrize(
    ("cls", "placement", "why"),
    [
        (failing.Crawls, FOUR, "it uses crawler.engine.crawl ("),
        (keeping.Remembers, FOUR, "it keeps self.seen from page to page"),
        (keeping.Remembers, ONE, ""),
        (keeping.TellsAtTheEnd, ONE, "it changes self.titles"),
        (keeping.Caches, FOUR, ""),
    ],
)
def test_why_a_callback_is_right_at_home(cls: type, placement: Placement, why: str) -> None:
    said = why_at_home(report(cls), placement)

    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_an_error_of_the_inspection_itself_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("scrapy_mpworkers.lint.callbacks.SpiderSource", broken)

    assert callbacks_of(clean.Quotes) == ()
    found = inspect_spider(clean.Quotes, ["parse"])["parse"]
    assert (found.error, found.findings) == ("RecursionError: too deep", ())
    assert found.of(Kind.STATE) == []
