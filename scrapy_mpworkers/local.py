"""The workers of one level on this machine, made from its settings."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence

from scrapy_mpworkers.checks import Entry
from scrapy_mpworkers.cpus import thread_variables
from scrapy_mpworkers.crossing import folders_to_import_from, modules_to_preload
from scrapy_mpworkers.inline import InProcessPool
from scrapy_mpworkers.loops import CrawlLoop
from scrapy_mpworkers.pool.batching import Together, target
from scrapy_mpworkers.pool.interface import PoolEvents, PoolOptions
from scrapy_mpworkers.pool.pool import Pool
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.settings import LevelSettings, PoolSettings
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.messages import Definition, Setup
from scrapy_mpworkers.worker.process import Conditions


def make_processes(
    spidercls: type,
    start_method: str,
    pool: PoolSettings,
    everybody: int,
    entries: Sequence[Entry],
) -> Processes | None:
    """What starts the workers of a level; ``None`` if it has none, and runs in this process.

    Args:
        everybody: workers of all levels, which share the CPUs.
        entries: the level's pipelines.
    """
    if not pool.workers:
        return None
    conditions = Conditions(
        nice=pool.nice,
        environment=thread_variables(everybody, os.environ),
        start_method=multiprocessing.get_start_method(allow_none=True),
        paths=folders_to_import_from(spidercls),
        batch_seconds=target(pool.workers),
    )
    return Processes(start_method, modules_to_preload(entries, spidercls), conditions)


def make_pool(
    level: LevelSettings,
    make_state: Callable[[], Frame],
    codec: ParentCodec,
    processes: Processes | None,
    events: PoolEvents,
    loop: CrawlLoop,
) -> Pool | InProcessPool:
    """The pool of a level, not started yet."""
    if processes is None:
        return InProcessPool(make_state, codec, events, loop.call_soon)
    blobs = codec.definitions.blobs

    def make_setup() -> Setup:
        frame = make_state()
        definitions = tuple(Definition(number, blobs[number]) for number in frame.needs)
        return Setup(definitions, "scrapy_mpworkers.worker.consumer:build", bytes(frame.data))

    return Pool(_options(level), processes, make_setup, blobs, events, loop)


def _options(level: LevelSettings) -> PoolOptions:
    pool = level.pool
    return PoolOptions(
        workers=pool.workers,
        redeliver_times=pool.redeliver_times,
        intensity=pool.restart_intensity,
        period=pool.restart_period,
        item_timeout=pool.item_timeout,
        max_items=pool.worker_max_items,
        memory_limit=pool.worker_memory_limit_mb << 20,
        keyed=level.key is not None,
        together=Together(level.batch_size, level.batch_seconds) if level.batch_size else None,
        name=level.name or "worker",
    )
