"""What workers say besides their items, as the crawl logs it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from scrapy import Spider
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.crawl import events
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.effects import Effects, pack_record
from scrapy_mpworkers.wire.worker_codec import WorkerCodec


def given(name: str, text: str, process: int) -> bytes:
    worker = WorkerCodec()
    attributes = {"name": name, "msg": text, "levelno": logging.WARNING, "process": process}
    record = logging.makeLogRecord(attributes)
    return worker.dump(Effects((), (pack_record(record, worker.dump),), None))


@pytest.mark.parametrize(
    ("name", "processes", "times"),
    [
        ("py.warnings", [1, 2, 3], 1),
        ("py.warnings", [1, 2, 1, 2], 3),  # -W always
        ("shop", [1, 2, 3], 3),
    ],
    ids=["once in each process", "always", "of a logger of the user"],
)
def test_a_warning_of_python_counts_once_however_many_processes_give_it(
    caplog: pytest.LogCaptureFixture, name: str, processes: Sequence[int], times: int
) -> None:
    sink = EffectsSink(get_crawler(Spider), ParentCodec({}))

    for process in processes:
        sink.take(given(name, "old", process))

    assert [record.getMessage() for record in caplog.records] == ["old"] * times


def test_different_warnings_of_python_count_each(caplog: pytest.LogCaptureFixture) -> None:
    sink = EffectsSink(get_crawler(Spider), ParentCodec({}))

    for process, text in enumerate(("old", "older", "old")):
        sink.take(given("py.warnings", text, process))

    assert [record.getMessage() for record in caplog.records] == ["old", "older"]


def test_warnings_of_python_that_name_an_item_each_do_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST_WARNINGS", 2)
    sink = EffectsSink(get_crawler(Spider), ParentCodec({}))

    for text in ("of item 1", "of item 2", "of item 3", "of item 1", "of item 3"):
        sink.take(given("py.warnings", text, len(caplog.records)))

    said = [record.getMessage() for record in caplog.records]
    assert said == ["of item 1", "of item 2", "of item 3", "of item 3"]
    assert len(sink._warned_by) == 2
