"""How the crawl speaks to its test, and how the test holds its items."""

import asyncio
import fcntl
import json
import os
from typing import Any

from scrapy.utils.asyncio import is_asyncio_available
from twisted.internet.task import deferLater


def tell(word: str, *facts: Any) -> None:
    """Write `@word [facts]` to stderr in one piece, so that processes never mix their lines."""
    os.write(2, f"@{word} {json.dumps(facts)}\n".encode())


def wait_at_gate() -> None:
    """Block until the test opens the gate: it holds the file's exclusive lock till then."""
    with open(os.environ["CRAWL_GATE"]) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)


def gate_is_open() -> bool:
    """Return whether the test has opened the gate."""
    with open(os.environ["CRAWL_GATE"]) as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def pause(seconds: float) -> None:
    """Sleep in whichever loop there is."""
    if is_asyncio_available():
        await asyncio.sleep(seconds)
    else:
        from twisted.internet import reactor

        await deferLater(reactor, seconds)
