"""What it costs Scrapy's process to be watched: a snapshot of 64 workers, the history that page and
report keep, and a page that is open.

The history is short. To tell all of a long one takes up to 50 ms, which a page asks for every five
minutes.

Runs are interleaved, and medians count. Run it on a machine that does nothing else:

    python -m benchmarks.status [runs] [seconds]
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.versions import heading
from scrapy_mpworkers import WorkerExtension

OPEN = "a page, open"
#: What is measured, with the settings for it.
VARIANTS: dict[str, dict[str, Any]] = {
    "nobody watches": {},
    "a report": {"MPWORKERS_REPORT": "report.html"},
    "a page, closed": {"MPWORKERS_PAGE": True},
    OPEN: {"MPWORKERS_PAGE": True},
}
#: Seconds of an item: long ones, since what items cost Scrapy's process varies more than what is
#: measured.
ITEM = 1.0
#: What Chromium says beside the rest; to read it is a part of the cost.
BROWSER = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.9",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
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
            yield {"url": f"https://example.org/{number}", "seconds": ITEM}
        self.cpu_share = (time.process_time() - cpu_began) / (time.monotonic() - began)

    async def settle_down(self) -> None:
        """Wait until the workers are there, and whatever is imported late."""
        extension = self.crawler.get_extension(WorkerExtension)
        await extension.run(time.sleep, 2.5)
        # A walk through all of that takes 0.1 s, and falls into one run or the other.
        gc.collect()
        gc.freeze()


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
    """Ask on one connection, as a browser does: once a second for the snapshot, every other time
    for what is recent of the history."""
    found = None
    while found is None and not over.wait(0.1):
        found = re.search(r"http://([^/]+)/#(\S+)", log.read_text() if log.exists() else "")
    if found is None:
        return
    connection, seconds = http.client.HTTPConnection(found[1]), 0
    headers = BROWSER | {"Authorization": f"Bearer {found[2]}"}
    # The crawl may be over by now, and its page with it.
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        while not over.wait(1.0):
            seconds += 1
            for name in ("snapshot.json", "recent.json")[: 1 + seconds % 2]:
                connection.request("GET", f"/{name}", headers=headers)
                connection.getresponse().read()


def cpu_share(name: str, seconds: float) -> float:
    """One crawl in a process of its own: the share of a CPU that Scrapy's process takes."""
    with tempfile.TemporaryDirectory() as folder:
        log, over = Path(folder) / "log", threading.Event()
        command = [sys.executable, "-m", "benchmarks.status", "crawl", name, str(seconds), str(log)]
        looking = threading.Thread(target=look_on, args=[log, over])
        if name == OPEN:
            looking.start()
        try:
            done = subprocess.run(command, check=True, capture_output=True)
        finally:
            over.set()
            if looking.is_alive():
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
