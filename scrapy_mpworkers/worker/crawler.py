"""Gives pipelines a crawler in a worker; parts that only Scrapy's process has raise an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pydispatch.dispatcher import getAllReceivers, liveReceivers
from scrapy import Spider, signals
from scrapy.exceptions import CloseSpider
from scrapy.settings import Settings
from scrapy.signalmanager import SignalManager
from scrapy.spiders import CrawlSpider

from scrapy_mpworkers.wire.crawl import Carried, CrawlState
from scrapy_mpworkers.wire.effects import HEEDS_CLOSE_SPIDER, StatChange, change_of_spider
from scrapy_mpworkers.wire.texts import named, plain_text
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.arrivals import Arrivals, Unavailable, refuse
from scrapy_mpworkers.worker.sizes import size_of
from scrapy_mpworkers.worker.stats import WorkerStats

logger = logging.getLogger(__name__)

#: Who sets an attribute of the spider, and what to do instead.
_OF_PIPELINE = (
    "A pipeline",
    "keep it in the item or in the stats, or keep that pipeline in ITEM_PIPELINES.",
)
_OF_CALLBACK = (
    "A callback",
    "yield it, keep it in the stats, or take that callback out of MPWORKERS_CALLBACKS.",
)

_LOCAL_SIGNALS = (signals.spider_opened, signals.spider_closed)


class WorkerCrawler:
    """Has settings, spider, stats and signals of this worker, and an engine to close the spider."""

    def __init__(self, state: CrawlState, codec: WorkerCodec) -> None:
        self._arrivals = arrivals = Arrivals(codec)
        self._version = 0  # of the spider's attributes
        self._changes: dict[str, bytes | str] = {}  # those that have come since the start
        #: why a part is not here, by the name that the inspection gives it
        self.missing = arrivals.missing
        self.signals = WorkerSignals(self)
        self.engine = WorkerEngine()
        self.settings = Settings()
        codec.share(crawler=self, settings=self.settings)
        self.spidercls = arrivals.cls(state.spider.cls)
        # Without __init__: it may open files, connect signals, or need arguments.
        self.spider: Spider = _bare(self.spidercls)
        codec.share(spider=self.spider)
        for name, (value, priority) in state.settings.items():
            self.settings.set(name, arrivals.value(value, f"settings[{name!r}]"), priority)
        self.settings.freeze()
        self.stat_changes: list[StatChange] = []
        self.stats = WorkerStats(self, self._stats_of(state.stats), self.stat_changes)
        attributes = self.spider.__dict__
        attributes.update(crawler=self, settings=self.settings)
        for name, value in state.spider.attributes.items():
            attributes[name] = arrivals.value(value, f"spider.{name}")
        _make_rules_again(self.spider)
        self._known_attributes = dict(self.spider.__dict__)
        self._sizes = {name: size_of(value) for name, value in self._known_attributes.items()}
        self._warned: set[str] = set()

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"crawler.{name}")

    def update(self, version: int, attributes: Mapping[str, bytes | str]) -> None:
        """Set what has changed of the spider in Scrapy's process, unless that is known here."""
        if version <= self._version:
            return
        self._version = version
        for name, came in attributes.items():
            if self._changes.get(name) == came:
                continue
            self._changes[name] = came
            carried = Carried(came) if isinstance(came, bytes) else Carried(None, came)
            value = self._arrivals.value(carried, f"spider.{name}")
            self.spider.__dict__[name] = self._known_attributes[name] = value
            self._sizes[name] = size_of(value)

    def renew_stats(self, stats: dict[str, Carried]) -> None:
        """Take over the present stats of the crawl."""
        self.stats.renew(self._stats_of(stats))

    def _stats_of(self, stats: dict[str, Carried]) -> dict[str, Any]:
        return {k: self._arrivals.value(v, f"the stat {k}") for k, v in stats.items()}

    async def send(self, signal: object, **kwargs: Any) -> None:
        """Send *signal* to the handlers that pipelines connected in this worker.

        Raises:
            CloseSpider: a handler of ``spider_opened`` did, where Scrapy heeds that.
        """
        heeds = signal is signals.spider_opened and HEEDS_CLOSE_SPIDER
        results = await self.signals.send_catch_log_async(
            signal=signal, spider=self.spider, dont_log=CloseSpider if heeds else (), **kwargs
        )
        for _, result in results if heeds else ():
            if isinstance(result, CloseSpider):
                raise result

    def mark_stats(self) -> Callable[[], None]:
        """Return a function that forgets what pipelines do to the stats from now on."""
        return self.stats.mark()

    def warn_of_lost_attributes(self, by_callback: bool = False) -> None:
        """Warn once of each attribute of the spider that a pipeline, or else a callback, has set,
        or to which it has added something."""
        # A copy: a thread of a pipeline may set attributes meanwhile.
        for name, value in list(self.spider.__dict__.items()):
            if name in self._warned:
                continue
            is_other = self._known_attributes.get(name, self) is not value
            if is_other or size_of(value) != self._sizes.get(name):
                self._warned.add(name)
                who, way_out = _OF_CALLBACK if by_callback else _OF_PIPELINE
                logger.warning(
                    "%s %s spider.%s in a worker. The crawl's own spider does not get it: %s",
                    who,
                    "set" if is_other else "changed",
                    name,
                    way_out,
                    extra={"said_once": change_of_spider(who, name)},
                )


