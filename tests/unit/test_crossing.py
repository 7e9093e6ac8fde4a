"""Who among the workers looks for pipelines that are wrong there."""

from __future__ import annotations

from scrapy import Spider
from scrapy.settings import Settings
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crossing import Crossing
from scrapy_mpworkers.placement import Placement
from scrapy_mpworkers.settings import read_settings


def test_the_first_workers_of_a_level_look_and_replacements_do_not() -> None:
    level = {"name": "compute", "workers": 2, "key": "n", "pipelines": {print_item: 300}}
    options = read_settings(Settings({"MPWORKERS_LEVELS": [level]}))
    crawler = get_crawler(Spider)
    crawler.spider = Spider("s")
    crossing = Crossing(crawler, options.levels, ())

    placements = [crossing._placement(0) for _ in range(4)]

    assert placements == [Placement(2, keyed=True), Placement(2, keyed=True), None, None]


def print_item(item: object) -> object:
    return item
