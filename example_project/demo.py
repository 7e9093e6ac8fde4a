"""Crawls Python's documentation twice, without and with workers, and searches the result."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path

import search
from pydocs import INDEX, PROJECT
from pydocs.index import Index
from pydocs.pages import count_pages, ensure_pages
from pydocs.server import LocalSite

INLINE_INDEX = PROJECT / "inline.sqlite"
QUERIES = ["keep a list sorted", "difference between two texts", "wait for several coroutines"]


def main() -> None:
    print("\nPython's documentation becomes a full-text index: by one crawl, run in two ways\n")
    prepare()
    with LocalSite() as site:
        inline = crawl("inline", site.url, INLINE_INDEX, "MPWORKERS_ENABLED=False")
        workers = crawl("workers", site.url, INDEX)
    compare(inline, workers)
    print(f"\nWhat the workers' log says at its end:\n{summary(PROJECT / 'workers.log')}")
    for query in QUERIES:
        print(f'\n$ python {relative("search.py")} "{query}"\n')
        search.main(query, limit=1)


def prepare() -> None:
    started = time.perf_counter()
    ensure_pages()
    tell("pages", f"{count_pages()} modules, {time.perf_counter() - started:.1f} s to render")


def crawl(name: str, site: str, index: Path, *settings: str) -> float:
    """Run ``scrapy crawl pydocs``.

    Returns:
        Its wall time in seconds, from the start of the process to its end.
    """
    log = PROJECT / f"{name}.log"
    command = [sys.executable, "-m", "scrapy", "crawl", "pydocs", "-a", f"site={site}"]
    for setting in (f"LOG_FILE={log}", "LOG_FILE_APPEND=False", f"INDEX_PATH={index}", *settings):
        command += ["-s", setting]
    if sys.stdout.isatty():
        tell(name, "crawling ...", end="\r")
    log.unlink(missing_ok=True)  # what it says shall be of this crawl
    started = time.perf_counter()
    completed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if completed.returncode or not index.exists():
        where = f", {log} tells why" if log.exists() else ""
        sys.exit(f"The crawl failed{where}:\n{completed.stderr}")
    tell(name, f"{seconds:5.1f} s   {len(Index(index))} pages indexed, log in {relative(log.name)}")
    return seconds


def compare(inline: float, workers: float) -> None:
    tell("ratio", f"{inline / workers:5.2f}     " + verdict(inline / workers))
    if Index(INLINE_INDEX).rows() != Index(INDEX).rows():
        sys.exit("  The indexes differ, which must not be: please report it.")
    tell("same?", "yes: both indexes hold the same rows")


def summary(log: Path) -> str:
    """The indented lines that follow the announcement of the summary."""
    _, _, rest = log.read_text("utf-8").partition("summary:\n")
    return "\n".join(takewhile(lambda line: line.startswith("  "), rest.splitlines()))


def verdict(ratio: float) -> str:
    return "workers were faster" if ratio > 1 else "workers did not pay here"


def tell(what: str, text: str, end: str = "\n") -> None:
    print(f"  {what:<9}{text:<50}", end=end, flush=True)


def relative(name: str) -> str:
    """The path of a file of the project as the user would type it."""
    path = PROJECT / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
