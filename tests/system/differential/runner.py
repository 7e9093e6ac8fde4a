"""Runs cases, each inline and then offloaded, in this process and in one loop mode.

    python -m system.differential.runner SPEC.json RESULTS.jsonl

A line is written before and after each crawl, so that a runner that dies names the crawl it died
in and keeps what it had found out.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO

from scrapy.crawler import AsyncCrawlerRunner, Crawler, CrawlerRunner
from scrapy.utils.log import configure_logging
from twisted.python.failure import Failure

from .case import Case
from .catalogue import find_case
from .observer import LogCountOfTheCrawl, LogTap, Observer, outcome

SIDES = INLINE, OFFLOADED = ("inline", "offloaded")

ASYNCIO_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
MODE_SETTINGS: dict[str, dict[str, Any]] = {
    "asyncio": {"TWISTED_REACTOR": ASYNCIO_REACTOR},
    "default": {"TWISTED_REACTOR": None},
    "none": {"TWISTED_REACTOR_ENABLED": False},
}


def settings_of(case: Case, side: str, mode: str, method: str, feed: Path) -> dict[str, Any]:
    return {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_ENABLED": side == OFFLOADED,
        "MPWORKERS_PIPELINES": dict(case.pipelines),
        "MPWORKERS_LEVELS": list(case.levels),
        "MPWORKERS_CALLBACKS": case.callbacks or None,
        # Under spawn each worker costs a second of imports; one is enough to compare outcomes.
        "MPWORKERS_WORKERS": 1 if method == "spawn" else case.workers,
        **settings_of_method(method),
        "ITEM_PIPELINES": dict(case.reactor_pipelines),
        "SPIDER_MIDDLEWARES": {Observer: 1000, **case.spider_middlewares},
        "EXTENSIONS": {"scrapy.extensions.logcount.LogCount": None, LogCountOfTheCrawl: 0},
        "FEEDS": {str(feed): {"format": "jsonlines", "encoding": "utf-8"}},
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        **MODE_SETTINGS[mode],
        **case.settings,
    }


def settings_of_method(method: str) -> dict[str, Any]:
    if method != "dask":
        return {"MPWORKERS_START_METHOD": method}
    return {
        "MPWORKERS_BACKEND": "dask",
        "MPWORKERS_DASK_ADDRESS": os.environ["DIFFERENTIAL_DASK"],
    }


async def crawl(case: Case, side: str, mode: str, method: str, folder: Path) -> dict[str, Any]:
    """One crawl and its outcome."""
    feed = folder / f"{case.name}-{side}.jsonl"
    runner_class = CrawlerRunner if mode == "default" else AsyncCrawlerRunner
    runner = runner_class(settings_of(case, side, mode, method, feed))
    crawler: Crawler = runner.create_crawler(case.spider)
    with LogTap(crawler) as tap:
        await runner.crawl(crawler, **case.spider_arguments)
        gc.collect()  # what the crawl left unclosed is logged now, as its own
    return outcome(crawler, tap, feed)


async def run(spec: dict[str, Any], results: TextIO) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in spec["cases"]:
            for side in SIDES:
                # Hanging ends in the tracebacks of all threads on stderr, and in exit code 1.
                faulthandler.dump_traceback_later(spec["deadline"], exit=True)
                beginning = {"case": name, "side": side, "log_from": log_size()}
                write_line(results, beginning)
                crawling = crawl(find_case(name), side, spec["mode"], spec["method"], Path(folder))
                result = await result_of(crawling)
                write_line(results, {**beginning, "log_to": log_size(), **result})
            if name == spec["cases"][0]:
                gc.freeze()  # what it has imported is not looked at behind each crawl, for 0.1 s


async def result_of(crawling: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """An error of one crawl is its result, and the next crawl's turn comes all the same."""
    try:
        return {"outcome": await crawling}
    except Exception:
        return {"error": traceback.format_exc()}


def log_size() -> int:
    """How much has been written to the log: stderr, which is a file."""
    return os.lseek(sys.stderr.fileno(), 0, os.SEEK_CUR)


def write_line(results: TextIO, fields: dict[str, Any]) -> None:
    results.write(json.dumps(fields) + "\n")
    results.flush()


def run_under_asyncio_reactor(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    from scrapy.utils.reactor import install_reactor

    install_reactor(ASYNCIO_REACTOR)
    run_under_default_reactor(main)


def run_under_default_reactor(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run without the reactor's signal handlers.

    Processes that an inline pipeline forks would inherit them, and not end at a SIGTERM any more:
    leaving ``multiprocessing.Pool`` as a context manager hangs under them.
    """
    from scrapy.utils.defer import deferred_from_coro
    from twisted.internet import reactor

    ended: list[Any] = []

    def start() -> None:
        deferred_from_coro(main()).addBoth(ended.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    if isinstance(ended[0], Failure):
        ended[0].raiseException()


def run_without_reactor(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


RUN_IN_MODE = {
    "asyncio": run_under_asyncio_reactor,
    "default": run_under_default_reactor,
    "none": run_without_reactor,
}


def main(spec_path: str, results_path: str) -> None:
    spec = json.loads(Path(spec_path).read_text("utf-8"))
    configure_logging()
    with Path(results_path).open("w", encoding="utf-8") as results:
        RUN_IN_MODE[spec["mode"]](lambda: run(spec, results))


if __name__ == "__main__":
    main(*sys.argv[1:])
