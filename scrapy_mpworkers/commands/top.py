"""Shows the workers of crawls that run in the terminal, as ``top`` shows processes."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from scrapy_mpworkers.commands.frames import frame
from scrapy_mpworkers.commands.pages import PageClient, PageClosed, PageError, of_spider

if sys.platform != "win32":
    import termios
    import tty

_PATH = "/snapshot.json"
#: Seconds between two looks; columns where there is no terminal.
_EVERY, _WIDTH = 1.0, 150


def print_once(pages: list[PageClient], spider: str | None) -> None:
    """Print one frame of each crawl.

    Raises:
        PageError: there is none, or it does not say.
    """
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", _WIDTH))
    console = Console(width=width, highlight=False)
    for number, crawl in enumerate(of_spider(pages, _PATH, spider)):
        if number:
            console.print()
        console.print(frame(crawl))


def watch(pages: list[PageClient], spider: str | None) -> None:
    """Show one crawl, a frame a second, until it is over or somebody presses q or Ctrl-C.

    Raises:
        PageError: there is none, or it does not say from the beginning.
    """
    console = Console(highlight=False)
    chosen, crawls = 0, of_spider(pages, _PATH, spider)
    with _keys() as read, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            notice = f"crawl {chosen % len(crawls) + 1} of {len(crawls)} - n: next, q: quit"
            notice = notice if len(crawls) > 1 else "q: quit"
            height = console.height
            live.update(frame(crawls[chosen % len(crawls)], notice, height), refresh=True)
            key = read()
            if key == "q":
                return
            chosen += key == "n"
            try:
                crawls = of_spider(pages, _PATH, spider)
            except PageClosed:
                break
            except PageError:
                continue  # the crawl is busy; its last picture stays
    console.print("The crawl is over.")


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Give a function that waits a second for a key, and returns it or nothing."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield _no_key
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _no_key() -> str:
    time.sleep(_EVERY)
    return ""


def _key() -> str:
    # Bytes, as what Python has read ahead of a text file, select does not see.
    ready, _, _ = select.select([sys.stdin], [], [], _EVERY)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""
