"""``scrapy mpworkers check`` of callbacks: which run in workers, why, what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from lint.spiders import clean, failing, keeping
from scrapy import Spider
from scrapy.settings import Settings
from system.crawls.harness import Launcher

from scrapy_mpworkers import in_worker
from scrapy_mpworkers.commands.check import Check, check_settings
from scrapy_mpworkers.commands.findings import findings

from .test_check import check, listed

PIPELINE = "scrapy_mpworkers.batches.BatchMixin"


class Marked(Spider):
    name = "marked"

    @in_worker
    def parse(self, response: Any) -> None: ...

    def parse_other(self, response: Any) -> None: ...


def checked(cls: type[Spider], callbacks: Any = None, **settings: Any) -> Check:
    own = {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_WORKERS": 2,
        "MPWORKERS_CALLBACKS": callbacks,
    }
    return check_settings(Settings(own | settings), cls, settings.pop("spiders", ()))


def lines(cls: type[Spider], callbacks: Any = None, **settings: Any) -> list[str]:
    return findings(checked(cls, callbacks, **settings), "it").splitlines()[2:]


def words(cls: type[Spider], callbacks: Any = None, **settings: Any) -> str:
    return " ".join(" ".join(lines(cls, callbacks, **settings)).split())


def test_callbacks_are_printed_with_the_reason_and_what_they_touch() -> None:
    assert lines(clean.Authors, ["parse_author"]) == [
        "        callbacks: 2 workers",
        "          parse_author  named in MPWORKERS_CALLBACKS",
        "            touches     engine.close_spider, settings['STOP_EARLY'], stats",
        "            placement   as it is",
        "",
        "In a worker nothing would fail, 0 warnings.",
    ]


def test_they_come_behind_the_pipelines_with_their_level() -> None:
    levels = [
        {"name": "compute", "pipelines": {PIPELINE: 300}},
        {"name": "parse", "workers": 1, "pipelines": {"scrapy_mpworkers.batches.Other": 400}},
    ]
    found = lines(Marked, MPWORKERS_LEVELS=levels, MPWORKERS_CALLBACKS_LEVEL="parse")

    assert found[0] == "        hop 1: level compute, 2 workers"
    assert found[-6:] == [
        "        callbacks: level parse, 1 worker",
        "          parse  marked with @in_worker",
        "            touches     neither crawler nor spider",
        "            placement   as it is",
        "",
        "In a worker 1 would fail, 0 warnings.",  # the second pipeline, which is not there
    ]


def test_a_level_may_be_for_callbacks_alone() -> None:
    levels = [{"name": "parse", "workers": 1}, {"name": "compute", "pipelines": {PIPELINE: 300}}]

    for others in (levels[1:], []):
        settings = {"MPWORKERS_LEVELS": [levels[0], *others]}
        found = lines(Marked, MPWORKERS_CALLBACKS_LEVEL="parse", **settings)

        assert "        callbacks: level parse, 1 worker" in found
        assert found[-1] == "In a worker nothing would fail, 0 warnings."


def test_of_all_those_that_stay_are_told_with_the_reason() -> None:
    found = checked(keeping.LogsIn, True)
    text = words(keeping.LogsIn, True)

    assert (found.would_fail, found.warnings) == (0, 0)
    assert "parse MPWORKERS_CALLBACKS is True" in text
    why = "it keeps self.is_in and self.token from page to page"
    assert f"placement Scrapy's process, as {why}" in text
    assert text.count("placement as it is") == 3


def test_what_would_fail_counts_unless_it_stays() -> None:
    text = words(failing.Downloads, ["parse"])

    assert "touches engine.download_async" in text
    assert "would fail crawler.engine.download_async: only Scrapy's own process has it (" in text
    assert "placement Scrapy's process In a worker 1 would fail" in text
    assert checked(failing.Downloads, True).would_fail == 0
    assert "would fail crawler" not in words(failing.Downloads, True)


def test_what_a_callback_keeps_is_a_warning() -> None:
    text = words(keeping.Remembers, ["parse"])

    assert "warning lint.spiders.keeping.Remembers.parse keeps self.seen from page to page" in text
    assert text.endswith("placement Scrapy's process In a worker nothing would fail, 1 warning.")


def test_a_cache_is_no_warning() -> None:
    text = words(keeping.Caches, ["parse"])

    assert "cache self.hosts: each worker fills its own" in text
    assert text.endswith("placement as it is In a worker nothing would fail, 0 warnings.")


@pytest.mark.parametrize(
    ("cls", "settings", "is_said"),
    [
        (Spider, {}, True),
        (clean.Quotes, {}, True),
        (clean.Quotes, {"callbacks": True}, False),
        (clean.Quotes, {"callbacks": ["parse"]}, False),
        (clean.Quotes, {"callbacks": ["parse"], "MPWORKERS_ENABLED": False}, False),
        (Marked, {}, False),
        (Marked, {"MPWORKERS_ENABLED": False}, False),
        (Spider, {"spiders": [clean.Quotes, Marked]}, False),
        (Spider, {"spiders": [clean.Quotes]}, True),
        (Spider, {"MPWORKERS_PIPELINES": {PIPELINE: 300}}, False),
    ],
)
def test_there_are_no_workers_if_nothing_is_listed(
    cls: type[Spider], settings: dict[str, Any], is_said: bool
) -> None:
    assert ("so there are no workers" in "".join(checked(cls, **settings).failures)) == is_said


@pytest.mark.parametrize(
    ("cls", "spiders", "warning"),
    [
        (clean.Quotes, [], "MPWORKERS_CALLBACKS lists parse_author, but Quotes has no such method"),
        (clean.Authors, [], ""),
        (Spider, [clean.Quotes, clean.Authors], ""),
        (
            Spider,
            [clean.Quotes, Marked],
            "MPWORKERS_CALLBACKS lists parse_author, but no spider of the project has such a "
            "method",
        ),
    ],
)
def test_a_name_that_no_spider_has_is_a_warning(
    cls: type[Spider], spiders: list[type[Spider]], warning: str
) -> None:
    found = checked(cls, ["parse_author"], spiders=spiders)

    assert list(found.of_settings) == [warning] * bool(warning)
    assert found.warnings == bool(warning)


@pytest.mark.parametrize(
    ("level", "why"),
    [
        ("parse", "MPWORKERS_LEVELS has no such level"),
        ("keyed", "callbacks cannot run in a level with key, batch_size or wait=False"),
        ("plain", ""),
    ],
)
def test_a_level_that_does_not_take_callbacks_would_fail(level: str, why: str) -> None:
    levels = [
        {"name": "keyed", "key": "n", "pipelines": {PIPELINE: 300}},
        {"name": "plain", "pipelines": {f"{__name__}.Marked": 400}},
    ]
    settings = {"MPWORKERS_LEVELS": levels, "MPWORKERS_CALLBACKS_LEVEL": level}

    found = checked(Marked, **settings)

    assert list(found.failures) == [f"MPWORKERS_CALLBACKS_LEVEL is {level!r}, but {why}."] * bool(
        why
    )


def test_what_stops_a_crawl_of_callbacks_alone_is_found() -> None:
    found = checked(Marked, MPWORKERS_INITIALIZER="shop.begin")

    assert "MPWORKERS_INITIALIZER is 'shop.begin'" in "".join(found.failures)


def test_where_workers_are_off_no_callback_is_shown() -> None:
    text = words(Marked, MPWORKERS_ENABLED=False)

    assert "all pipelines and callbacks run in Scrapy's process" in text
    assert "@in_worker" not in text


def test_without_a_spider_it_says_which_command_shows_them() -> None:
    text = words(Spider, True, spiders=[Marked, clean.Quotes])

    assert "callbacks: 2 workers scrapy mpworkers check SPIDER shows those of a spider" in text


def test_a_spider_without_source_has_none_to_show() -> None:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec("import scrapy\nclass Made(scrapy.Spider):\n  def parse(self, response): ...", namespace)

    assert "the source of the spider shows none" in words(namespace["Made"], True)
    assert "unread Made: nothing is said of it" in words(namespace["Made"], ["parse"])


def test_a_spider_of_which_none_is_listed_is_shown_how_to_see_them_all() -> None:
    text = words(clean.Quotes, ["parse_author"])

    assert "callbacks: 2 workers none of this spider is listed or marked: -s MPWORK" in text
    assert "the source of the spider shows none" not in text


def test_the_command_looks_at_all_spiders_or_at_one(launch: Launcher) -> None:
    of_all = check(launch, **listed("Computes"), MPWORKERS_CALLBACKS=["numbers", "nobody_has"])
    of_one = check(launch, "mixed", MPWORKERS_CALLBACKS=["by_engine"])

    text = " ".join(of_all.out.split())
    assert "lists nobody_has, but no spider of the project has such a method" in text
    assert "lists numbers" not in text
    assert of_all.exit_code == 0
    assert "crawler.engine.downloader: only Scrapy's own process has it" in of_one.out
    assert of_one.exit_code == 1
