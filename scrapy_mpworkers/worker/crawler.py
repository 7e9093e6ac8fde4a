"""The crawler that a pipeline sees in a worker: what can be had there, clear words otherwise."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple, NoReturn

from scrapy import Spider, signals
from scrapy.settings import Settings
from scrapy.signalmanager import SignalManager

from scrapy_mpworkers.errors import NotInWorkerError
from scrapy_mpworkers.wire.crawl import CrawlState, SpiderState
from scrapy_mpworkers.wire.effects import StatChange
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.stats import WorkerStats

logger = logging.getLogger(__name__)

_LOCAL_SIGNALS = (signals.spider_opened, signals.spider_closed)


class Mark(NamedTuple):
    """The stats at one moment: how many changes there were, and the values."""

    changes: int
    values: dict[str, Any]


class WorkerCrawler:
    """Settings, spider, stats and signals of this worker; an engine that can close the spider."""

    def __init__(self, state: CrawlState, codec: WorkerCodec) -> None:
        self.settings = _frozen_settings(state.settings)
        self.signals = WorkerSignals(self)
        self._stat_changes: list[StatChange] = []
        self.stats = WorkerStats(self, state.stats, self._stat_changes)
        self.engine = WorkerEngine()
        self.spidercls = state.spider.cls
        spidercls: Any = state.spider.cls
        self.spider: Spider = spidercls.__new__(spidercls)
        codec.share(crawler=self, settings=self.settings, spider=self.spider)
        self._equip_spider(state.spider, codec)
        self._known_attributes = dict(self.spider.__dict__)
        self._warned: set[str] = set()

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"crawler.{name}")

    async def send(self, signal: object, **kwargs: Any) -> None:
        """Send *signal* to the handlers that pipelines connected in this worker."""
        await self.signals.send_catch_log_async(signal=signal, spider=self.spider, **kwargs)

    def take_stat_changes(self) -> tuple[StatChange, ...]:
        """What pipelines did to the stats since the last call."""
        if not self._stat_changes:
            return ()
        changes = tuple(self._stat_changes)
        self._stat_changes.clear()
        return changes

    def mark_stats(self) -> Mark:
        """How the stats are now."""
        return Mark(len(self._stat_changes), dict(self.stats.get_stats()))

    def rewind_stats(self, mark: Mark) -> None:
        """Forget what pipelines did to the stats since *mark*."""
        del self._stat_changes[mark.changes :]
        stats = self.stats.get_stats()
        stats.clear()
        stats.update(mark.values)

    def warn_of_lost_attributes(self) -> None:
        """Say it once of each attribute that a pipeline has set on the spider."""
        now = self.spider.__dict__
        for name, value in now.items():
            if self._known_attributes.get(name, self) is not value and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "A pipeline set spider.%s in a worker. The crawl's own spider does not get it: "
                    "keep it in the item or in the stats, or keep that pipeline in ITEM_PIPELINES.",
                    name,
                )

    def _equip_spider(self, state: SpiderState, codec: WorkerCodec) -> None:
        # Without __init__: it may open files, connect signals, or need arguments.
        attributes = self.spider.__dict__
        attributes.update(crawler=self, settings=self.settings)
        for name, why in state.unpicklable.items():
            attributes[name] = Unavailable(f"spider.{name}", why)
        for name, frame in state.attributes.items():
            try:
                attributes[name] = codec.load(frame)
            except Exception as error:
                attributes[name] = Unavailable(f"spider.{name}", f"{type(error).__name__}: {error}")


class WorkerEngine:
    """Relays ``close_spider``. Everything else of the engine lives in Scrapy's process."""

    def __init__(self) -> None:
        self._close_reason: str | None = None

    def close_spider(self, spider: Any = None, reason: str = "cancelled") -> None:
        """Ask the crawl to close the spider, when the item that asks is settled."""
        self._close_reason = reason

    async def close_spider_async(self, *, reason: str = "cancelled") -> None:
        """Ask the crawl to close the spider, when the item that asks is settled."""
        self._close_reason = reason

    def take_close_reason(self) -> str | None:
        """The reason given since the last call."""
        reason, self._close_reason = self._close_reason, None
        return reason

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"crawler.engine.{name}")


class WorkerSignals(SignalManager):
    """Signals stay within a worker, which sends ``spider_opened`` and ``spider_closed`` itself."""

    def connect(self, receiver: Any, signal: Any, **kwargs: Any) -> None:
        """Connect, with a warning for signals that never reach a worker."""
        name = _names_of_signals.get(signal)
        if name is not None and signal not in _LOCAL_SIGNALS:
            logger.warning(
                "%s is connected to the signal %s in a worker, where it is never sent. Only "
                "spider_opened and spider_closed are. Keep that pipeline in ITEM_PIPELINES.",
                getattr(receiver, "__qualname__", receiver),
                name,
            )
        super().connect(receiver, signal, **kwargs)


class Unavailable:
    """Stands for an attribute that could not be pickled; any use of it says so."""

    def __init__(self, what: str, why: str) -> None:
        self.__dict__.update(_what=what, _why=why)

    def __repr__(self) -> str:
        return f"<{self._what}: not available in a worker>"

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse(self._what, f"it could not be sent there ({self._why})")

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()

    __bool__ = __call__ = __iter__ = __len__ = __getitem__ = __contains__ = __setattr__ = _refuse
    __enter__ = __exit__ = __await__ = __aiter__ = _refuse


def refuse(what: str, why: str = "only Scrapy's own process has it") -> NoReturn:
    """Raise the error that names what a pipeline asked for."""
    raise NotInWorkerError(
        f"{what} is not available in a worker: {why}. Make what the pipeline needs part of the "
        "item, the settings or a picklable attribute of the spider, or keep the pipeline in "
        "ITEM_PIPELINES."
    )


def _frozen_settings(values: dict[str, tuple[Any, int]]) -> Settings:
    settings = Settings()
    for name, (value, priority) in values.items():
        settings.set(name, value, priority)
    settings.freeze()
    return settings


_names_of_signals: dict[Any, str] = {
    value: name for name, value in vars(signals).items() if not name.startswith("_")
}
