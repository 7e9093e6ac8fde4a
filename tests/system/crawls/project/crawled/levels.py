"""Pipelines of levels: what stores in batches, what goes by key, and how they break."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

from scrapy.exceptions import DropItem

from scrapy_mpworkers import BatchMixin

from .signs import tell, wait_at_gate


class Stores(BatchMixin):
    """Tells of each item when it has been stored, which is when the gate is open."""

    def process_batch(self, items: list[dict[str, Any]]) -> Any:
        tell("batch", *(item["n"] for item in items))
        wait_at_gate()
        for item in items:
            self.store(item)
        tell_each("stored", items)
        return items

    def store(self, item: dict[str, Any]) -> None:
        item["stored"] = True


class Fails(Stores):
    """Drops the first, fails with the second, and dies of the third."""

    def process_batch(self, items: list[dict[str, Any]]) -> Any:
        super().process_batch(items)
        return [self.end_of(item) for item in items]

    def store(self, item: dict[str, Any]) -> None:
        if item["n"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    def end_of(self, item: dict[str, Any]) -> Any:
        ends = {1: DropItem("nobody wants it"), 2: ValueError("no luck")}
        return ends.get(item["n"], item)


class DiesOfSeven(Stores):
    def store(self, item: dict[str, Any]) -> None:
        if item["n"] == 7:
            os.kill(os.getpid(), signal.SIGKILL)


class StuckAtSeven(Stores):
    """Never comes back from C code, and keeps the interpreter."""

    def store(self, item: dict[str, Any]) -> None:
        while item["n"] == 7:
            ctypes.PyDLL(None).pause()


class StoresOneByOne(Stores):
    """Refuses several items together, and each call takes half of an item's time or more."""

    def process_batch(self, items: list[dict[str, Any]]) -> Any:
        time.sleep(0.8)
        if len(items) > 1:
            raise ValueError("one of them is bad")
        return super().process_batch(items)


class TellsInTurn:
    """Of each item when it begins, at the gate, and when it has ended."""

    def process_item(self, item: dict[str, Any]) -> Any:
        tell("busy", item["n"], os.getpid())
        wait_at_gate()
        tell("processed", item["n"])
        return item


class DiesInTurn(TellsInTurn):
    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process_item(item)


def parity(item: dict[str, Any]) -> int:
    return int(item["n"] % 2)


def tell_each(word: str, items: list[dict[str, Any]]) -> None:
    for item in items:
        tell(word, item["n"])
