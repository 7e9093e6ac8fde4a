"""Cases that break their runner. They are in no suite; the launcher's own tests run them."""

from __future__ import annotations

import os
import threading
from typing import Any

from ..case import Case
from .kinds import TEN
from .spiders import WordSpider

EXIT_CODE = 7


class Hangs:
    def process_item(self, item: Any) -> Any:
        threading.Event().wait()


class Dies:
    def process_item(self, item: Any) -> Any:
        os._exit(EXIT_CODE)


class RaisesAtOpening:
    def open_spider(self) -> None:
        raise RuntimeError("does not open")


SABOTEURS = [
    Case("hangs", WordSpider, {Hangs: 300}, TEN),
    Case("dies", WordSpider, {Dies: 300}, TEN),
    Case("raises_at_opening", WordSpider, {RaisesAtOpening: 300}, TEN),
]
