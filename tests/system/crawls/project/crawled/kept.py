"""Pipelines around dead letters and the journal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import DropItem

from .pipelines import Gate, Mark
from .signs import tell

if TYPE_CHECKING:
    from scrapy.crawler import Crawler


class Poison(Mark):
    """Kills its process at the third item, until it has been repaired."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 3 and not os.environ.get("REPAIRED"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process_item(item)


class Seen:
    """Stays on the reactor, and tells of each item that it meets."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("seen", item["n"])
        return item


#: Half of a pair, a forged line, controls old and new, an end of line of Unicode, a direction.
SPITE = "\ud83d\n2026-01-01 00:00:00 [x] ERROR: forged\r\x1b[2J\x9b\x7f\u2028\u202eend"


class Spites:
    """Stays on the reactor; the third item holds what a log should not."""

    def process_item(self, item: dict[str, Any]) -> Any:
        return item | {SPITE: SPITE} if item["n"] == 3 else item


class Spits:
    """The fourth item is an error that says what a log should not."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 4:
            raise ValueError(SPITE)
        return item


class SeenBehind:
    """The same, behind the workers."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("behind", item["n"])
        return item


class MarkBehind(Mark):
    """In a worker, behind the first hop; tells of each item that it meets."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("marked", item["n"])
        return super().process_item(item)


class FailsBehind:
    """Stays on the reactor, behind the workers, and fails there until it has been repaired."""

    def process_item(self, item: dict[str, Any]) -> Any:
        if not os.environ.get("REPAIRED"):
            raise ValueError("no luck behind the workers")
        return item


class DropsBehind:
    def process_item(self, item: dict[str, Any]) -> Any:
        raise DropItem("nobody wants it")


class DropsAndFails(Mark):
    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 1:
            raise DropItem("nobody wants it")
        if item["n"] == 2:
            raise ValueError("no luck")
        return super().process_item(item)


class Once:
    """Stays on the reactor, and drops each item that it has met in this run or an earlier one."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "once"

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Once:
        return cls(crawler.settings["JOBDIR"])

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("seen", item["n"])
        with self.path.open("a+") as seen:
            seen.seek(0)
            if f"{item['n']}\n" in seen.readlines():
                raise DropItem("a duplicate")
            seen.write(f"{item['n']}\n")
        return item


class SecondGate(Gate):
    """Another hop with the same gate."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("second", item["n"])
        return super().process_item(item)


class Shortens(Mark):
    """Takes the bulk out of a bulky item."""

    def process_item(self, item: dict[str, Any]) -> Any:
        del item["bulk"]
        return super().process_item(item)
