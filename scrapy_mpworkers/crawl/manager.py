"""Makes, starts, watches, drains and stops the workers of all levels of one crawl."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from functools import partial

from scrapy.crawler import Crawler

from scrapy_mpworkers.backends.base import Backend, find_backend, plans_of, wants_callbacks
from scrapy_mpworkers.backends.preloading import (
    imported_settings_module,
    modules_and_classes,
    modules_to_import_again,
)
from scrapy_mpworkers.crawl.brake import Brake, Downloads
from scrapy_mpworkers.crawl.closing import CloseDeadline
from scrapy_mpworkers.crawl.context import CrawlContext
from scrapy_mpworkers.crawl.events import EffectsSink
from scrapy_mpworkers.crawl.patches import (
    CALLBACK_DELAY,
    ScraperWakeup,
    brake_downloads,
    count_items_of_start,
    watch_closing,
)
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.crawl.results import take_results_on_demand
from scrapy_mpworkers.eventloop import EventLoop, Latch, current_loop
from scrapy_mpworkers.hops import Hop, is_contract_check
from scrapy_mpworkers.pool.cpus import usable_cpus
from scrapy_mpworkers.pool.interface import because_stopped, resolve
from scrapy_mpworkers.settings import WorkerSettings
from scrapy_mpworkers.wire.messages import FINISHED, GOES_ON, Ending
from scrapy_mpworkers.worker.prelude import initialize

logger = logging.getLogger(__name__)

#: A second close waits for the stop that the first one brings, but not longer than so many seconds
#: without any item. It looks again after so many.
_PATIENCE, _LOOK_AGAIN = 2.0, 0.1

#: Seconds after which modules that workers import are read: the first item does not wait for that.
_READ_LATER = 1.0


class LevelManager:
    """Manages the levels of one crawl; one of them, or an extra one, takes calls of functions."""

    def __init__(self, crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> None:
        self._crawler = crawler
        self._options = options
        has_callbacks = wants_callbacks(options, crawler.spidercls) and not is_contract_check()
        self._plans, self.calls_at, self.callbacks_at = plans_of(options, hops, has_callbacks)
        self.settings = [plan.settings for plan in self._plans]
        self._backend: Backend | None = None
        if any(level.pool.workers for level in self.settings):
            self._backend = find_backend(options.backend)(crawler, options, self._plans)
        self.levels: list[Level] = []
        self.downloads: Downloads | None = None  # set by assemble()
        self._closing: CloseDeadline | None = None  # set by assemble()
        self._stopped: Latch | None = None
        self._reason = FINISHED  # why the spider closes
        self._context: CrawlContext | None = None  # set by assemble()
        self.is_closing = self.is_over = self._is_initialized = False
        has_workers = any(plan.starts_with_crawl for plan in self._plans)
        self._unread = modules_to_import_again(options, has_workers, crawler.spidercls)

    @property
    def cpus(self) -> int:
        """Return how many CPUs there are for the workers."""
        return usable_cpus() if self._backend is None else self._backend.cpus

    @property
    def from_the_beginning(self) -> list[int]:
        """Return the levels whose workers do not wait for a first call."""
        return [n for n, one in enumerate(self._plans) if one.hops or one.has_callbacks]

    @property
    def started(self) -> list[Level]:
        """Return the levels whose workers have been started."""
        return [level for level in self.levels if level.has_started]

    @property
    def is_stopping(self) -> bool:
        """Return whether the crawl has begun to stop its workers."""
        return self._stopped is not None

    @property
    def has_stopped(self) -> bool:
        return self._stopped is not None and self._stopped.is_open

    def prepare(self) -> None:
        """Let the backend begin what takes long while Scrapy goes on to start."""
        if self._backend is not None:
            self._backend.prepare()

    def assemble(
        self, context: CrawlContext, effects: EffectsSink, loop: EventLoop
    ) -> Sequence[Level]:
        """Make the levels. None of them is started yet."""
        self._context = context
        wakeup = ScraperWakeup(self._crawler, loop, self._awaited)
        self.levels = [
            Level(number, settings, self._backend, context, effects, loop, wakeup)
            for number, settings in enumerate(self.settings)
        ]
        self._closing = CloseDeadline(loop, self.levels, self._options.close_timeout)
        watch_closing(self._crawler, self._begin_to_close, self._await_end)
        count_items_of_start(self._crawler)
        take_results_on_demand(self._crawler)
        brake = Brake(self.levels, CALLBACK_DELAY, loop, wakeup)
        brake_downloads(self._crawler, brake.is_on, brake.downloads)
        self.downloads = brake.downloads
        self._warn_of_changed_state()
        loop.call_later(_READ_LATER, self._warn_of_modules)
        return self.levels

    async def start(self, numbers: Iterable[int]) -> None:
        """Start the workers of these levels, unless they are, and wait until one of each is ready.

        Raises:
            Exception: what a worker raised while it built or opened its pipelines.
            WorkerStartError: none became ready, or the user's initializer has failed here.
        """
        wanted = [self.levels[number] for number in numbers]
        is_here = self._options.enabled and any(not one.settings.pool.workers for one in wanted)
        if is_here and not self._is_initialized:  # this process does a worker's job
            initialize(self._options.initializer)
            self._is_initialized = True
        for level in wanted:
            level.start()
        for level in wanted:
            await level.started.wait()

    def expect_open(self) -> None:
        """Raise ``PoolClosed`` after the stop: nobody would stop workers that start then."""
        if self.is_over:
            raise because_stopped(None)

    def kill(self) -> None:
        """End all workers at once, and start no others, because the start has failed."""
        self.is_closing = self.is_over = True
        for level in self.started:
            level.executor.kill()
            level.close_failures.clear()

    async def stop(self) -> None:
        """Drain, stop, join. Safe to call twice, and without a start.

        Raises:
            Exception: what a pipeline's ``close_spider`` raised in a worker.
        """
        self.is_closing = self.is_over = True
        if self._closing is None:
            return
        if self._stopped is None:
            self._stopped = Latch(current_loop())
            self._closing.begin()
            self._stop_when_drained()
            self._warn_of_modules()
        try:
            await self._stopped.wait()
        finally:
            self._closing.end()
        for level in self.levels:
            if level.close_failures:
                raise level.close_failures.pop(0)

    async def stacks(self, timeout: float) -> dict[str, str]:
        """Ask all workers where they are, and return their stacks by name."""
        if self._stopped is not None:
            return {}
        asked = [level.executor.stacks(timeout) for level in self.started]
        return {name: text for one in asked for name, text in (await one).items()}

    # Start

    def _warn_of_changed_state(self) -> None:
        """Say what a script has set in modules that workers import anew."""
        if self._backend is None or self._options.start_method == "fork":
            return
        entries = [entry for plan in self._plans for entry in plan.entries]
        classes, modules = modules_and_classes(entries)
        if sys.modules.keys().isdisjoint(modules):
            return  # and without the import, which takes longer than all else here
        from scrapy_mpworkers.lint import changed_state

        changed = changed_state(classes, modules, imported_settings_module())
        if changed:
            logger.warning(
                "%s: changed since the import, but workers import the module anew and have what it "
                "sets itself. Pass it on by a setting, an attribute of the spider or the item, or "
                "set it in MPWORKERS_INITIALIZER",
                ", ".join(changed),
            )

    def _warn_of_modules(self) -> None:
        """Say, once, what the modules of settings and spider do again in workers."""
        modules, self._unread = self._unread, {}
        if modules:
            from scrapy_mpworkers.lint import warn_of_modules

            warn_of_modules(modules)

    def _awaited(self) -> int:
        """Return how many items the crawl waits for."""
        return sum(level.backpressure.pending for level in self.levels if level.waits)

    # End

    def _begin_to_close(self, reason: str) -> None:
        assert self._closing is not None
        self.is_closing, self._reason = True, reason
        self._closing.begin()

    async def _await_end(self) -> None:
        """Wait for the stop that a close brings, but not for ever: it may never come."""
        loop = current_loop()  # not the crawl's, whose timers end when the spider has closed
        patience = _PATIENCE
        while patience > 0:
            if self._stopped is not None:
                await self._stopped.wait()
                return
            turn = loop.create_future()
            loop.call_later(_LOOK_AGAIN, partial(resolve, turn))
            await turn
            has_items = any(level.backpressure.pending for level in self.levels)
            patience = _PATIENCE if has_items else patience - _LOOK_AGAIN

    def _stop_when_drained(self) -> None:
        for level in self.levels:
            if level.backpressure.pending:
                level.backpressure.when_drained(self._stop_when_drained)
                return
        assert self._stopped is not None
        working = self.started
        if not working:
            self._stopped.open()
        ending = self._ending() if working else GOES_ON
        for level in list(working):
            level.started.open(because_stopped(None))  # for a call that waits for its workers
            stopped = partial(self._has_stopped, level, working)
            level.executor.stop(self._options.close_timeout, stopped, ending)

    def _ending(self) -> Ending:
        """Return what workers are told as they close: the stats are those of the crawl's end."""
        assert self._context is not None
        try:
            return Ending(self._reason, self._context.stats())
        except Exception:  # of the user's collector
            logger.warning("Workers close without the crawl's stats", exc_info=True)
            return Ending(self._reason, b"")

    def _has_stopped(self, level: Level, working: list[Level]) -> None:
        working.remove(level)
        if not working and self._stopped is not None:
            self._stopped.open()
