"""Side effects that travel with an outcome and count when it settles: stats and log records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import scrapy

from scrapy_mpworkers.wire.changes import is_immutable
from scrapy_mpworkers.wire.exceptions import Failure, can_cross, pack_exception, unpack_exception
from scrapy_mpworkers.wire.texts import repr_of


class StatChange(NamedTuple):
    """A call on the crawl's stats collector, such as ``("inc_value", ("pages", 1, 0))``."""

    method: str
    args: tuple[Any, ...]


#: Calls whose effects add up over workers. Any other says something for the crawl as a whole.
ADD_UP = frozenset({"inc_value", "max_value", "min_value"})


#: From 2.18 on, Scrapy closes a spider when a pipeline raises ``CloseSpider`` as the spider opens.
HEEDS_CLOSE_SPIDER = scrapy.version_info >= (2, 18)


class WireRecord(NamedTuple):
    """A log record: the attributes that travel as they are, and its exception."""

    attributes: dict[str, Any]
    failure: Failure | None


class Effects(NamedTuple):
    """Effects happened beside the item. ``close_reason``: a pipeline asked to close the spider."""

    stats: tuple[StatChange, ...]
    records: tuple[WireRecord, ...]
    close_reason: str | None


def change_of_spider(who: str, attribute: str) -> str:
    """Name the warning of an attribute of the spider that is changed in a worker, and stays there.

    Args:
        who: changes it: ``A pipeline`` or ``A callback``.
    """
    return f"{who} changes spider.{attribute}"


def pack_record(record: logging.LogRecord, dump: Callable[[Any], bytes]) -> WireRecord:
    """Turn *record* into data; its message is formatted here only if its arguments must stay."""
    attributes = {**record.__dict__, "exc_info": None}
    failure = None
    if record.exc_info:
        text = record.exc_text or logging.Formatter().formatException(record.exc_info)
        attributes["exc_text"] = text
        error = record.exc_info[1]
        failure = None if error is None else pack_exception(error, dump)
    if not _is_plain(record.msg) or not _is_plain(record.args):
        attributes.update(msg=record.getMessage(), args=None)
    return whole(WireRecord(attributes, failure), dump)


def whole(wired: WireRecord, dump: Callable[[Any], bytes]) -> WireRecord:
    """Return a record with the text of each attribute that cannot cross."""
    attributes = {
        name: value if is_immutable(value) or can_cross(value, dump) else repr_of(value)
        for name, value in wired.attributes.items()
    }
    return wired._replace(attributes=attributes)


def unpack_record(wired: WireRecord, load: Callable[[bytes], Any]) -> logging.LogRecord:
    """Make the record again, for the loggers of the parent."""
    record = logging.makeLogRecord(wired.attributes)
    if wired.failure is not None:
        error = unpack_exception(wired.failure, load)
        # The worker's own traceback is in exc_text, which a Formatter prefers.
        record.exc_info = (type(error), error, None)
    return record


def _is_plain(value: Any) -> bool:
    if type(value) is dict:  # a lazy proxy would make its object for isinstance()
        return all(map(is_immutable, value.values()))
    return is_immutable(value)
