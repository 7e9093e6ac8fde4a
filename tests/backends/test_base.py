"""Which levels a crawl has, and what for."""

from __future__ import annotations

from scrapy.settings import Settings

from scrapy_mpworkers.backends.base import count_workers, plans_of
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.settings import read_settings

PIPELINE = "shop.pipelines.Price"
HOPS = (Hop(0, 0, 1, (PIPELINE,)),)
#: The first level is for callbacks alone.
LEVELS = [
    {"name": "parse", "workers": 4},
    {"name": "compute", "workers": 3, "pipelines": {PIPELINE: 300}},
]
OPTIONS = read_settings(
    Settings(
        {
            "MPWORKERS_WORKERS": 2,
            "MPWORKERS_LEVELS": LEVELS,
            "MPWORKERS_CALLBACKS_LEVEL": "parse",
        }
    )
)


def test_callbacks_and_pipelines_have_levels_of_their_own() -> None:
    plans, _, callbacks_at = plans_of(OPTIONS, HOPS, has_callbacks=True)

    assert callbacks_at == 0
    assert [plan.starts_with_crawl for plan in plans] == [True, True]
    assert count_workers(OPTIONS, plans) == 7


def test_calls_start_no_workers_that_are_for_callbacks_which_the_spider_has_not() -> None:
    plans, calls_at, callbacks_at = plans_of(OPTIONS, HOPS, has_callbacks=False)

    assert (calls_at, callbacks_at) == (1, None)
    assert [plan.starts_with_crawl for plan in plans] == [False, True]
    assert count_workers(OPTIONS, plans) == 3


def test_callbacks_alone_have_their_level() -> None:
    plans, calls_at, callbacks_at = plans_of(OPTIONS, (), has_callbacks=True)

    assert (calls_at, callbacks_at) == (0, 0)
    assert count_workers(OPTIONS, plans) == 4


def test_calls_alone_have_workers_of_the_general_setting() -> None:
    plans, calls_at, _ = plans_of(OPTIONS, (), has_callbacks=False)

    assert plans[calls_at].settings.name == "calls"
    assert count_workers(OPTIONS, plans) == 2
