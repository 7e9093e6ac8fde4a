"""Makes the state of a crawl for workers: settings, spider, stats, pipelines and log levels.

Each part is pickled by itself, so that a part that cannot be pickled keeps no other one back.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.utils.log import StreamLogger
from scrapy.utils.misc import load_object

from scrapy_mpworkers.backends.preloading import folders_to_import_from
from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.hops import Hop, keyed, rest_of_route
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.crawl import (
    Carried,
    ClassState,
    CrawlState,
    HopState,
    LogLevels,
    Placement,
    SpiderState,
    known_loggers,
    part_in_words,
)
from scrapy_mpworkers.wire.entries import PipelineEntry, import_path
from scrapy_mpworkers.wire.texts import named

logger = logging.getLogger(__name__)

#: Attributes that every class has by itself, and hooks that would act on the rebuilt class.
_NOT_CARRIED = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "__doc__"),
        *("__abstractmethods__", "_abc_impl"),
        *("__new__", "__del__", "__getattribute__", "__setattr__", "__init_subclass__"),
    }
)


#: Bytes of an attribute of the spider from which workers start late and take much memory.
_LARGE = 16 << 20


class CrawlContext:
    """Makes the state of one crawl for workers, and has the codec of its items."""

    def __init__(
        self, crawler: Crawler, levels: Sequence[LevelSettings], hops: Sequence[Hop]
    ) -> None:
        self._crawler = crawler
        self._levels = levels
        self._hops = hops
        self._made: Counter[int] = Counter()
        assert crawler.spider is not None
        self.codec = ParentCodec(
            {"spider": crawler.spider, "crawler": crawler, "settings": crawler.settings},
            folders_to_import_from(type(crawler.spider)),
        )
        self._carrier = Carrier(self.codec)

    def state(self, level: int) -> Frame:
        """Return the present state of the crawl, with which a worker of *level* opens it.

        Raises:
            UnpicklableError: a pipeline or a key function cannot cross.
        """
        carrier = self._carrier
        assert self._crawler.spider is not None
        # A copy, as threads of the user, and what is pickled here, may count meanwhile.
        stats = list(self._crawler.stats.get_stats().items())
        state = CrawlState(
            level=self._levels[level].name,
            batches=self._levels[level].batch_size > 0,
            hops={hop.number: self._hop_state(hop) for hop in self._hops if hop.level == level},
            settings=self._settings,
            spider=carrier.spider(self._crawler.spider),
            stats={k: carrier.carry(value) for k, value in stats},
            log_levels=_log_levels(),
            placement=self._placement(level),
        )
        frame = self.codec.dump(state)
        return frame._replace(needs=tuple(carrier.needs))

    def stats(self) -> bytes:
        """Return the present stats, for workers that close what they have of the crawl."""
        carrier = Carrier(self.codec)
        stats = list(self._crawler.stats.get_stats().items())
        return bytes(self.codec.dump({k: self._stat(carrier, one) for k, one in stats}).data)

    def _stat(self, carrier: Carrier, value: Any) -> Carried:
        carried = carrier.carry(value)
        if carrier.needs.keys() <= self._carrier.needs.keys():
            return carried
        # What makes a worker close has no room for definitions.
        carrier.needs.clear()
        return Carried(None, "its class, which workers cannot import, came too late")

    @cached_property  # they are frozen: once is enough
    def _settings(self) -> dict[str, tuple[Carried, int]]:
        # Read the attributes, since get() warns of deprecated names.
        settings = self._crawler.settings.attributes.items()
        return {k: (self._carrier.carry(one.value), one.priority) for k, one in settings}

    def _placement(self, level: int) -> Placement | None:
        # Only the first workers inspect pipelines: a replacement would delay items.
        self._made[level] += 1
        settings = self._levels[level]
        is_first = self._made[level] <= settings.pool.workers
        return settings.placement if is_first else None

    def _hop_state(self, hop: Hop) -> HopState:
        behind = rest_of_route(self._hops, hop)[1:]
        wants = keyed(behind, self._levels) if self._levels[hop.level].wait else ()
        keys = tuple(self._sendable(self._levels[one.level].key) for one in wants)
        return HopState(tuple(map(self._sendable, hop.entries)), keys, bool(behind))

    def _sendable(self, entry: PipelineEntry) -> bytes:
        """Pickle *entry*, or the object at its path if workers cannot import that module."""
        found = entry
        if isinstance(entry, str) and self.codec.importing.is_foreign(entry.rpartition(".")[0]):
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


def _log_levels() -> LogLevels:
    known = known_loggers()
    wanted = {name: _least_taken(logger) for name, logger in known.items() if logger.handlers}
    return LogLevels(
        wanted={**wanted, "": _least_taken(logging.root, logging.WARNING)},
        root=logging.root.level,
        named={name: logger.level for name, logger in known.items() if name and logger.level},
        # Whether logging.captureWarnings is on; there is no public way to ask (3.10-3.14).
        capture_warnings=logging._warnings_showwarning is not None,  # type: ignore[attr-defined]
        parts={
            name: frozenset(map(part_in_words, [*one.handlers, *one.filters]))
            for name, one in known.items()
            if one.handlers or one.filters
        },
        apart=frozenset(name for name, logger in known.items() if not logger.propagate),
        enabled=frozenset(name for name, logger in known.items() if not logger.disabled),
        streams={
            name: (stream.logger.name, stream.log_level)
            for name in ("stdout", "stderr")
            if isinstance(stream := getattr(sys, name), StreamLogger)
        },
    )


def _least_taken(logger: logging.Logger, without: int = sys.maxsize) -> int:
    """Return the lowest level that a handler of *logger* takes, or *without* if it has none."""
    # Libraries give their loggers a NullHandler, which takes all and does nothing.
    real = [one for one in logger.handlers if not isinstance(one, logging.NullHandler)]
    return min((handler.level for handler in real), default=without)


class Carrier:
    """Pickles the parts of a crawl's state.

    ``needs``: the definitions to which their frames refer.
    """

    def __init__(self, codec: ParentCodec) -> None:
        self._codec = codec
        self.needs: dict[int, None] = {}
        self._classes: dict[type, ClassState] = {}
        self._numbers = itertools.count()
        self._warned: set[str] = set()  # names of attributes

    def must_carry(self, value: Any, is_member: bool = False) -> bytes:
        """Pickle a part that workers need; *is_member*: an attribute of a class that is shared."""
        codec = self._codec
        frame = codec.dump_member(value) if is_member else codec.dump_part(value)
        self.needs.update(dict.fromkeys(frame.needs))
        return bytes(frame.data)

    def carry(self, value: Any, is_member: bool = False) -> Carried:
        """Pickle a part that pipelines may never touch, or note why it cannot be pickled."""
        try:
            return Carried(self.must_carry(value, is_member))
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            return Carried(None, named(error if error.__cause__ is None else error.__cause__))

    def spider(self, spider: Spider) -> SpiderState:
        """Return the spider's state, without the attributes that a worker's crawler sets."""
        attributes = {
            name: self.carry(value)
            for name, value in list(spider.__dict__.items())  # __getstate__ may set others
            if name not in ("crawler", "settings")
        }
        self._warn_of_large(attributes)
        return SpiderState(self._class(type(spider)), attributes)

    def _warn_of_large(self, attributes: dict[str, Carried]) -> None:
        """Say once of each large attribute what it costs."""
        for name, carried in attributes.items():
            size = len(carried.frame or b"")
            if size <= _LARGE or name in self._warned:
                continue
            self._warned.add(name)
            logger.warning(
                "spider.%s has %.0f MiB as a pickle, and is sent to each worker when that starts, "
                "whether or not anything there uses it. If only Scrapy's process needs it, keep it "
                "in a variable of start() or of a module; if pipelines need it, have them load it "
                "in open_spider.",
                name,
                size / (1 << 20),
            )

    def _class(self, cls: type) -> ClassState:
        if cls not in self._classes:
            self._classes[cls] = self._judged(cls)
        return self._classes[cls]

    def _judged(self, cls: type) -> ClassState:
        whole, names = self.carry(cls), (cls.__name__, cls.__module__, cls.__qualname__)
        state = ClassState(whole, f"class {next(self._numbers)} of the spider", *names)
        if cls is object or cls.__module__.partition(".")[0] == "scrapy":
            return state
        carry: Callable[[Any], Carried] = self.carry
        if whole.frame is None:
            # Functions among the attributes may refer to the class, which cannot be pickled.
            self._codec.share(**{state.token: cls})
            carry = partial(self.carry, is_member=True)
        elif self._codec.importing.finds(cls):
            carry = _stays_in_module
        # Before the attributes, whose functions may refer to the bases.
        bases = tuple(map(self._class, cls.__bases__))
        own = {name: value for name, value in list(vars(cls).items()) if name not in _NOT_CARRIED}
        return state._replace(own={name: carry(one) for name, one in own.items()}, bases=bases)


def _stays_in_module(value: Any) -> Carried:
    # A worker imports it with its class; however large it is, it need not cross.
    return Carried(None, "the module of its class cannot be imported there")
