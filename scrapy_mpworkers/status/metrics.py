"""A snapshot of each crawl in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from scrapy_mpworkers.wire.texts import writable

__all__ = ["CONTENT_TYPE", "exposition"]

_Figures = Mapping[str, Any]
_Labelled = Iterable[tuple[tuple[str, ...], _Figures]]
_Samples = Iterable[tuple[tuple[str, ...], Any]]

_CRAWL = ("crawl", "spider")
_LEVEL = (*_CRAWL, "level")
_WORKER = (*_LEVEL, "worker")

#: Of a level: the name behind ``mpworkers_``, the field, and what it says.
_GAUGES_OF_A_LEVEL = (
    ("pending", "pending", "Tasks at workers that have no outcome yet."),
    ("max_pending", "max_pending", "The bound of these."),
    ("pending_bytes", "pending_bytes", "Size of their pickles."),
    ("max_pending_bytes", "max_pending_bytes", "The bound of that."),
    ("waiting_items", "at_the_door", "Items that wait for room among the pending ones."),
    ("braking", "is_braking", "Whether downloads wait for workers."),
    ("utilisation_ratio", "utilisation", "Busy share of the workers."),
)
_COUNTED = (("items", "Items"), ("calls", "Calls of functions"), ("callbacks", "Callbacks"))
_GAUGES_OF_A_WORKER = (
    ("rss_bytes", "Resident memory."),
    ("pss_bytes", "Memory, with its share of what it has in common with others."),
)
_COUNTERS_OF_A_WORKER = (
    ("settled", "Tasks that came back from it."),
    ("restarts", "How often it was replaced."),
)
_QUANTILES = (("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99"))


def exposition(snapshots: Mapping[int, _Figures]) -> bytes:
    """Return the text for the snapshots of these crawls, as JSON has them, by their numbers."""
    registry = CollectorRegistry()
    registry.register(_Snapshots(snapshots))
    return generate_latest(registry)


class _Snapshots(Collector):
    def __init__(self, snapshots: Mapping[int, _Figures]) -> None:
        self._crawls = [((str(number), one["spider"]), one) for number, one in snapshots.items()]
        self._levels = [
            ((*labels, level["name"]), level)
            for labels, crawl in self._crawls
            for level in crawl["levels"]
        ]
        self._workers = [
            ((*labels, worker["name"]), worker)
            for labels, level in self._levels
            for worker in level["workers"]
        ]

    def collect(self) -> Iterable[Metric]:
        elapsed = _of(self._crawls, "elapsed")
        yield _gauge("elapsed_seconds", "Since workers were first started.", _CRAWL, elapsed)
        yield _states("state", "Of the crawl: the label.", _CRAWL, self._crawls)
        for name, field, says in _GAUGES_OF_A_LEVEL:
            yield _gauge(name, says, _LEVEL, _of(self._levels, field))
        for field, unit in _COUNTED:
            yield from self._counts(field, unit)
        for field, says in (("wait", "Seconds of waiting."), ("service", "Seconds of work.")):
            yield self._quantiles(field, says)
        yield from self._of_workers()

    def _counts(self, field: str, unit: str) -> Iterable[Metric]:
        counts = _of(self._levels, field)
        for name in dict.fromkeys(name for _, counted in counts for name in counted):
            says = f"{unit} that were {name.replace('_', '-')}."
            yield _counter(f"{field}_{name}", says, _LEVEL, _of(counts, name))

    def _quantiles(self, field: str, says: str) -> Metric:
        found = [
            ((*labels, quantile), times[name])
            for labels, times in _of(self._levels, field)
            for name, quantile in _QUANTILES
        ]
        return _gauge(f"{field}_seconds", says, (*_LEVEL, "quantile"), found)

    def _of_workers(self) -> Iterable[Metric]:
        yield _states("worker_state", "Of the worker: the label.", _WORKER, self._workers)
        tasks = [(one, task["seconds"]) for one, task in _of(self._workers, "task")]
        yield _gauge("worker_task_seconds", "Since when its task runs.", _WORKER, tasks)
        cpu = [(one, percent / 100) for one, percent in _of(self._workers, "cpu_percent")]
        yield _gauge("worker_cpu_ratio", "Share of a CPU that it uses.", _WORKER, cpu)
        for field, says in _GAUGES_OF_A_WORKER:
            yield _gauge(f"worker_{field}", says, _WORKER, _of(self._workers, field))
        for field, says in _COUNTERS_OF_A_WORKER:
            yield _counter(f"worker_{field}", says, _WORKER, _of(self._workers, field))


def _of(labelled: _Labelled, field: str) -> list[tuple[tuple[str, ...], Any]]:
    """Return this figure of each that has it."""
    found = [(labels, one.get(field)) for labels, one in labelled]
    return [(labels, value) for labels, value in found if value is not None]


def _states(name: str, says: str, labels: tuple[str, ...], labelled: _Labelled) -> Metric:
    states = [((*values, one["state"]), 1) for values, one in labelled]
    return _gauge(name, says, (*labels, "state"), states)


def _metric(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    says: str,
    labels: tuple[str, ...],
    samples: _Samples,
) -> Metric:
    metric = kind(f"mpworkers_{name}", says, labels=labels)
    for values, number in samples:
        # Names are the user's, and a text with half of a surrogate pair cannot be sent.
        metric.add_metric([writable(value) for value in values], float(number))
    return metric


_gauge, _counter = partial(_metric, GaugeMetricFamily), partial(_metric, CounterMetricFamily)
