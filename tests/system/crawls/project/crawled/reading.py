"""An extension that reads the stats all the time, in each way that others do."""

from __future__ import annotations

from .signs import tell
from .watching import Shows

_NAME = "mpworkers/items/submitted"


class Reads(Shows):
    """Tells how many items there are by the stats, whenever that has changed."""

    def spider_opened(self) -> None:
        self._crawler.stats.get_stats()  # so that Scrapy keeps what it has found
        super().spider_opened()

    def spider_closed(self) -> None:
        self._call.stop()

    def _look(self) -> None:
        stats = self._crawler.stats
        assert stats is not None
        by_loop = {name: value for name, value in stats._stats.items() if name == _NAME}
        printed = repr(stats.get_stats())
        facts = [stats.get_value(_NAME), by_loop.get(_NAME), f"'{_NAME}': 6" in printed]
        if facts != self._told:
            self._told = facts
            tell("stats", *facts)
