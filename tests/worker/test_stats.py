"""A worker has the crawl's stats as far as they can be known there, or says so."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from scrapy.settings import Settings

from scrapy_mpworkers.errors import NotInWorkerError
from scrapy_mpworkers.wire.effects import StatChange
from scrapy_mpworkers.worker.stats import WorkerStats


@pytest.fixture
def changes() -> list[StatChange]:
    return []


@pytest.fixture
def stats(changes: list[StatChange]) -> WorkerStats:
    known = {"pages": 3, "name": "x", "since": 1.5}
    return WorkerStats(SimpleNamespace(settings=Settings()), known, changes)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_present_stats_replace_old_ones_but_not_changes_that_are_untold(
    stats: WorkerStats, changes: list[StatChange]
) -> None:
    stats.inc_value("pages", 2)
    stats.set_value("mine", "set")
    seen = stats.get_stats()
    untold = list(changes)

    stats.renew({"pages": 10, "items": 4})

    assert stats.get_stats() == {"pages": 12, "items": 4, "mine": "set"}
    assert stats.get_stats() is seen
    assert changes == untold


def test_number_that_others_count_is_warned_of_once(
    stats: WorkerStats, caplog: pytest.LogCaptureFixture
) -> None:
    stats.go_stale()

    for _ in range(3):
        stats.inc_value("pages")
        assert stats.get_value("pages") > 3
        assert stats.get_value("never", 0) == 0

    first, second = warnings(caplog)
    assert first.startswith("The stat 'pages' was read in a worker,")
    assert second.startswith("The stat 'never' was read in a worker,")
    for way_out in ("inc_value, max_value and min_value", "close_spider", "ITEM_PIPELINES"):
        assert way_out in first


def test_all_stats_are_warned_of_once(stats: WorkerStats, caplog: pytest.LogCaptureFixture) -> None:
    stats.go_stale()

    stats.get_stats()
    stats.get_stats()

    [text] = warnings(caplog)
    assert text.startswith("The stats (get_stats) were read in a worker,")


def test_what_is_known_is_read_without_a_warning(
    stats: WorkerStats, caplog: pytest.LogCaptureFixture
) -> None:
    stats.get_value("pages")  # before items run
    stats.go_stale()
    stats.get_value("name")
    stats.set_value("mine", 1)
    stats.get_value("mine")
    stats.renew({"pages": 9})
    stats.get_value("pages")

    assert warnings(caplog) == []


def test_neither_scrapy_nor_this_package_is_warned(
    stats: WorkerStats, caplog: pytest.LogCaptureFixture
) -> None:
    stats.go_stale()

    stats.mark()
    for module in ("scrapy.pipelines.files", "scrapy_mpworkers.worker.crawler"):
        exec("stats.get_value('pages')", {"__name__": module, "stats": stats})
    assert warnings(caplog) == []

    exec("stats.get_value('pages')", {"__name__": "scrapy_shop.pipelines", "stats": stats})
    assert len(warnings(caplog)) == 1


def test_keys_that_are_made_for_each_item_do_not_fill_the_log(
    stats: WorkerStats, caplog: pytest.LogCaptureFixture
) -> None:
    stats.go_stale()

    for n in range(100):
        stats.get_value(f"seen/{n}")

    assert len(warnings(caplog)) == 10


def test_method_of_another_collector_is_refused_by_its_name_with_a_way_out(
    stats: WorkerStats,
) -> None:
    with pytest.raises(NotInWorkerError, match=r"^stats\.timing is not .*STATS_CLASS.*inc_value"):
        stats.timing("pages", 1.5)

    assert not hasattr(stats, "timing")
    assert getattr(stats, "timing", None) is None
    assert stats.get_value("pages") == 3
