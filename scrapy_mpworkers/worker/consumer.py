"""Runs items through the user's pipelines, and says what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from scrapy import signals
from scrapy.exceptions import DropItem

from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.wire.changes import Snapshot, know_fields, pack, replay_changes, shrinks
from scrapy_mpworkers.wire.crawl import CrawlState, HopState, LogLevels, Placement
from scrapy_mpworkers.wire.entries import KeyFunction, key_function
from scrapy_mpworkers.wire.exceptions import can_cross, pack_exception
from scrapy_mpworkers.wire.messages import (
    CALL,
    CALLBACK,
    Definition,
    Ending,
    Outcome,
    TaskStatus,
    WireTask,
    as_outcome,
)
from scrapy_mpworkers.wire.pickling import for_home
from scrapy_mpworkers.wire.texts import ascii_safe, named
from scrapy_mpworkers.wire.worker_codec import Handles, WorkerCodec
from scrapy_mpworkers.worker.callbacks import Callbacks
from scrapy_mpworkers.worker.crawler import WorkerCrawler
from scrapy_mpworkers.worker.logs import Records, log_like_parent
from scrapy_mpworkers.worker.loop import WatchfulLoop
from scrapy_mpworkers.worker.monitor import warn_and_watch
from scrapy_mpworkers.worker.pipelines import CallHop, Guard, HopPipelines, hop_pipelines
from scrapy_mpworkers.worker.record_collector import RecordCollector
from scrapy_mpworkers.worker.side_effects import SideEffects

logger = logging.getLogger(__name__)

_DONE = int(TaskStatus.DONE)
_LOOK_EVERY = 1.0  # seconds; to look at each attribute takes as long as half a small item

_hop_of = attrgetter("hop")

#: How an item ended: status, result and keys of its Outcome.
_End: TypeAlias = tuple[int, bytes, tuple[Any, ...]]


class _Behind(NamedTuple):
    """The keys that hops behind a hop want, and whether the item goes on to any."""

    keys: tuple[KeyFunction, ...]
    goes_on: bool


def build(
    payload: bytes,
    definitions: Sequence[Definition],
    begin_to_log: Callable[[LogLevels], RecordCollector] = log_like_parent,
) -> CrawlConsumer:
    """Load the state of the crawl, and build its consumer.

    Args:
        begin_to_log: makes this process log what the parent wants into the collector it returns.
    """
    codec = WorkerCodec()
    codec.define(definitions)
    codec.share(**dict.fromkeys(("spider", "crawler", "settings")))
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WatchfulLoop)
    state: CrawlState = codec.load(payload)
    records = Records(codec, begin_to_log(state.log_levels), state.log_levels)
    records.collect()
    consumer = CrawlConsumer(state, codec, loop.guard, records)
    records.log_like_parent_again()  # it has imported the pipelines
    if state.placement is not None:
        consumer.warn_and_watch(state.placement)
    return consumer


def describe(error: BaseException) -> bytes:
    """Pickle why a consumer could not be built, opened or closed."""
    codec = WorkerCodec()
    return codec.dump(pack_exception(error, codec.dump))


class CrawlConsumer:
    """Runs tasks through the pipelines of all hops of a level, which share one crawler."""

    def __init__(
        self, state: CrawlState, codec: WorkerCodec, guard: Guard, records: Records
    ) -> None:
        self._codec = codec
        self._guard = guard
        self._records = records
        self._crawler = WorkerCrawler(state, codec)
        self.effects = SideEffects(self._crawler, records, codec).take
        self._hops = {
            number: hop_pipelines([codec.load(entry) for entry in hop.entries], self._crawler)
            for number, hop in state.hops.items()
        }
        self._look_at = 0.0  # when to look at the spider's attributes again, perf_counter()
        self._runs: dict[int, HopPipelines | CallHop] = {CALL: CallHop(), **self._hops}
        self._callbacks = Callbacks(self._crawler, codec, guard)
        self._behind = {number: self._what_follows(hop) for number, hop in state.hops.items()}
        self._behind[CALL] = None
        if state.batches and not any(hop.takes_batches for hop in self._hops.values()):
            raise SettingError(
                f"MPWORKERS_LEVELS: the level {state.level!r} has batch_size, but none of its "
                "pipelines has process_batch; give one to the pipeline that stores, or remove "
                "batch_size."
            )

    def warn_and_watch(self, placement: Placement) -> None:
        """Warn of what pipelines do wrong, and watch the first items for more of it."""
        warn_and_watch(list(self._hops.values()), placement, self._crawler.missing)

    def activate(self) -> None:
        """Take the records of this process for this crawl, until another crawl takes over."""
        self._records.collect()

    async def open(self) -> None:
        """Open the pipelines, then send ``spider_opened`` to their handlers."""
        for hop in self._hops.values():
            await hop.open_spider_async()
        await self._crawler.send(signals.spider_opened)
        self._crawler.stats.go_stale()
        self._records.log_like_parent_again()

    async def close(self, ending: Ending) -> None:
        """Close the pipelines, then send ``spider_closed`` with the reason to their handlers. Both
        see the stats of the crawl's end."""
        if ending.stats:
            self._crawler.renew_stats(self._codec.load(ending.stats))
        await self._callbacks.close()
        for hop in self._hops.values():
            await hop.close_spider_async()
        self._crawler.warn_of_lost_attributes(by_callback=not self._hops)
        await self._crawler.send(signals.spider_closed, reason=ending.reason)

    def define(self, definitions: Sequence[Definition]) -> None:
        """Learn what the coming tasks refer to."""
        self._codec.define(definitions)

    async def consume(self, task: WireTask) -> Outcome:
        """Run one item through the pipelines of its hop. Whatever happens is an outcome."""
        started = perf_counter()
        arrived: Snapshot | None = None
        is_callback = task.hop == CALLBACK
        try:
            if task.attributes is not None:
                self._crawler.update(*task.attributes)
            if is_callback:
                end = await self._callbacks.part(task)
            else:
                arrived = self._arrived(task)
                returned = await self._runs[task.hop].process(arrived.item, self._guard)
                end = self._done(task, arrived, returned)
        except BaseException as error:
            end = self._callbacks.failed(error) if is_callback else self._ended(arrived, error)
        ended = perf_counter()
        if ended >= self._look_at:
            self._look_at = ended + _LOOK_EVERY
            self._crawler.warn_of_lost_attributes(is_callback)
        status, result, keys = end
        effects = self.effects()
        if is_callback and self._callbacks.is_repeating:
            effects = None
        return as_outcome((task.id, status, result, effects, ended - started, keys))

    async def consume_batched(
        self, tasks: Sequence[WireTask], begins: Callable[[], object]
    ) -> list[Outcome]:
        """Run the items of each hop through its pipelines as one, in the order of the hops.

        Args:
            begins: called before each call of a pipeline: each has the whole limit of time.
        """
        started = perf_counter()
        outcomes: list[Outcome] = []
        for _, group in groupby(sorted(tasks, key=_hop_of), key=_hop_of):
            outcomes += await self._run_batched(list(group), begins)
        seconds = (perf_counter() - started) / len(tasks)
        self._crawler.warn_of_lost_attributes()
        # Side effects of a batch belong to no item in particular, so the first one brings them.
        first, *others = [outcome._replace(seconds=seconds) for outcome in outcomes]
        return [first._replace(effects=self.effects()), *others]

    # One by one

    def _arrived(self, task: WireTask) -> Snapshot:
        item = self._codec.load(task.frame)
        if task.results:
            item = replay_changes(item, task.results, self._codec.load_more)
        if type(item) is not dict:  # without the call: nearly every item
            know_fields(item)
        return Snapshot(item)

    def _done(self, task: WireTask, arrived: Snapshot, returned: Any) -> _End:
        behind = self._behind[task.hop]
        if behind is None:
            return _DONE, pack(arrived.result(returned), self._codec.dump), ()
        keys = tuple(key(returned) for key in behind.keys)
        changed = arrived.result(returned)
        result = pack(changed, self._codec.dump)
        shipped = len(task.frame) + sum(map(len, task.results))
        if behind.goes_on and result and shrinks(arrived, changed, len(result), shipped):
            result = for_home(result)  # so that Scrapy's process sends the item on in a new frame
        return _DONE, result, keys

    def _what_follows(self, hop: HopState) -> _Behind | None:
        keys = tuple(key_function(self._codec.load(key)) for key in hop.keys)
        return _Behind(keys, hop.goes_on) if keys or hop.goes_on else None

    def _ended(self, arrived: Snapshot | None, error: BaseException) -> _End:
        status = TaskStatus.DROPPED if isinstance(error, DropItem) else TaskStatus.FAILED
        failure = pack_exception(error, self._codec.dump)
        # Earlier changes to the item go along, if they can cross.
        change = None if arrived is None else arrived.change()
        known = change if can_cross(change, self._codec.dump) else None
        return int(status), self._codec.dump((failure, known)), ()

    # Batched

    async def _run_batched(
        self, tasks: Sequence[WireTask], begins: Callable[[], object]
    ) -> list[Outcome]:
        begins()
        arrivals = [self._arrival(task) for task in tasks]
        fine = [n for n, (arrived, _) in enumerate(arrivals) if isinstance(arrived, Snapshot)]
        items = [arrivals[n][0].item for n in fine]
        rewind_stats = self._crawler.mark_stats()
        try:
            came = await self._hops[tasks[0].hop].process_batched(items, self._guard, begins)
        except BaseException as error:
            if len(tasks) > 1:
                rewind_stats()
                return await self._run_one_by_one(tasks, error, begins)
            came = [error]
        ends = dict(zip(fine, came, strict=True))
        return [
            self._outcome(task, *arrivals[n], ends.get(n, arrivals[n][0]))
            for n, task in enumerate(tasks)
        ]

    async def _run_one_by_one(
        self, tasks: Sequence[WireTask], error: BaseException, begins: Callable[[], object]
    ) -> list[Outcome]:
        """Let a bad item fail alone.

        Each item begins again from its frame, so nothing that the batch has changed stays.
        """
        logger.warning(
            "A batch of %d items raised %s. They are tried one by one",
            len(tasks),
            ascii_safe(named(error)),
        )
        return [outcome for task in tasks for outcome in await self._run_batched([task], begins)]

    def _arrival(self, task: WireTask) -> tuple[Any, Handles]:
        """Return the item, or the exception that loading it raises; and its responses' handles."""
        try:
            if task.attributes is not None:
                self._crawler.update(*task.attributes)
            return self._arrived(task), self._codec.handles
        except BaseException as error:
            return error, self._codec.handles

    def _outcome(self, task: WireTask, arrived: Any, handles: Handles, end: Any) -> Outcome:
        self._codec.answer(handles)
        snapshot = arrived if isinstance(arrived, Snapshot) else None
        if snapshot is None or isinstance(end, BaseException):
            status, result, keys = self._ended(snapshot, end)
        else:
            try:
                status, result, keys = self._done(task, snapshot, end)
            except BaseException as error:
                status, result, keys = self._ended(snapshot, error)
        return Outcome(task.id, status, result, None, 0.0, keys)
