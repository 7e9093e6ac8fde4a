"""The workers of a level on this machine, made from its settings.

Crawls of this process that run at the same time and want the same workers share them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from scrapy_mpworkers.checks import Entry
from scrapy_mpworkers.cpus import thread_variables
from scrapy_mpworkers.crossing import folders_to_import_from, modules_to_preload
from scrapy_mpworkers.inline import InProcessPool
from scrapy_mpworkers.loops import CrawlLoop, current_loop, is_closed
from scrapy_mpworkers.pool.batching import Together, target
from scrapy_mpworkers.pool.forkserver import Wanted, servers
from scrapy_mpworkers.pool.interface import PoolEvents, PoolOptions
from scrapy_mpworkers.pool.pool import Pool
from scrapy_mpworkers.pool.processes import Processes
from scrapy_mpworkers.pool.tenant import Tenant
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.messages import Definition, Setup
from scrapy_mpworkers.worker.process import Conditions


class Manning(NamedTuple):
    """What a level has for workers. Crawls with equal ``method``, ``options`` and conditions can
    have the same ones."""

    method: str
    options: PoolOptions
    wanted: Wanted


class _Key(NamedTuple):
    """What must be equal where workers are shared."""

    method: str
    options: PoolOptions
    conditions: Conditions
    environment: frozenset[tuple[str, str]]


#: The pools of this process that crawls can join, and the event loops that they belong to.
_at_work: dict[tuple[_Key, Any], Pool] = {}


def manning(
    method: str, level: LevelSettings, spidercls: type, everybody: int, entries: Sequence[Entry]
) -> Manning | None:
    """What a level has for workers; ``None`` if it has none, and runs in this process.

    Args:
        method: the start method.
        everybody: workers of all levels, which share the CPUs.
        entries: the level's pipelines.
    """
    pool = level.pool
    if not pool.workers:
        return None
    conditions = Conditions(
        nice=pool.nice,
        environment=tuple(sorted(thread_variables(everybody, os.environ).items())),
        start_method=multiprocessing.get_start_method(allow_none=True),
        paths=folders_to_import_from(spidercls),
        batch_seconds=target(pool.workers),
    )
    preload, also = modules_to_preload(entries, spidercls)
    return Manning(method, _options(level), Wanted(preload, also, conditions))


def launch_servers(several: Iterable[Manning]) -> None:
    """Let fork servers import what workers will need, where none are at work that can be shared."""
    shared = {key for (key, _), pool in list(_at_work.items()) if not pool.is_ending}
    servers.prepare(
        [one.wanted for one in several if one.method == "forkserver" and _key(one) not in shared]
    )


def make_pool(
    manning: Manning | None,
    make_state: Callable[[], Frame],
    codec: ParentCodec,
    events: PoolEvents,
    loop: CrawlLoop,
) -> Tenant | InProcessPool:
    """The pool of a level, as the crawl has it. It is not started, or joined, yet."""
    if manning is None:
        return InProcessPool(make_state, codec, events, loop.call_soon)
    blobs = codec.definitions.blobs

    def make_setup(crawl: int) -> Setup:
        frame = make_state()
        definitions = tuple(Definition(number, blobs[number]) for number in frame.needs)
        factory = "scrapy_mpworkers.worker.consumer:build"
        return Setup(crawl, definitions, factory, bytes(frame.data))

    find = partial(_find_pool, manning)
    return Tenant(find, manning.options, make_setup, blobs, events, loop)


def _find_pool(manning: Manning) -> Pool:
    loop = current_loop()  # not the crawl's, which ends with it
    place = _key(manning), loop.under
    pool = _at_work.get(place)
    if pool is not None and not pool.is_ending:
        return pool

    def ended() -> None:
        loop.close()
        if _at_work.get(place) is new:
            del _at_work[place]

    for of_dead_loop in [one for one in _at_work if is_closed(one[1])]:
        del _at_work[of_dead_loop]  # its crawl was torn down in the middle of its stop
    new = Pool(manning.options, Processes(manning.method, manning.wanted), loop, ended)
    _at_work[place] = new
    return new


def _key(manning: Manning) -> _Key:
    conditions = manning.wanted.conditions
    return _Key(manning.method, manning.options, conditions, frozenset(os.environ.items()))


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
