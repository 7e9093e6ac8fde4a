"""Pipelines around dead letters and the journal."""

from __future__ import annotations

import os
import signal
from typing import Any

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
