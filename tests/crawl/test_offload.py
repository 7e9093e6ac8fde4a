"""How loudly a crawl speaks of callbacks that are listed, and that its spider does not have."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from scrapy import Spider
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl.offload import tell_of_absent


class Shop(Spider):
    name = "shop"

    def parse_product(self, response: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "priority", "level"),
    [
        ("parse_article", "project", logging.INFO),  # it is one of another spider
        ("news.News.parse_product", "project", logging.INFO),
        ("parse_prodcut", "project", logging.WARNING),
        ("self.parse_product", "project", logging.WARNING),
        ("parse_article", "spider", logging.WARNING),
        ("parse_article", "cmdline", logging.WARNING),
    ],
)
def test_a_list_for_all_spiders_may_have_names_that_this_one_lacks(
    name: str, priority: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    crawler = get_crawler(Shop)
    crawler.settings = Settings({"MPWORKERS_CALLBACKS": [name]}, priority)

    with caplog.at_level(logging.INFO, "scrapy_mpworkers"):
        tell_of_absent(crawler, Shop, [name])

    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(f"MPWORKERS_CALLBACKS lists {name}, but Shop has no")
