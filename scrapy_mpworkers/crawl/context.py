"""What crosses the wall beside the items, on Scrapy's side: the crawl's state, side effects."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Sequence

from scrapy.crawler import Crawler
from scrapy.utils.misc import load_object

from scrapy_mpworkers.backends.preloading import folders_to_import_from
from scrapy_mpworkers.crawl.carrying import Carrier
from scrapy_mpworkers.crawl.patches import SpiderCloser
from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.hops import Hop, keyed
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.crawl import Carried, CrawlState, HopState, LogLevels, Placement
from scrapy_mpworkers.wire.effects import ADD_UP, Effects, unpack_record
from scrapy_mpworkers.wire.entries import Entry, import_path
from scrapy_mpworkers.wire.exceptions import unpack_exception
from scrapy_mpworkers.wire.texts import named, writable

logger = logging.getLogger(__name__)

_PACKAGE = __name__.partition(".")[0]
_said_at_import: set[str] = set()  # of this process, whichever crawl it was


class CrawlContext:
    """One crawl's side of the wall."""

    def __init__(
        self, crawler: Crawler, levels: Sequence[LevelSettings], hops: Sequence[Hop]
    ) -> None:
        self._crawler = crawler
        self._levels = levels
        self._hops = hops
        self.closer = SpiderCloser(crawler)
        self._said: set[str] = set()
        self._made: Counter[int] = Counter()
        assert crawler.spider is not None
        self.codec = ParentCodec(
            {"spider": crawler.spider, "crawler": crawler, "settings": crawler.settings},
            folders_to_import_from(type(crawler.spider)),
        )
        self._carrier = Carrier(self.codec)
        self._settings: dict[str, tuple[Carried, int]] | None = None

    def state(self, level: int) -> Frame:
        """The payload of a Setup for a worker of *level*, as things stand now.

        Raises:
            UnpicklableError: a pipeline or a key function cannot cross.
        """
        carrier = self._carrier
        assert self._crawler.spider is not None
        state = CrawlState(
            level=self._levels[level].name,
            batches=self._levels[level].batch_size > 0,
            hops={hop.number: self._hop_state(hop) for hop in self._hops if hop.level == level},
            settings=self._settings_state(),
            spider=carrier.spider(self._crawler.spider),
            stats={k: carrier.carry(value) for k, value in self._crawler.stats.get_stats().items()},
            log_levels=_log_levels(),
            placement=self._placement(level),
        )
        frame = self.codec.dump(state)
        return frame._replace(needs=tuple(carrier.needs))

    def _settings_state(self) -> dict[str, tuple[Carried, int]]:
        if self._settings is None:  # they are frozen: once is enough
            carry = self._carrier.carry
            # The attributes themselves: get() warns of names that are deprecated.
            settings = self._crawler.settings.attributes
            self._settings = {k: (carry(one.value), one.priority) for k, one in settings.items()}
        return self._settings

    def _placement(self, level: int) -> Placement | None:
        # Replacements are silent, and have no time for it.
        self._made[level] += 1
        settings = self._levels[level]
        is_first = self._made[level] <= settings.pool.workers
        return settings.placement if is_first else None

    def _hop_state(self, hop: Hop) -> HopState:
        behind = [one for one in self._hops[hop.number + 1 :] if one.route == hop.route]
        wants = keyed(behind, self._levels) if self._levels[hop.level].wait else ()
        keys = tuple(self._sendable(self._levels[one.level].key) for one in wants)
        return HopState(tuple(map(self._sendable, hop.entries)), keys, bool(behind))

    def _sendable(self, entry: Entry) -> bytes:
        """*entry*, or the class or function that it names where workers cannot import from."""
        found = entry
        if isinstance(entry, str) and self.codec.is_foreign(entry.rpartition(".")[0]):
            found = load_object(entry)
        try:
            return self._carrier.must_carry(found)
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise UnpicklableError(
                f"{import_path(found)} is in a place that workers cannot import from, so it "
                f"crosses as it is, and that fails: {named(error)}. Move it to a "
                "module, or make what cannot be pickled in open_spider."
            ) from error

    def failure(self, data: bytes) -> Exception:
        """An exception that a worker reported outside any item."""
        return unpack_exception(self.codec.load(data), self.codec.load)

    def take_effect(
        self, effects: bytes | None, least_level: int | None = None, adds_up: bool = False
    ) -> None:
        """Merge stats, handle log records, relay a wish to close the spider.

        Args:
            least_level: if given, take nothing but records of at least this level.
            adds_up: take the stats that add up over workers all the same.
        """
        if effects is None:
            return
        try:
            came: Effects = self.codec.load(effects)
        # Values of stats and extras of log records may be of any class.
        except BaseException as error:
            logger.warning(
                "Stats and log records of a worker cannot be loaded: %s", writable(named(error))
            )
            return
        for wired in came.records:
            record = unpack_record(wired, self.codec.load)
            if record.levelno >= (least_level or 0):
                self._log(record)
        for change in came.stats:
            if least_level is None or (adds_up and change.method in ADD_UP):
                getattr(self._crawler.stats, change.method)(*change.args)
        if least_level is not None:
            return
        if came.close_reason is not None:
            self.closer.ask(came.close_reason)

    def _log(self, record: logging.LogRecord) -> None:
        at_import = record.__dict__.pop("at_import", None)
        if at_import is not None:
            # A module is imported once in Scrapy's process, and in workers many times.
            if at_import in _said_at_import:
                return
            _said_at_import.add(at_import)
        if record.name.startswith(f"{_PACKAGE}."):
            # A warning of ours: every worker finds the same fault, once is enough.
            line = getattr(record, "said_once", record.getMessage())
            if line in self._said:
                return
            self._said.add(line)
        target = logging.getLogger(record.name)
        if target.isEnabledFor(record.levelno):
            target.handle(record)


def _log_levels() -> LogLevels:
    known = [
        logger
        for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    wanted = {logger.name: _least_taken(logger) for logger in known if logger.handlers}
    return LogLevels(
        wanted={**wanted, "": _least_taken(logging.root, logging.WARNING)},
        root=logging.root.level,
        named={logger.name: logger.level for logger in known if logger.level},
        # Whether logging.captureWarnings is on; there is no public way to ask (3.10-3.13).
        capture_warnings=logging._warnings_showwarning is not None,  # type: ignore[attr-defined]
    )


def _least_taken(logger: logging.Logger, without: int = sys.maxsize) -> int:
    """The lowest level that a handler of *logger* itself takes; *without* any: that."""
    # Libraries give their loggers a NullHandler, which takes all and does nothing.
    real = [one for one in logger.handlers if not isinstance(one, logging.NullHandler)]
    return min((handler.level for handler in real), default=without)
