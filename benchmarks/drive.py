"""One measurement, in a process of its own: items through Scrapy's own ItemPipelineManager.

    python -m benchmarks.drive '{"peer": "scrapy_mpworkers", "work": "nothing", …}'

A crawl is started, and its spider's ``start()`` drives the manager of that crawl: a window of
items is under way at any time. Prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import psutil
import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.peers import OURS, PEERS, OurWork
from benchmarks.work import make_items

Process = Callable[[Any], Awaitable[Any]]
TICK = 0.005  # seconds between two looks at how late the reactor is


@dataclass(frozen=True)
class Spec:
    """What to measure. ``warm_up``: items before the clock starts; ``window``: at once."""

    peer: str
    work: str
    items: str
    count: int
    options: dict[str, Any] = field(default_factory=dict)
    workers: int = 2
    window: int = 256
    warm_up: int = 500
    lag: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Figures:
    """What came out, in seconds.

    ``cpu``: of this process; ``busy``: that workers spent in items, as our own stats tell (0.0 for
    peers); ``lags``: how late each tick was.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    worker_cpu: float = 0.0
    busy: float = 0.0
    lags: list[float] = field(default_factory=list)


class DrivingSpider(scrapy.Spider):
    """Yields nothing; drives the pipelines."""

    name = "driving"

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    async def start(self) -> AsyncIterator[Any]:
        assert self.crawler.engine is not None
        manager = self.crawler.engine.scraper.itemproc
        self.crawler.figures = await drive(self.spec, manager.process_item_async)  # type: ignore[attr-defined]
        return
        yield


async def drive(spec: Spec, process: Process) -> Figures:
    """Warm up, then measure."""
    figures = Figures()
    items = make_items(spec.items, spec.warm_up + spec.count, **spec.options)()
    await run(islice(items, spec.warm_up), process, spec.window)
    ticker = asyncio.ensure_future(watch_lag(figures.lags)) if spec.lag else None
    seconds, cpu, worker_cpu = time.perf_counter(), time.process_time(), cpu_of_children()
    await run(items, process, spec.window)
    figures.seconds, figures.cpu = time.perf_counter() - seconds, time.process_time() - cpu
    figures.worker_cpu = cpu_of_children() - worker_cpu
    if ticker is not None:
        ticker.cancel()
    return figures


async def run(items: Iterator[Any], process: Process, window: int) -> None:
    """Process all *items*, never more than *window* at once."""

    async def one_after_the_other() -> None:
        for item in items:
            await process(item)

    await asyncio.gather(*(one_after_the_other() for _ in range(window)))


def cpu_of_children() -> float:
    """Seconds of CPU that the processes below this one have used."""
    used = 0.0
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        used += times.user + times.system
    return used


async def watch_lag(lags: list[float]) -> None:
    """Note how late the loop is, again and again."""
    while True:
        due = time.monotonic() + TICK
        await asyncio.sleep(TICK)
        lags.append(time.monotonic() - due)


def settings_of(spec: Spec) -> dict[str, Any]:
    """The crawl's settings."""
    common = {
        "BENCH_WORK": spec.work,
        "BENCH_WORKERS": spec.workers,
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
        **spec.settings,
    }
    if spec.peer != OURS:
        return {**common, "ITEM_PIPELINES": {PEERS[spec.peer]: 300}}
    return {
        **common,
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {OurWork: 300},
        "MPWORKERS_WORKERS": spec.workers,
    }


def measure(spec: Spec) -> Figures:
    """Run the crawl in this process."""
    process = CrawlerProcess(settings_of(spec))
    crawler = process.create_crawler(DrivingSpider)
    process.crawl(crawler, spec=spec)
    process.start()
    figures: Figures = crawler.figures  # type: ignore[attr-defined]
    busy = crawler.stats.get_value("mpworkers/time/busy_s", 0.0)
    figures.busy = busy * spec.count / (spec.count + spec.warm_up)
    return figures


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Spec(**json.loads(sys.argv[1]))))))
