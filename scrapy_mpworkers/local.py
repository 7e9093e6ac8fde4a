"""The workers of one crawl on this machine, made from its settings."""

from __future__ import annotations

import multiprocessing
import os

from scrapy_mpworkers.crossing import Crossing, folders_to_import_from, modules_to_preload
from scrapy_mpworkers.inline import InProcessPool
from scrapy_mpworkers.loops import CrawlLoop
from scrapy_mpworkers.pool.interface import PoolEvents, PoolOptions
from scrapy_mpworkers.pool.pool import Pool
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.settings import Entry, WorkerSettings, thread_variables
from scrapy_mpworkers.wire.messages import Definition, Setup
from scrapy_mpworkers.worker.process import Conditions


def make_processes(
    spidercls: type, settings: WorkerSettings, hops: tuple[tuple[Entry, ...], ...]
) -> Processes | None:
    """What starts the workers; ``None`` for ``MPWORKERS_WORKERS=0``."""
    if not settings.workers:
        return None
    conditions = Conditions(
        nice=settings.nice,
        environment=thread_variables(settings.workers, os.environ),
        start_method=multiprocessing.get_start_method(allow_none=True),
        paths=folders_to_import_from(spidercls),
    )
    return Processes(settings.start_method, modules_to_preload(hops, spidercls), conditions)


def make_pool(
    settings: WorkerSettings,
    crossing: Crossing,
    processes: Processes | None,
    events: PoolEvents,
    loop: CrawlLoop,
) -> Pool | InProcessPool:
    """A pool that is not started yet."""
    if processes is None:
        return InProcessPool(crossing.state, crossing.codec, events, loop.call_soon)
    options = PoolOptions(
        workers=settings.workers,
        redeliver_times=settings.redeliver_times,
        intensity=settings.restart_intensity,
        period=settings.restart_period,
        item_timeout=settings.item_timeout,
        max_items=settings.worker_max_items,
        memory_limit=settings.worker_memory_limit_mb << 20,
    )
    blobs = crossing.codec.definitions.blobs

    def make_setup() -> Setup:
        frame = crossing.state()
        definitions = tuple(Definition(number, blobs[number]) for number in frame.needs)
        return Setup(definitions, "scrapy_mpworkers.worker.consumer:build", frame.data)

    return Pool(options, processes, make_setup, blobs, events, loop)
