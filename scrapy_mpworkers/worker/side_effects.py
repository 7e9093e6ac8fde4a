"""Collects what pipelines do beside their items, until the report of the next item leaves."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.effects import Effects, whole
from scrapy_mpworkers.wire.exceptions import can_cross
from scrapy_mpworkers.wire.texts import ascii_safe
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.crawler import WorkerCrawler
from scrapy_mpworkers.worker.logs import Records

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class SideEffects:
    """Has the changes of stats, the log records and the reasons to close the spider of one crawl.

    Each is a list to which others append, and most items leave all of them empty.
    """

    def __init__(self, crawler: WorkerCrawler, records: Records, codec: WorkerCodec) -> None:
        self._codec = codec
        self._records = records.waiting
        self._lists: tuple[list[Any], ...] = (
            crawler.stat_changes,
            self._records,
            crawler.engine.close_reasons,
        )

    def take(self) -> bytes | None:
        """Return the side effects since the last call, pickled; ``None`` if there are none."""
        if not any(self._lists):
            return None
        stats, records, reasons = map(_taken, self._lists)
        reason = reasons[-1] if reasons else None
        try:
            return self._codec.dump(Effects(stats, records, reason))
        except UnpicklableError as error:
            logger.warning(
                "What a pipeline has set in the stats, or logged, cannot cross as it is: %s",
                ascii_safe(str(error)),
            )
            crossing = tuple(one for one in stats if can_cross(one, self._codec.dump))
            # What a record has in its extra may have changed since it was logged.
            records += _taken(self._records)
            records = tuple(whole(one, self._codec.dump) for one in records)
            return self._codec.dump(Effects(crossing, records, reason))


def _taken(those: list[_T]) -> tuple[_T, ...]:
    """Take out all that there are; a thread of a pipeline may add more meanwhile."""
    taken = tuple(those)
    del those[: len(taken)]
    return taken
