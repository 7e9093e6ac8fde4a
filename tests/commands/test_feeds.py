"""A replay does not overwrite what its crawl has stored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import Settings

from scrapy_mpworkers.commands.feeds import given_feeds, settle_feeds


class Shop(Spider):
    name = "shop"


def settle(
    settings: dict[str, Any],
    output: list[str] | None = None,
    over: list[str] | None = None,
    comes_first: bool = True,
    **named: str,
) -> tuple[list[str], dict[str, Any]]:
    """Which feeds would be lost, and which the crawl gets."""
    opts = argparse.Namespace(
        set=[f"{name}={value}" for name, value in named.items()],
        output=output,
        overwrite_output=over,
    )
    all_settings = Settings(settings)
    all_settings.setdict(named, priority="cmdline")
    crawler = Crawler(Shop, all_settings)
    lost = settle_feeds(crawler, given_feeds(opts, all_settings), comes_first)
    crawler.settings.update(all_settings)  # as CrawlerProcess.crawl does
    return lost, dict(crawler.settings.getdict("FEEDS"))


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "out-shop.jl"
    file.write_text('{"n": 1}\n')
    (tmp_path / "empty.jl").touch()
    return file


@pytest.mark.parametrize(
    ("uri", "options", "is_lost"),
    [
        ("out-shop.jl", {"overwrite": True}, True),
        ("out-shop.jl", {}, False),
        ("out-%(name)s.jl", {"overwrite": True}, True),
        ("out-%(category)s.jl", {"overwrite": True}, True),
        ("out-%(time)s.jl", {"overwrite": True}, False),
        ("none.jl", {"overwrite": True}, False),
        ("empty.jl", {"overwrite": True}, False),
        ("stdout:", {"overwrite": True}, False),
        ("s3://bucket/out.jl", {}, True),
        ("s3://bucket/out.jl", {"overwrite": False}, True),
        ("s3://bucket/%(time)s.jl", {}, False),
        ("gs://bucket/out.jl", {}, True),
        ("ftp://host/out.jl", {}, True),
        ("ftp://host/out.jl", {"overwrite": False}, False),
    ],
)
def test_feed_is_lost_if_its_storage_would_replace_what_is_there(
    full: Path, uri: str, options: dict[str, Any], is_lost: bool
) -> None:
    lost, _ = settle({"FEEDS": {uri: {"format": "jsonlines", **options}}})

    assert lost == ([uri] if is_lost else [])


def test_feed_may_be_a_path_a_uri_of_a_file_or_an_old_setting(full: Path) -> None:
    options = {"format": "jsonlines", "overwrite": True}

    assert settle({"FEEDS": {full: options}})[0] == [str(full)]
    assert settle({"FEEDS": {full.as_uri(): options}})[0] == [full.as_uri()]
    assert settle({"FEED_URI": "s3://bucket/out.jl"})[0] == ["s3://bucket/out.jl"]


def test_feeds_of_the_spider_and_of_add_ons_count(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = {"out-shop.jl": {"format": "jsonlines", "overwrite": True}}

    class Feeds:
        def update_settings(self, settings: Settings) -> None:
            settings.set("FEEDS", feeds, priority="addon")

    assert settle({"ADDONS": {Feeds: 1}})[0] == ["out-shop.jl"]
    monkeypatch.setattr(Shop, "custom_settings", {"FEEDS": feeds})
    assert settle({})[0] == ["out-shop.jl"]


@pytest.mark.parametrize("kind", ["output", "over"])
def test_feed_of_the_command_line_takes_the_place_of_those_that_would_be_lost(
    full: Path, kind: str
) -> None:
    feeds = {
        "out-shop.jl": {"format": "jsonlines", "overwrite": True},
        "kept.jl": {"format": "jsonlines"},
    }

    lost, got = settle({"FEEDS": feeds}, **{kind: ["replayed.jsonl"]})

    assert lost == ["out-shop.jl"]
    assert sorted(got) == ["kept.jl", "replayed.jsonl"]


def test_what_the_command_line_says_of_a_feed_counts_for_that_feed(full: Path) -> None:
    feeds = {"out-shop.jl": {"format": "jsonlines", "overwrite": True}}

    lost, got = settle({"FEEDS": feeds}, output=["out-shop.jl"])
    assert lost == []
    assert not got["out-shop.jl"].get("overwrite")

    lost, got = settle({}, FEEDS='{"out-shop.jl": {"format": "jsonlines", "overwrite": true}}')
    assert lost == []
    assert got["out-shop.jl"]["overwrite"]


def test_second_crawl_of_a_replay_appends_to_the_file_of_the_first(full: Path) -> None:
    _, got = settle({}, over=["out-shop.jl"], comes_first=False)
    _, own = settle({}, over=["out-%(name)s.jl"], comes_first=False)

    assert got["out-shop.jl"]["overwrite"] is False
    assert own["out-%(name)s.jl"]["overwrite"] is True
