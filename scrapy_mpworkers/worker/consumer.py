"""Builds and runs the user's pipelines.

Scrapy's own ItemPipelineManager builds, opens and closes them: it gives ``from_crawler``,
``NotConfigured``, the ``spider`` argument and ``async`` methods exactly as in the crawl.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, ClassVar, Protocol

from scrapy import signals
from scrapy.exceptions import DropItem
from scrapy.pipelines import ItemPipelineManager
from scrapy.settings import BaseSettings
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object
from scrapy.utils.python import global_object_name

from scrapy_mpworkers.errors import SettingError, UnpicklableError
from scrapy_mpworkers.functions import as_pipeline
from scrapy_mpworkers.wire.changes import Change, Snapshot, pack
from scrapy_mpworkers.wire.codec import WorkerCodec
from scrapy_mpworkers.wire.crawl import CrawlState
from scrapy_mpworkers.wire.effects import Effects, WireRecord
from scrapy_mpworkers.wire.failures import take_apart
from scrapy_mpworkers.wire.messages import Definition, Fate, Outcome, Task
from scrapy_mpworkers.worker.buffers import warn_of_buffers
from scrapy_mpworkers.worker.crawler import WorkerCrawler
from scrapy_mpworkers.worker.logs import collect_records
from scrapy_mpworkers.worker.loop import WatchfulLoop

logger = logging.getLogger(__name__)

#: Awaits; in a worker, an await that can never end is an error instead of a hang.
Guard = Callable[[Awaitable[Any]], Awaitable[Any]]


class Records(Protocol):
    """Where log records are taken from."""

    def take(self) -> tuple[WireRecord, ...]: ...


def build(payload: bytes, definitions: Sequence[Definition]) -> Consumers:
    """The factory that a Setup names: loads the state of the crawl and builds its consumers."""
    codec = WorkerCodec()
    codec.define(definitions)
    codec.share(**dict.fromkeys(("spider", "crawler", "settings")))
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WatchfulLoop)
    state: CrawlState = codec.load(payload)
    records = collect_records(state.log_levels, codec.dump)
    consumers = Consumers(state, codec, loop.guard, records)
    warn_of_buffers(consumers.pipelines())
    return consumers


class HopPipelines(ItemPipelineManager):
    """The pipelines of one hop."""

    component_name = "worker item pipeline"
    entries: ClassVar[Sequence[Any]] = ()

    @classmethod
    def _get_mwlist_from_settings(cls, settings: BaseSettings) -> list[Any]:
        loaded = [as_pipeline(load_object(entry)) for entry in cls.entries]
        for pipeline in loaded:
            _refuse_media(pipeline)
        return loaded

    async def process(self, item: Any, guard: Guard) -> Any:
        """As ``process_item_async``, but a chain that never awaits does not pay for awaiting."""
        for method in self.methods["process_item"]:
            assert method is not None
            needs_spider = method in self._mw_methods_requiring_spider
            returned = method(item, self._spider) if needs_spider else method(item)
            if returned is not item:
                name = global_object_name(method)
                returned = await guard(ensure_awaitable(returned, _warn=name))
            item = returned
        return item


class Consumers:
    """The consumers of all hops, and the crawler that they share."""

    def __init__(
        self, state: CrawlState, codec: WorkerCodec, guard: Guard, records: Records
    ) -> None:
        self._codec = codec
        self._guard = guard
        self._records = records
        self._crawler = WorkerCrawler(state, codec)
        self._hops = [hop_pipelines(entries, self._crawler) for entries in state.hops]

    def pipelines(self) -> Iterator[Any]:
        """The user's pipelines, of all hops."""
        for hop in self._hops:
            yield from hop.middlewares

    async def open(self) -> None:
        """Open the pipelines, then send ``spider_opened`` to their handlers."""
        for hop in self._hops:
            await hop.open_spider_async()
        await self._crawler.send(signals.spider_opened)

    async def close(self) -> None:
        """Close the pipelines, then send ``spider_closed`` to their handlers."""
        for hop in self._hops:
            await hop.close_spider_async()
        await self._crawler.send(signals.spider_closed, reason="finished")

    def define(self, definitions: Sequence[Definition]) -> None:
        """Learn what the coming tasks refer to."""
        self._codec.define(definitions)

    async def consume(self, task: Task) -> Outcome:
        """Run one item through the pipelines of its hop. Whatever happens is an outcome."""
        started = perf_counter()
        fate, result = await self._run(task)
        seconds = perf_counter() - started
        self._crawler.warn_of_lost_attributes()
        return Outcome(task.id, int(fate), result, self.effects(), seconds)

    async def _run(self, task: Task) -> tuple[Fate, bytes]:
        arrived: Snapshot | None = None
        try:
            arrived = Snapshot(self._codec.load(task.frame))
            returned = await self._hops[task.hop].process(arrived.item, self._guard)
            return Fate.DONE, pack(arrived.product(returned), self._codec.dump)
        except BaseException as error:
            fate = Fate.DROPPED if isinstance(error, DropItem) else Fate.FAILED
            failure = take_apart(error, self._codec.dump)
            return fate, self._codec.dump((failure, self._portable_change(arrived)))

    def _portable_change(self, arrived: Snapshot | None) -> Change | None:
        """What was done to the item before it was dropped or failed, if that can be pickled."""
        change = None if arrived is None else arrived.change()
        try:
            self._codec.dump(change)
        except Exception:
            return None
        return change

    def effects(self) -> bytes | None:
        """The side effects since the last call, pickled; ``None`` if there are none."""
        stats = self._crawler.take_stat_changes()
        records = self._records.take()
        reason = self._crawler.engine.take_close_reason()
        if not stats and not records and reason is None:
            return None
        try:
            return self._codec.dump(Effects(stats, records, reason))
        except UnpicklableError as error:
            logger.warning("Stats set by a pipeline in a worker are lost: %s", error)
            return self._codec.dump(Effects((), records + self._records.take(), reason))


def hop_pipelines(entries: Sequence[Any], crawler: Any) -> HopPipelines:
    """The pipelines of *entries*, built but not opened."""
    hop: type[HopPipelines] = type("HopPipelines", (HopPipelines,), {"entries": entries})
    return build_from_crawler(hop, crawler)


def _refuse_media(pipeline: type) -> None:
    # Not imported: a subclass exists only where its base has been imported already.
    media = sys.modules.get("scrapy.pipelines.media")
    if media is not None and issubclass(pipeline, media.MediaPipeline):
        raise SettingError(
            f"MPWORKERS_PIPELINES: {pipeline.__module__}.{pipeline.__qualname__} downloads through "
            "the crawl's engine, which a worker does not have. Keep it in ITEM_PIPELINES; "
            "pipelines that work on its files may follow in MPWORKERS_PIPELINES."
        )
