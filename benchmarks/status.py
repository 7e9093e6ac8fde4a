"""What it costs Scrapy's process to be watched: a snapshot of 64 workers, the history that page and
report keep, and a page that is open.

Runs are interleaved, and medians count. Run it on a machine that does nothing else:

    python -m benchmarks.status [runs] [seconds]
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.versions import heading
from scrapy_mpworkers import WorkerExtension

#: What is measured, with the settings for it.
VARIANTS: dict[str, dict[str, Any]] = {
    "nobody watches": {},
    "a report": {"MPWORKERS_REPORT": "report.html"},
    "a page, open": {"MPWORKERS_PAGE": True},
}
WORKERS = 64
LOOKS = 200


def nap(item: dict[str, Any]) -> dict[str, Any]:
    """Take the time of an item, and no CPU: Scrapy's process is what is measured."""
    time.sleep(item["seconds"])
    return item


class ItemsSpider(scrapy.Spider):
    """Yields items for so many seconds, and notes what CPU its process had for them."""

    name = "items"
    seconds = 0.0
    cpu_share = 0.0

    async def start(self) -> AsyncIterator[dict[str, Any]]:
        await self.settle_down()
        began, cpu_began, number = time.monotonic(), time.process_time(), 0
        while time.monotonic() < began + self.seconds:
            number += 1
            yield {"url": f"https://example.org/{number}", "seconds": 0.1}
        self.cpu_share = (time.process_time() - cpu_began) / (time.monotonic() - began)

    async def settle_down(self) -> None:
        """Wait until the workers are there, and whatever is imported late."""
        extension = self.crawler.get_extension(WorkerExtension)
        await extension.run(time.sleep, 2.5)


class LooksSpider(ItemsSpider):
    """Takes snapshots of many busy workers, and notes what one costs."""

    name = "looks"
    milliseconds = 0.0

    async def start(self) -> AsyncIterator[dict[str, Any]]:
        extension = self.crawler.get_extension(WorkerExtension)
        await self.settle_down()
        for number in range(40 * WORKERS):
            yield {"url": f"https://example.org/{number}", "seconds": 0.1}
        times = []
        for _ in range(LOOKS):
            began = time.thread_time()
            extension.snapshot()
            times.append(time.thread_time() - began)
        self.milliseconds = statistics.median(times) * 1000


def crawl(spider: type[ItemsSpider], settings: dict[str, Any], seconds: float) -> ItemsSpider:
    process = CrawlerProcess(
        {
            "ADDONS": {"scrapy_mpworkers.Addon": 500},
            "MPWORKERS_PIPELINES": {nap: 300},
            "TELNETCONSOLE_ENABLED": False,
            "LOGSTATS_INTERVAL": 0,
            **settings,
        }
    )
    crawler = process.create_crawler(spider)
    process.crawl(crawler, seconds=seconds)
    process.start()
    assert isinstance(crawler.spider, ItemsSpider)
    return crawler.spider


def look_on(log: Path, over: threading.Event) -> None:
    """Ask for the snapshot once a second, and every other time for the history: as a browser."""
    seconds = 0
    while not over.wait(1.0):
        seconds += 1
        found = re.search(r"(http://[^/]+/)#(\S+)", log.read_text() if log.exists() else "")
        names = ["snapshot.json", "history.json"][: 1 + seconds % 2]
        for name in names if found else ():
            request = urllib.request.Request(found[1] + name)
            request.add_header("Authorization", f"Bearer {found[2]}")
            # The crawl may be over by now, and its page with it.
            with contextlib.suppress(OSError), urllib.request.urlopen(request) as answer:
                answer.read()


def cpu_share(name: str, seconds: float) -> float:
    """One crawl in a process of its own: the share of a CPU that Scrapy's process takes."""
    with tempfile.TemporaryDirectory() as folder:
        log, over = Path(folder) / "log", threading.Event()
        command = [sys.executable, "-m", "benchmarks.status", "crawl", name, str(seconds), str(log)]
        looking = threading.Thread(target=look_on, args=[log, over])
        looking.start()
        try:
            done = subprocess.run(command, check=True, capture_output=True)
        finally:
            over.set()
            looking.join()
    return float(json.loads(done.stdout))


def main(runs: int = 5, seconds: float = 10.0) -> None:
    shares: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(runs):
        for name in VARIANTS:
            shares[name].append(cpu_share(name, seconds))
    command = [sys.executable, "-m", "benchmarks.status", "look"]
    look = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    print(heading(runs))
    print("| | CPU of Scrapy's process, % of one | beyond the first |\n| --- | --- | --- |")
    for name, measured in shares.items():
        extra = statistics.median(
            own - off for own, off in zip(measured, shares["nobody watches"], strict=True)
        )
        print(f"| {name} | {100 * statistics.median(measured):.2f} | {100 * extra:+.2f} |")
    print(f"\nA snapshot of {WORKERS} busy workers: {look:.2f} ms.")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["crawl", name, seconds, log]:
            report = {"MPWORKERS_REPORT": f"{log}.html"} if "REPORT" in str(VARIANTS[name]) else {}
            options = VARIANTS[name] | report | {"LOG_FILE": log, "MPWORKERS_WORKERS": 8}
            print(json.dumps(crawl(ItemsSpider, options, float(seconds)).cpu_share))
        case ["look"]:
            options = {"MPWORKERS_WORKERS": WORKERS, "MPWORKERS_MAX_PENDING": 60 * WORKERS}
            spider = crawl(LooksSpider, options | {"LOG_LEVEL": "ERROR"}, 0.0)
            assert isinstance(spider, LooksSpider)
            print(json.dumps(spider.milliseconds))
        case arguments:
            main(*(kind(one) for kind, one in zip((int, float), arguments, strict=False)))
