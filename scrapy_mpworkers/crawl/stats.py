"""The figures as Scrapy stats, all under ``mpworkers/``."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from scrapy.statscollectors import StatsCollector

from scrapy_mpworkers.crawl.pool import Level
from scrapy_mpworkers.pool.metrics import Figures, Tally
from scrapy_mpworkers.wire.messages import Fate


def publish(levels: Sequence[Level], stats: StatsCollector) -> None:
    """Set every stat to what it is now: of all levels together, and of each that has a name."""
    values = _values(Figures.of_all([level.pool.figures for level in levels]))
    for level in levels:
        if level.settings.name:
            of_level = _values(level.pool.figures)
            values |= {f"{level.settings.name}/{name}": of_level[name] for name in of_level}
    for name, value in values.items():
        stats.set_value(f"mpworkers/{name}", value)


def _values(figures: Figures) -> dict[str, Any]:
    values: dict[str, Any] = _counts("items", figures.items)
    if figures.calls.submitted:
        values |= _counts("calls", figures.calls)
        values["calls/cancelled"] = figures.calls.cancelled
    values |= {
        "items/redelivered": figures.redelivered,
        "workers/started": figures.started,
        "workers/deaths": sum(figures.deaths.values()),
        **{f"workers/deaths/{cause}": count for cause, count in figures.deaths.items()},
        **{f"workers/recycled/{why}": count for why, count in figures.recycled.items()},
        "bytes/shipped": figures.bytes_shipped,
        "bytes/returned": figures.bytes_returned,
        "time/busy_s": round(sum(worker.busy for worker in figures.workers), 3),
        "pool/utilisation": round(figures.utilisation(monotonic()), 4),
    }
    for name, times in (("wait_s", figures.wait), ("service_s", figures.service)):
        values |= {f"time/{name}/p{p}": round(times.percentile(p), 6) for p in (50, 95, 99)}
    return values


def _counts(kind: str, tally: Tally) -> dict[str, int]:
    fates = {f"{kind}/{fate.name.lower()}": tally.settled[fate] for fate in Fate}
    return {f"{kind}/submitted": tally.submitted, **fates}
