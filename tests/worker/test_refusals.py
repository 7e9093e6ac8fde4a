"""What cannot work in a worker is refused with a way out for pipelines, and one for callbacks."""

from __future__ import annotations

import code
import logging
import os
import pdb
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from scrapy import signals

from scrapy_mpworkers.errors import NotInWorkerError
from scrapy_mpworkers.worker.arrivals import refuse
from scrapy_mpworkers.worker.crawler import WorkerEngine, WorkerSignals
from scrapy_mpworkers.worker.terminal import leave_terminal, no_debugger

WAYS_OUT = "keep the pipeline in ITEM_PIPELINES, the callback out of MPWORKERS_CALLBACKS"


def test_a_part_of_the_crawl_is_refused_by_its_name() -> None:
    with pytest.raises(NotInWorkerError, match=rf"^the stat guard is not.*: why\. .* {WAYS_OUT}"):
        refuse("the stat guard", "why")
    with pytest.raises(NotInWorkerError, match=rf"^crawler\.engine\.pause is not.* {WAYS_OUT}"):
        WorkerEngine().pause()


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Own(str):
    def __str__(self) -> str:
        return "another"


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("enough", "enough"),
        (Own("enough"), "enough"),
        (None, "None"),
        (ValueError("full"), "full"),
        (Silent(), "<its __str__ raised RuntimeError>"),
    ],
    ids=["text", "class of the user", "none", "object", "without words"],
)
def test_a_reason_to_close_the_spider_crosses_as_text_whatever_it_is(
    reason: Any, text: str
) -> None:
    engine = WorkerEngine()

    engine.close_spider(None, reason)

    [reason] = engine.close_reasons
    assert type(reason) is str
    assert reason == text


def test_a_debugger_is_refused_with_the_command_that_allows_it() -> None:
    with pytest.raises(NotInWorkerError, match=r"pipelines and callbacks in .*WORKERS=0"):
        no_debugger()


READINGS: dict[str, Callable[[], object]] = {
    "input": input,
    "pdb": lambda: pdb.Pdb().set_trace(),  # that of the module is pytest's own
    "shell": lambda: code.interact(local={}),
    "lines": lambda: list(sys.stdin),
    "text": lambda: sys.stdin.read(),
    "all": lambda: sys.stdin.readlines(),
    "bytes": lambda: sys.stdin.buffer.read(1),
    "raw lines": lambda: list(sys.stdin.buffer),
}


@pytest.mark.parametrize("reads", READINGS.values(), ids=READINGS)
def test_whoever_reads_from_the_terminal_is_told_what_allows_it(
    reads: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as null:
        monkeypatch.setattr(sys, "stdin", null)
        monkeypatch.setattr(sys, "breakpointhook", sys.breakpointhook)
        leave_terminal()

        with pytest.raises(NotInWorkerError, match=r"(?s)pipelines and callbacks in .*WORKERS=0"):
            reads()
        assert not sys.stdin.isatty()
        assert sys.stdin.fileno() == null.fileno()
        sys.stdin.close()


item_priced = object()


@pytest.mark.parametrize(
    ("signal", "name"),
    [(item_priced, "item_priced"), (signals.item_dropped, "item_dropped"), ("priced", "priced")],
)
def test_a_signal_that_nothing_hears_is_warned_of_once(
    signal: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sender = WorkerSignals(object())

    for _ in range(3):
        assert sender.send_catch_log(signal=signal, item={}) == []
        with suppress(StopIteration):
            sender.send_catch_log_async(signal, item={}).send(None)

    [record] = caplog.records
    assert f"The signal {name} was sent in a worker, where nothing hears" in record.getMessage()
    assert WAYS_OUT.removeprefix("keep the pipeline ").replace("the", "that") in caplog.text


def test_a_signal_that_is_heard_in_the_same_worker_is_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = WorkerSignals(object())
    heard = []
    listen = lambda item: heard.append(item)  # noqa: E731
    sender.connect(listen, item_priced)

    sender.send_catch_log(item_priced, item=1)
    sender.send_catch_log(signals.spider_opened)

    assert heard == [1]
    assert caplog.records == []


def test_a_signal_that_is_never_sent_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    def heard(**named: Any) -> None: ...

    with caplog.at_level(logging.WARNING):
        WorkerSignals(None).connect(heard, signals.item_scraped)

    assert "heard is connected to the signal item_scraped in a worker" in caplog.text
    assert WAYS_OUT.removeprefix("keep the pipeline ").replace("the", "that") in caplog.text
