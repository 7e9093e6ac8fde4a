"""The extension begins once, or not at all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import scrapy
from scrapy.crawler import Crawler
from scrapy.utils.test import get_crawler

from scrapy_mpworkers import addon
from scrapy_mpworkers.crawl import events as module
from scrapy_mpworkers.crawl.manager import LevelManager
from scrapy_mpworkers.crawl.persistence import Persistence
from scrapy_mpworkers.errors import PoolClosed, SettingError
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.extension import WorkerExtension
from scrapy_mpworkers.status.reporter import Reporter


def test_what_could_not_begin_is_not_half_there_for_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a handler of the spider's attribute")

    monkeypatch.setattr(module, "EffectsSink", broken)
    crawler = get_crawler(scrapy.Spider, {"MPWORKERS_WORKERS": 1})
    crawler.spider = scrapy.Spider("one")
    extension = WorkerExtension.from_crawler(crawler)

    async def calls() -> list[BaseException]:
        return await asyncio.gather(
            extension.run(abs, -1), extension.run(abs, -1), return_exceptions=True
        )

    with ThreadPoolExecutor(1) as thread:
        first, second = thread.submit(asyncio.run, calls()).result(20)

    assert isinstance(first, RuntimeError)
    assert isinstance(second, PoolClosed)


def test_where_it_is_not_active_whoever_asks_for_it_is_told_the_line() -> None:
    crawler = get_crawler(scrapy.Spider, {})

    with pytest.raises(SettingError, match=r'"scrapy_mpworkers\.Addon": 500 into ADDONS of the'):
        WorkerExtension.of(crawler)


@pytest.mark.parametrize("is_crawling", [True, False])
def test_fork_servers_are_launched_for_a_crawl_and_not_for_a_look_at_its_crawler(
    monkeypatch: pytest.MonkeyPatch, is_crawling: bool
) -> None:
    prepared = []
    monkeypatch.setattr(LevelManager, "prepare", lambda self: prepared.append(self))
    settings = {"ADDONS": {"scrapy_mpworkers.Addon": 500}, "MPWORKERS_PIPELINES": {pass_on: 300}}
    crawler = Crawler(scrapy.Spider, settings | {"TWISTED_REACTOR": None})
    crawler.crawling = is_crawling
    monkeypatch.setattr(addon, "warm_up", lambda *_: prepared.append(None))

    crawler._apply_settings()

    assert len(prepared) == (2 if is_crawling else 0)


def pass_on(item: Any) -> Any:
    return item


def test_whoever_asks_for_it_gets_it() -> None:
    settings = {"ADDONS": {"scrapy_mpworkers.Addon": 500}, "MPWORKERS_WORKERS": 0}
    crawler = get_crawler(scrapy.Spider, settings)

    assert WorkerExtension.of(crawler) is crawler.get_extension(WorkerExtension)


def test_what_fails_in_the_sums_at_the_end_leaves_no_file_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a collector of stats")

    async def close(self: Any) -> None:
        closed.append("persistence")

    closed: list[str] = []
    monkeypatch.setattr(Reporter, "sum_up", fails)
    monkeypatch.setattr(Persistence, "close", close)
    monkeypatch.setattr(EventLoop, "close", lambda self: closed.append("loop"))
    crawler = get_crawler(scrapy.Spider, {"MPWORKERS_WORKERS": 0})
    crawler.spider = scrapy.Spider("one")
    extension = WorkerExtension.from_crawler(crawler)

    async def crawl() -> None:
        await extension.ensure_started()
        await extension.spider_closed(crawler.spider, "finished")

    with (
        ThreadPoolExecutor(1) as thread,
        pytest.raises(RuntimeError, match="a collector of stats"),
    ):
        thread.submit(asyncio.run, crawl()).result(20)

    assert closed == ["persistence", "loop"]
