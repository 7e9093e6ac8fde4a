"""Pipelines around dead letters and the journal."""

from __future__ import annotations

import os
import signal
from typing import Any

from scrapy.exceptions import DropItem

from .pipelines import Mark
from .signs import tell


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


class SeenBehind:
    """The same, behind the workers."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("behind", item["n"])
        return item


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