def _make_rules_again(spider: Spider) -> None:
    """Let a CrawlSpider make its rules of those of its class, if they could not cross: they have
    functions of any kind."""
    missing = vars(spider).get("_rules")
    if isinstance(spider, CrawlSpider) and isinstance(missing, Unavailable):
        try:
            spider._compile_rules()
        except Exception as error:  # rules of the spider itself, or code of the user
            logger.debug("The rules of %s are not made again: %s", spider.name, named(error))
            vars(spider)["_rules"] = missing


class WorkerEngine:
    """Relays ``close_spider``. Everything else of the engine lives in Scrapy's process."""

    def __init__(self) -> None:
        self.close_reasons: list[str] = []

    def close_spider(self, spider: Any = None, reason: str = "cancelled") -> None:
        """Ask the crawl to close the spider, when the item that asks is settled."""
        self.close_reasons.append(plain_text(reason))

    async def close_spider_async(self, *, reason: str = "cancelled") -> None:
        self.close_reasons.append(plain_text(reason))

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"crawler.engine.{name}")


class WorkerSignals(SignalManager):
    """Keeps signals within a worker, which sends ``spider_opened`` and ``spider_closed`` itself."""

    def __init__(self, sender: Any) -> None:
        super().__init__(sender)
        self._lost: dict[int, Any] = {}  # signals that were sent and not heard

    def connect(self, receiver: Any, signal: Any, **kwargs: Any) -> None:
        """Connect, with a warning for signals that never reach a worker."""
        name = _names_of_signals.get(signal)
        if name is not None and signal not in _LOCAL_SIGNALS:
            logger.warning(
                "%s is connected to the signal %s in a worker, where it is never sent. Only "
                "spider_opened and spider_closed are. Keep that pipeline in ITEM_PIPELINES, that "
                "callback out of MPWORKERS_CALLBACKS.",
                getattr(receiver, "__qualname__", receiver),
                name,
            )
        super().connect(receiver, signal, **kwargs)

    def send_catch_log(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        self._warn_if_lost(signal, kwargs)
        return super().send_catch_log(signal, **kwargs)

    def send_catch_log_deferred(self, signal: Any, **kwargs: Any) -> Any:
        self._warn_if_lost(signal, kwargs)
        return super().send_catch_log_deferred(signal, **kwargs)

    async def send_catch_log_async(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        self._warn_if_lost(signal, kwargs)
        return await super().send_catch_log_async(signal, **kwargs)

    def _warn_if_lost(self, signal: Any, options: dict[str, Any]) -> None:
        """Warn once of a signal that nothing in this worker hears."""
        if signal in _LOCAL_SIGNALS or id(signal) in self._lost:
            return
        sender = options.get("sender", self.sender)
        if any(True for _ in liveReceivers(getAllReceivers(sender, signal))):
            return
        self._lost[id(signal)] = signal  # kept, or another may get its number
        logger.warning(
            "The signal %s was sent in a worker, where nothing hears it: extensions and other "
            "handlers in Scrapy's process do not get it. Keep that pipeline in ITEM_PIPELINES, "
            "that callback out of MPWORKERS_CALLBACKS.",
            _name_of(signal),
        )


def _name_of(signal: Any) -> str:
    """Return what a signal is called by those who import it: most are plain objects."""
    if isinstance(signal, str):
        return signal
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is signal:
                return str(name)
    return f"of type {type(signal).__name__}"


def _bare(cls: Any) -> Any:
    try:
        return cls.__new__(cls)
    except Exception:  # it wants arguments
        return object.__new__(cls)


_names_of_signals: dict[Any, str] = {
    value: name for name, value in vars(signals).items() if not name.startswith("_")
}
