"""Stats that are brought up to date when somebody reads them."""

from __future__ import annotations

import copy
import pickle
import pprint
import threading
from typing import Any

import pytest
from scrapy.statscollectors import DummyStatsCollector, MemoryStatsCollector, StatsCollector
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl import fresh_stats
from scrapy_mpworkers.crawl.fresh_stats import FreshStats, keep_fresh


class Counting:
    """Counts how often the stats were brought up to date, as a stat."""

    def __init__(self, collector: StatsCollector) -> None:
        self.collector, self.count = collector, 0
        self.stats = keep_fresh(collector, "ours/", self.refresh)

    def refresh(self) -> None:
        self.count += 1
        self.collector.set_value("ours/count", self.count)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stats are stale at once."""
    monkeypatch.setattr(fresh_stats, "_FRESH", 0.0)


@pytest.fixture
def counting() -> Counting:
    return Counting(MemoryStatsCollector(get_crawler()))


@pytest.mark.usefixtures("always")
def test_every_way_to_read_brings_them_up_to_date(counting: Counting) -> None:
    stats: Any = counting.collector._stats  # type: ignore[attr-defined]

    assert counting.collector.get_value("ours/count") == 1
    assert counting.collector.get_stats()["ours/count"] == 3  # the call, and the subscript
    assert dict(stats.items()) == {"ours/count": 4}
    assert dict(stats)["ours/count"] > 4
    before = counting.count
    assert {**stats}["ours/count"] > before
    assert list(stats) == ["ours/count"]
    before = counting.count
    shown = pprint.pformat(counting.collector.get_stats())
    assert int(shown.removeprefix("{'ours/count': ").removesuffix("}")) > before
    assert type(pickle.loads(pickle.dumps(stats))) is type(copy.deepcopy(stats)) is dict


@pytest.mark.usefixtures("always")
def test_writing_and_reading_of_others_cost_nothing(counting: Counting) -> None:
    counting.collector.inc_value("theirs")
    counting.collector.max_value("theirs", 3)

    assert counting.collector.get_value("theirs") == 3
    assert counting.count == 0


def test_what_was_read_just_now_is_not_computed_again(counting: Counting) -> None:
    for _ in range(9):
        counting.collector.get_stats()

    assert counting.count == 1


@pytest.mark.usefixtures("always")
def test_stats_stay_as_they_were_at_the_end(counting: Counting) -> None:
    assert counting.stats is not None
    counting.collector.get_stats()

    counting.stats.end()

    assert counting.collector.get_stats() == {"ours/count": 1}
    assert counting.collector.get_value("ours/count") == 1


@pytest.mark.usefixtures("always")
def test_another_thread_reads_what_is_there(counting: Counting) -> None:
    read: list[Any] = []
    thread = threading.Thread(target=lambda: read.append(dict(counting.collector.get_stats())))
    thread.start()
    thread.join(10)

    assert read == [{}]


@pytest.mark.usefixtures("always")
def test_figures_that_cannot_be_made_leave_a_reader_the_old_ones() -> None:
    def fail() -> None:
        raise ValueError("no figures")

    assert FreshStats({"ours/count": 1}, "ours/", fail)["ours/count"] == 1


def test_other_collectors_are_left_alone_or_still_work() -> None:
    class Elsewhere(StatsCollector):
        """Keeps no dict."""

        def __init__(self) -> None:
            self._stats = None  # type: ignore[assignment]

    assert keep_fresh(Elsewhere(), "ours/", lambda: None) is None
    dummy = Counting(DummyStatsCollector(get_crawler()))
    assert dummy.collector.get_value("ours/count", "none") == "none"
    assert dummy.collector.get_stats() == {}
