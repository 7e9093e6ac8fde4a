"""An error that nobody handles is one sentence in the log, if it stops a crawl at its start."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from scrapy_mpworkers.crawl import unhandled
from scrapy_mpworkers.errors import PoolClosed, SettingError

ASYNCIO = logging.getLogger("asyncio")


@pytest.fixture(autouse=True)
def _no_filter_stays() -> Iterator[None]:
    yield
    for name in ("asyncio", "twisted"):
        logging.getLogger(name).removeFilter(unhandled._filter)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_error_of_a_start_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    error = raised(SettingError("MPWORKERS_WORKERS is -1"))
    unhandled.keep_short(error)

    ASYNCIO.error("Task exception was never retrieved", exc_info=error)

    [record] = caplog.records
    assert record.getMessage() == "The crawl cannot start: MPWORKERS_WORKERS is -1"
    assert record.exc_info is None


def test_error_of_a_running_crawl_is_whole_though_another_could_not_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unhandled.keep_short(raised(SettingError("MPWORKERS_WORKERS is -1")))

    ASYNCIO.error("Task exception was never retrieved", exc_info=raised(PoolClosed("it is over")))

    [record] = caplog.records
    assert record.getMessage() == "Task exception was never retrieved"
    assert record.exc_info is not None


def test_error_that_was_told_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    error = raised(PoolClosed("it is over"))
    unhandled.told_once(error)

    ASYNCIO.error("Task exception was never retrieved", exc_info=error)

    assert not caplog.records
