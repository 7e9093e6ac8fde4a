"""Sends dead letters again: a crawl of their spider, with the letters instead of ``start()``."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import DropItem

from scrapy_mpworkers.commands.feeds import ABOVE_COMMAND_LINE
from scrapy_mpworkers.crawl.stored_item import StoredItem
from scrapy_mpworkers.errors import HopGoneError, NotReplayedError
from scrapy_mpworkers.extension import WorkerExtension
from scrapy_mpworkers.hops import add_component
from scrapy_mpworkers.stores.dead_letters import DeadLetter, DeadLetterFile, StoredLetters, history


class Replay:
    """Sends the letters of one spider again, and counts what becomes of them.

    Args:
        stored: has them, perhaps among others.
        spider: its name.
        again: where those go that have no good end.
    """

    def __init__(self, stored: StoredLetters, spider: str, again: DeadLetterFile) -> None:
        self.spider = spider
        self.counts: Counter[str] = Counter()  #: by ``done``, ``dropped``, ``again``
        self._again = again
        self._open: dict[int, ReplayedLetter] = {}  # by id
        self._letters = self._of(stored)
        self._extension: WorkerExtension | None = None

    def attach(self, crawler: Crawler) -> None:
        """Make *crawler*, which has not been started, replay the letters."""
        settings = crawler.settings
        settings.set("MPWORKERS_DEAD_LETTERS", str(self._again.path), ABOVE_COMMAND_LINE)
        # A replay must not go on with the requests of a paused crawl.
        settings.set("JOBDIR", None, ABOVE_COMMAND_LINE)
        settings.set("MPWORKERS_JOURNAL", False, ABOVE_COMMAND_LINE)
        add_component(settings, "SPIDER_MIDDLEWARES", "spidermiddlewares.WorkerSpiderMiddleware", 0)
        # Between the building of the extension and the first item of start().
        crawler.signals.connect(self._begin, signals.engine_started)

    def ended(self, letter: ReplayedLetter, error: Exception | None) -> None:
        """Count the outcome of *letter*; without a good end it is kept again."""
        del self._open[id(letter)]
        if error is None:
            self.counts["done"] += 1
        elif isinstance(error, DropItem):
            self.counts["dropped"] += 1
        elif self._extension is not None and self._extension.persistence.is_dead_letter(error):
            self.counts["again"] += 1  # its new letter is in the file already
        else:
            self._keep(letter, error)

    def finish(self) -> None:
        """Keep what has no outcome at the end of the crawl for another time."""
        error = NotReplayedError("the crawl of the replay ended before this item had an outcome")
        for letter in [*self._open.values(), *self._letters]:
            self._keep(letter, error)

    async def _begin(self, sender: Crawler, **kwargs: Any) -> None:
        extension = sender.get_extension(WorkerExtension)
        if extension is not None and extension.has_work:
            self._extension = extension
            self._extension.persistence.replay(self._letters)
            return
        error = HopGoneError(
            "this crawl offloads nothing (MPWORKERS_PIPELINES, MPWORKERS_CALLBACKS)"
        )
        for letter in self._letters:
            self.ended(letter, error)
        # Before the spider's own start(): a replay sends no requests.
        engine: Any = sender.engine
        await engine.close_spider_async(reason="mpworkers_no_hop")

    def _of(self, stored: StoredLetters) -> Iterator[ReplayedLetter]:
        for letter in stored.of(self.spider):
            replayed = ReplayedLetter(self, letter)
            self._open[id(replayed)] = replayed
            yield replayed

    def _keep(self, letter: ReplayedLetter, error: Exception) -> None:
        self.counts["again"] += 1
        self._again.add(dataclasses.replace(letter.letter, **history(error)))


class ReplayedLetter(StoredItem):
    """Is a dead letter on its second way."""

    def __init__(self, replay: Replay, letter: DeadLetter) -> None:
        self.letter = letter
        self.hop, self.frame = letter.hop, letter.frame
        self._replay = replay

    def ended(self, error: Exception | None) -> None:
        self._replay.ended(self, error)

    cannot_go_on = ended


def next_free(path: Path) -> Path:
    """Return the first that is free: ``dead.jsonl`` → ``dead.2.jsonl`` → ``dead.3.jsonl``."""
    stem, _, number = path.stem.rpartition(".")
    if not stem or not number.isdigit():
        stem, number = path.stem, "1"
    others = (path.with_name(f"{stem}.{n}{path.suffix}") for n in count(int(number) + 1))
    # A link to nothing is in the way, too.
    return next(one for one in others if not os.path.lexists(one))
