"""Which of a worker's log records cross."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from scrapy_mpworkers.crawl.context import _log_levels
from scrapy_mpworkers.wire.crawl import LogLevels

FILE, STREAM = logging.DEBUG, logging.WARNING


@pytest.fixture
def levels() -> Iterator[LogLevels]:
    """The crawl shows warnings, and has a file for all that one package of its own logs."""
    handlers = {
        "": logging.StreamHandler(),
        "of_a_library": logging.NullHandler(),
        "shop.prices": logging.StreamHandler(),
    }
    before = {name: logging.getLogger(name).handlers[:] for name in handlers}
    for name, handler in handlers.items():
        logging.getLogger(name).handlers[:] = [handler]
    handlers[""].setLevel(STREAM)
    handlers["shop.prices"].setLevel(FILE)
    yield _log_levels()
    for name, handler in before.items():
        logging.getLogger(name).handlers[:] = handler


@pytest.mark.parametrize(
    ("logger", "level", "crosses"),
    [
        ("of_a_library", logging.INFO, False),
        ("of_a_library", logging.WARNING, True),
        ("shop", logging.DEBUG, False),
        ("shop.prices", logging.DEBUG, True),
        ("shop.prices.euro", logging.DEBUG, True),
        ("shop.prices_of_old", logging.DEBUG, False),
        ("root", logging.INFO, False),
        ("root", logging.ERROR, True),
    ],
)
def test_a_record_crosses_if_a_handler_takes_it(
    levels: LogLevels, logger: str, level: int, crosses: bool
) -> None:
    record = logging.LogRecord(logger, level, __file__, 1, "text", None, None)

    assert levels.want(record) is crosses


def test_without_any_handler_only_warnings_cross(levels: LogLevels) -> None:
    logging.root.handlers.clear()

    record = logging.LogRecord("shop", logging.INFO, __file__, 1, "text", None, None)

    assert not _log_levels().want(record)
