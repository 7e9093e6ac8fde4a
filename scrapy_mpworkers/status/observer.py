"""Takes snapshots of a crawl's workers, from the metrics of its levels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from operator import attrgetter
from time import monotonic, time

from scrapy.crawler import Crawler

from scrapy_mpworkers.crawl.manager import LevelManager
from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.interface import WorkerView
from scrapy_mpworkers.pool.metrics import Distribution, TaskCounts
from scrapy_mpworkers.pool.recent import INCIDENTS, SLOWEST
from scrapy_mpworkers.pool.task import Task
from scrapy_mpworkers.status.advice import verdict
from scrapy_mpworkers.status.evidence import Evidence
from scrapy_mpworkers.status.processes import Processes, Sample
from scrapy_mpworkers.status.snapshot import (
    Counts,
    Event,
    LevelSnapshot,
    Percentiles,
    SlowTaskSnapshot,
    Snapshot,
    TaskSnapshot,
    WorkerSnapshot,
)
from scrapy_mpworkers.wire.messages import TaskStatus, kind_of

_NO_SAMPLE = Sample(0.0)
_STATUSES = [(status.name.lower(), status) for status in TaskStatus]


class Observer:
    """Looks at the workers of one crawl, in the thread of its loop.

    Args:
        began: when the crawl began with them, as :class:`Evidence` has it.
    """

    def __init__(self, crawler: Crawler, manager: LevelManager, began: tuple[float, float]) -> None:
        self._crawler = crawler
        self._manager = manager
        self._processes = Processes()
        self._evidence = Evidence(crawler, manager, began)

    def snapshot(self, with_pss: bool = False) -> Snapshot:
        """Take a snapshot: under 1 ms for 64 workers, unless *with_pss* (see ``Processes``)."""
        seen = self.sample(with_pss)
        slowest = _slowest(self._manager.started, seen.taken_at - monotonic())
        return seen._replace(slowest=slowest, verdict=verdict(self._evidence.figures()))

    def sample(self, with_pss: bool = False) -> Snapshot:
        """Take what a history draws of a snapshot: all but the slowest tasks and the verdict."""
        now, levels, spider = monotonic(), self._manager.started, self._crawler.spider
        taken_at, began_at = time(), min((level.began_at for level in levels), default=now)
        return Snapshot(
            taken_at=taken_at,
            spider="" if spider is None else spider.name,
            pid=os.getpid(),
            elapsed=now - began_at,
            state=self._state(levels),
            levels=self._levels(levels, now, with_pss),
            slowest=(),
            events=_events(levels, taken_at - now, began_at),
        )

    def _state(self, levels: list[Level]) -> str:
        if any(level.is_broken for level in levels):
            return "broken"
        if self._manager.has_stopped:
            return "stopped"
        if self._manager.is_stopping:
            return "closing"
        return "running" if any(level.started.is_open for level in levels) else "starting"

    def _levels(self, levels: list[Level], now: float, with_pss: bool) -> tuple[LevelSnapshot, ...]:
        seen = [(level, level.executor.look()) for level in levels]
        pids = [view.pid for _, views in seen for view in views if view.pid is not None]
        samples = self._processes.look(pids, with_pss)
        for level, views in seen:
            self._evidence.note(level, views, samples, now)
        return tuple(_level(level, views, samples, now) for level, views in seen)


def _level(
    level: Level, views: list[WorkerView], samples: Mapping[int, Sample], now: float
) -> LevelSnapshot:
    executor, door = level.executor, level.backpressure
    metrics, rate = executor.metrics, executor.metrics.rate
    running = sum(now - view.since for view in views if view.task is not None)
    return LevelSnapshot(
        name=level.settings.name,
        pending=level.pending,
        max_pending=door.max_count,
        pending_bytes=door.bytes,
        max_pending_bytes=door.max_bytes,
        at_the_door=len(door.waiting),
        is_braking=door.has_braked,
        per_second=rate.per_second(now),
        per_minute=rate.per_minute(now),
        items=_counts(metrics.items, metrics.redelivered),
        calls=_counts(metrics.calls) if metrics.calls.submitted else None,
        callbacks=_counts(metrics.callbacks) if metrics.callbacks.submitted else None,
        wait=_percentiles(metrics.wait),
        service=_percentiles(metrics.service),
        utilisation=min(1.0, metrics.utilisation(now, running)),
        workers=tuple(_worker(level, view, samples, now) for view in views),
    )


def _worker(
    level: Level, view: WorkerView, samples: Mapping[int, Sample], now: float
) -> WorkerSnapshot:
    sample = samples.get(view.pid or 0, _NO_SAMPLE)
    task = None if view.task is None else _task(level, view.task, max(0.0, now - view.since))
    return WorkerSnapshot(  # without the names of its fields, which take as long as the rest
        view.name,
        view.pid,
        view.phase.value,
        task,
        view.settled,
        view.busy + (0.0 if task is None else task.seconds),
        view.restarts,
        sample.cpu_percent,
        sample.rss_bytes,
        sample.pss_bytes,
        None if sample.rss_bytes is None else now - sample.at,
    )


def _task(level: Level, task: Task, seconds: float) -> TaskSnapshot:
    return TaskSnapshot(task.id, kind_of(task.hop), task.hop, level.label(task), seconds)


def _counts(tally: TaskCounts, redelivered: int = 0) -> Counts:
    by_status = {name: tally.settled[status] for name, status in _STATUSES}
    return Counts(tally.submitted, cancelled=tally.cancelled, redelivered=redelivered, **by_status)


def _percentiles(times: Distribution) -> Percentiles | None:
    return Percentiles(*times.percentiles(50, 95, 99)) if times.count else None


def _slowest(levels: list[Level], epoch: float) -> tuple[SlowTaskSnapshot, ...]:
    slow = sorted(chain(*(one.executor.recent.slowest for one in levels)), reverse=True)
    return tuple(
        SlowTaskSnapshot(
            one.task_id,
            kind_of(one.hop),
            one.hop,
            one.label,
            one.seconds,
            one.worker,
            one.at + epoch,
        )
        for one in slow[:SLOWEST]
    )


def _events(levels: list[Level], epoch: float, began_at: float) -> tuple[Event, ...]:
    events = [
        Event(
            one.at + epoch,
            one.kind,
            level.settings.name,
            one.worker,
            one.text,
            one.label,
            one.at - began_at,
        )
        for level in levels
        for one in level.executor.recent.incidents
    ]
    return tuple(sorted(events, key=attrgetter("elapsed"))[-INCIDENTS:])
