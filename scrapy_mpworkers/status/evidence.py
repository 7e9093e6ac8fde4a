"""Gathers the figures from which the advice is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from time import monotonic, thread_time
from typing import NamedTuple

import psutil
from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.manager import LevelManager
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.cpus import memory_limit
from scrapy_mpworkers.pool.interface import WorkerView
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.status.advice import ENOUGH_SECONDS, CrawlFigures, LevelFigures
from scrapy_mpworkers.status.processes import Sample


class _Worked(NamedTuple):
    """A worker by its last sample: seconds that it worked, and that it was at tasks."""

    at: float
    worked: float
    busy: float


class Evidence:
    """Gathers the figures of one crawl, in the thread of its loop.

    Args:
        began: wall time and CPU time of this thread when the crawl began with the workers,
            ``time.monotonic()`` and ``time.thread_time()``.
    """

    def __init__(self, crawler: Crawler, manager: LevelManager, began: tuple[float, float]) -> None:
        self._manager = manager
        self._began_at, self._thread_began_at = began
        self._max_downloads = crawler.settings.getint("CONCURRENT_REQUESTS")
        self._worked: defaultdict[Level, dict[int, _Worked]] = defaultdict(dict)
        self._memory: defaultdict[Level, int] = defaultdict(int)
        self._running: dict[Level, list[float]] = {}

    @cached_property
    def _cpus(self) -> int:
        return self._manager.cpus  # reads files

    @cached_property
    def _machine(self) -> int:
        machine = psutil.virtual_memory().total
        return int(min(machine, memory_limit() or machine))

    def note(
        self, level: Level, views: Sequence[WorkerView], samples: Mapping[int, Sample], now: float
    ) -> None:
        """Note what a level's workers are at, and what samples tell of them."""
        known = self._worked[level]
        self._running[level] = [max(0.0, now - one.since) for one in views if one.task is not None]
        for view in views:
            sample = samples.get(view.pid or 0)
            if sample is None or sample.worked is None or sample.rss_bytes is None:
                continue
            self._memory[level] = max(self._memory[level], sample.rss_bytes)
            # A replacement has worked for less than the time that its slot was busy.
            if view.restarts or (view.pid in known and known[view.pid].at == sample.at):
                continue
            running = 0.0 if view.task is None else max(0.0, now - view.since)
            known[view.pid or 0] = _Worked(sample.at, sample.worked, view.busy + running)

    def figures(self) -> CrawlFigures:
        now, downloads = monotonic(), self._manager.downloads
        elapsed = max(now - self._began_at, 1e-3)
        return CrawlFigures(
            levels=[self._level(level, now) for level in self._manager.started],
            cpus=self._cpus,
            is_over=self._manager.has_stopped,
            scrapy=(thread_time() - self._thread_began_at) / elapsed,
            downloads=0.0 if downloads is None else downloads.taken / elapsed,
            max_downloads=self._max_downloads,
            memory=self._machine,
        )

    def _level(self, level: Level, now: float) -> LevelFigures:
        metrics = level.executor.metrics
        has_processes = level.settings.pool.workers > 0
        return LevelFigures(
            name=level.settings.name,
            workers=len(metrics.workers) if has_processes else 0,
            submitted=sum(counts.submitted for counts in metrics.hops.values()),
            lived=sum(worker.lived(now) for worker in metrics.workers),
            busy=sum(worker.busy for worker in metrics.workers),
            service=metrics.service.total,
            done=metrics.service.count,
            running=self._running.get(level, ()),
            deaths=metrics.deaths,
            waited=self._waited(level) if has_processes else None,
            memory=self._memory[level],
            has_batches=level.settings.batch_size > 0,
            of=_kind(metrics),
        )

    def _waited(self, level: Level) -> float | None:
        busy = sum(one.busy for one in self._worked[level].values())
        worked = sum(one.worked for one in self._worked[level].values())
        return max(0.0, 1 - worked / busy) if busy >= ENOUGH_SECONDS else None


def _kind(metrics: Metrics) -> str:
    counts = {"items": metrics.items, "callbacks": metrics.callbacks, "calls": metrics.calls}
    came = [kind for kind, tally in counts.items() if tally.submitted]
    if "calls" in came or len(came) > 1:
        return "tasks"
    return came[0] if came else "items"
