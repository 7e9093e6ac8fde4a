"""A crawl whose pool is broken fails the command that runs it."""

from __future__ import annotations

import gc

import scrapy
from scrapy.crawler import CrawlerRunner

from scrapy_mpworkers.crawl.patches import fail_process


def test_the_runner_is_found_though_another_crawl_has_frozen_all_objects() -> None:
    runner, other = CrawlerRunner(), CrawlerRunner()
    crawler = runner.create_crawler(scrapy.Spider)
    runner.crawlers.add(crawler)
    gc.freeze()

    try:
        fail_process(crawler)
    finally:
        gc.freeze()  # as the tests begin

    assert runner.bootstrap_failed
    assert not other.bootstrap_failed
