"""Crawls Python's documentation twice, without and with workers, and searches the result."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import search
from pydocs import INDEX, PROJECT
from pydocs.index import Row, open_index
from pydocs.pages import count_pages, ensure_pages
from pydocs.server import LocalSite

REPORT = PROJECT / "report.html"
LOOK_EVERY = 0.25  # seconds
QUERIES = ["keep a list sorted", "difference between two texts", "wait for several coroutines"]


class Run(NamedTuple):
    """A crawl: its wall time, from the start of the process to its end, what it stored, and how
    late its reactor was (milliseconds, 99 % of the time no more)."""

    seconds: float
    rows: list[Row]
    lag: int


def main() -> None:
    print("\nPython's documentation becomes a full-text index: by one crawl, run in two ways\n")
    prepare()
    with LocalSite() as site:
        inline = crawl("inline", site.url, "MPWORKERS_ENABLED=False")
        page = "MPWORKERS_PAGE=True", f"MPWORKERS_REPORT={REPORT}"
        workers = crawl("workers", site.url, *page)
    compare(inline, workers)
    tell("report", f"{relative(REPORT.name)}: the workers' page as it was at the end")
    print(f"\nWhat the workers' log says at its end:\n\n{summary(PROJECT / 'workers.log')}")
    for query in QUERIES:
        print(f'\n$ python {relative("search.py")} "{query}"\n')
        search.main(query, limit=1)


def prepare() -> None:
    started = time.perf_counter()
    ensure_pages(lambda done, of: show("pages", f"{done} of {of} modules rendered"))
    tell("pages", f"{count_pages()} modules, {time.perf_counter() - started:.1f} s to render")


def crawl(name: str, site: str, *settings: str) -> Run:
    """Run ``scrapy crawl pydocs``."""
    log = PROJECT / f"{name}.log"
    command = [sys.executable, "-m", "scrapy", "crawl", "pydocs", "-a", f"site={site}"]
    for setting in (f"LOG_FILE={log}", "LOG_FILE_APPEND=False", *settings):
        command += ["-s", setting]
    index = open_index(INDEX)
    # What is found there afterwards shall be of this crawl.
    index.clear()
    log.unlink(missing_ok=True)
    started, pages, address = time.perf_counter(), 0, None
    with tempfile.TemporaryFile("w+") as output:
        crawling = subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output)
        while crawling.poll() is None:
            show(name, f"{time.perf_counter() - started:5.1f} s   {pages} pages indexed")
            with contextlib.suppress(subprocess.TimeoutExpired):
                crawling.wait(LOOK_EVERY)
            [(pages,)] = index.select("SELECT count(*) FROM pages")
            if address is None and (address := page_of(log)):
                tell("page", f"{address} while it runs")
        seconds = time.perf_counter() - started
        if crawling.returncode or not pages:
            where = f", {log} tells why" if log.exists() else ""
            output.seek(0)
            sys.exit(f"The crawl failed{where}:\n{output.read()}")
    tell(name, f"{seconds:5.1f} s   {pages} pages indexed, log in {relative(log.name)}")
    rows = index.rows()
    index.close()
    return Run(seconds, rows, lag(log))


def compare(inline: Run, workers: Run) -> None:
    ratio = inline.seconds / workers.seconds
    tell("ratio", f"{ratio:5.2f}     " + verdict(ratio))
    if inline.rows != workers.rows:
        sys.exit("  The indexes differ, which must not be: please report it.")
    tell("same?", "yes: both stored the same rows")
    late = f"inline {inline.lag} ms, workers {workers.lag} ms"
    tell("lag", f"{late}: what a download may wait until Scrapy looks at it (p99)")


def page_of(log: Path) -> str | None:
    """The address of the workers' page, once the log has it."""
    found = re.search(r"page is at (\S+)", log.read_text("utf-8")) if log.exists() else None
    return found and found[1]


def lag(log: Path) -> int:
    found = re.search(r"'reactor_lag_ms/p99': (\d+)", log.read_text("utf-8"))
    return int(found[1]) if found else 0


def summary(log: Path) -> str:
    """The table of each level: the indented lines behind its announcement."""
    tables = re.findall(
        r"summary of (?:the (level \w+)|all levels):\n((?:  .*\n)+)", log.read_text("utf-8")
    )
    return "\n".join(f"  {level}\n{table}" for level, table in tables)


def verdict(ratio: float) -> str:
    return "workers were faster" if ratio > 1 else "workers did not pay here"


def tell(what: str, text: str, end: str = "\n") -> None:
    print(f"  {what:<9}{text:<50}", end=end, flush=True)


def show(what: str, text: str) -> None:
    """Tell of something that goes on, on a line that the next one replaces."""
    if sys.stdout.isatty():
        tell(what, text, end="\r")


def relative(name: str) -> str:
    """The path of a file of the project as the user would type it."""
    path = PROJECT / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
