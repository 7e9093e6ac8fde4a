"""The backend of this machine: worker processes, level by level.

Crawls of this process that run at the same time and want the same workers share them. The pool is
imported late: first the fork server is launched, and imports beside us.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from scrapy import Spider
from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import SettingError

# Before the imports, which fail where process groups and descriptors are not those of POSIX.
if sys.platform == "win32":
    raise SettingError(
        "worker processes need Linux or macOS. On this machine set MPWORKERS_WORKERS = 0: the same "
        "pipelines, errors and stats in Scrapy's process; or MPWORKERS_ENABLED = False: without it."
    )

from scrapy_mpworkers.backends.base import IN_OUR_PROCESS, LevelPlan, count_workers, make_setup
from scrapy_mpworkers.backends.preloading import (
    OWN,
    folders_to_import_from,
    imported_settings_module,
    modules_to_preload,
)
from scrapy_mpworkers.eventloop import EventLoop, current_loop, is_closed
from scrapy_mpworkers.pool.batching import target
from scrapy_mpworkers.pool.cpus import thread_variables, usable_cpus
from scrapy_mpworkers.pool.forkserver import ServerSpec, servers
from scrapy_mpworkers.pool.interface import PoolEvents, PoolOptions
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.settings import WorkerSettings
from scrapy_mpworkers.wire.messages import Prelude, WorkerConfig
from scrapy_mpworkers.worker.prelude import IN_WORKER

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.executor import PoolExecutor
    from scrapy_mpworkers.pool.worker_group import LocalWorkerGroup
    from scrapy_mpworkers.wire.codec import Frame, ParentCodec


class WorkerSpec(NamedTuple):
    """The workers of a level."""

    method: str
    options: PoolOptions
    wanted: ServerSpec

    @property
    def key(self) -> tuple[Any, ...]:
        """Return all that must be equal where crawls share workers."""
        return self.method, self.options, self.wanted.config, frozenset(os.environ.items())


#: The pools of this process that crawls can join, and the event loops that they belong to.
_at_work: dict[tuple[tuple[Any, ...], Any], LocalWorkerGroup] = {}


class LocalBackend:
    """Worker processes of this machine."""

    cpus = usable_cpus()

    def __init__(
        self, crawler: Crawler, options: WorkerSettings, plans: Sequence[LevelPlan]
    ) -> None:
        self._specs = _specs_of(options, plans, crawler.spidercls)
        self._plans = plans

    @staticmethod
    def warm_up(
        options: WorkerSettings, plans: Sequence[LevelPlan], spidercls: type[Spider]
    ) -> None:
        """Launch fork servers: they import Scrapy and the pipelines while Scrapy's process imports
        the rest of this package, and builds the crawl."""
        _prepare(_specs_of(options, plans, spidercls), plans)

    def prepare(self) -> None:
        """Launch fork servers, unless :meth:`warm_up` has done so."""
        _prepare(self._specs, self._plans)

    def pool(
        self,
        number: int,
        make_state: Callable[[], Frame],
        codec: ParentCodec,
        events: PoolEvents,
        loop: EventLoop,
    ) -> PoolExecutor:
        from scrapy_mpworkers.pool.executor import PoolExecutor

        spec = self._specs[number]
        setup = partial(make_setup, make_state, codec, IN_OUR_PROCESS)
        find, blobs = partial(_find_pool, spec), codec.definitions.blobs
        return PoolExecutor(find, spec.options, setup, blobs, events, loop)


def _specs_of(
    options: WorkerSettings, plans: Sequence[LevelPlan], spidercls: type[Spider]
) -> list[WorkerSpec]:
    # The listed workers share the CPUs; calls seldom have workers of their own.
    everybody = count_workers(options, plans)
    environment = thread_variables(everybody, os.environ) | {IN_WORKER: "1"}
    prelude = Prelude(imported_settings_module(), options.initializer)
    specs = []
    for plan in plans:
        pool = plan.settings.pool
        config = WorkerConfig(
            nice=pool.nice,
            environment=tuple(sorted(environment.items())),
            start_method=multiprocessing.get_start_method(allow_none=True),
            paths=folders_to_import_from(spidercls),
            batch_seconds=target(pool.workers),
            prelude=prelude,
        )
        preload, also = modules_to_preload(plan.entries, spidercls, prelude)
        wanted = ServerSpec(OWN, preload, also, config)
        specs.append(WorkerSpec(options.start_method, plan.options(), wanted))
    return specs


def _prepare(specs: Sequence[WorkerSpec], plans: Sequence[LevelPlan]) -> None:
    """Let fork servers import what the hops' workers need, unless there are workers that can be
    shared."""
    shared = {key for (key, _), pool in list(_at_work.items()) if not pool.is_ending}
    servers.prepare(
        [
            one.wanted
            for one, plan in zip(specs, plans, strict=True)
            if plan.starts_with_crawl
            if one.method == "forkserver" and one.key not in shared
        ]
    )


def _find_pool(spec: WorkerSpec) -> LocalWorkerGroup:
    from scrapy_mpworkers.pool.worker_group import LocalWorkerGroup

    loop = current_loop()  # not the crawl's, which ends with it
    key = spec.key, loop.native
    pool = _at_work.get(key)
    if pool is not None and not pool.is_ending:
        return pool

    def ended() -> None:
        loop.close()
        if _at_work.get(key) is new:
            del _at_work[key]

    for of_dead_loop in [one for one in _at_work if is_closed(one[1])]:
        # Its crawl was torn down in the middle of its stop.
        _at_work.pop(of_dead_loop).abandon()
    new = LocalWorkerGroup(spec.options, Processes(spec.method, spec.wanted), loop, ended)
    _at_work[key] = new
    return new
