"""The figures as Scrapy stats, all under ``mpworkers/``."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.metrics import Metrics, TaskCounts
from scrapy_mpworkers.wire.messages import TaskStatus


def publish(levels: Sequence[Level], stats: StatsCollector) -> None:
    """Set every stat to what it is now: of all levels together, and of each that has a name."""
    values = _values(Metrics.of_all([level.pool.metrics for level in levels]))
    for level in levels:
        if level.settings.name:
            of_level = _values(level.pool.metrics)
            values |= {f"{level.settings.name}/{name}": of_level[name] for name in of_level}
    for name, value in values.items():
        stats.set_value(f"mpworkers/{name}", value)


def _values(metrics: Metrics) -> dict[str, Any]:
    values: dict[str, Any] = _counts("items", metrics.items)
    if metrics.calls.submitted:
        values |= _counts("calls", metrics.calls)
        values["calls/cancelled"] = metrics.calls.cancelled
    values |= {
        "items/redelivered": metrics.redelivered,
        "workers/started": metrics.started,
        "workers/deaths": sum(metrics.deaths.values()),
        **{f"workers/deaths/{cause}": count for cause, count in metrics.deaths.items()},
        **{f"workers/recycled/{why}": count for why, count in metrics.recycled.items()},
        "bytes/shipped": metrics.bytes_shipped,
        "bytes/returned": metrics.bytes_returned,
        "time/busy_s": round(sum(worker.busy for worker in metrics.workers), 3),
        "pool/utilisation": round(metrics.utilisation(monotonic()), 4),
    }
    for name, times in (("wait_s", metrics.wait), ("service_s", metrics.service)):
        values |= {f"time/{name}/p{p}": round(times.percentile(p), 6) for p in (50, 95, 99)}
    return values


def _counts(kind: str, tally: TaskCounts) -> dict[str, int]:
    statuses = {f"{kind}/{status.name.lower()}": tally.settled[status] for status in TaskStatus}
    return {f"{kind}/submitted": tally.submitted, **statuses}
