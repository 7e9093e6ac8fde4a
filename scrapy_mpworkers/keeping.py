"""What outlives the process: dead letters, and the journal of what is pending."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from scrapy.crawler import Crawler

from scrapy_mpworkers.crossing import Shipment
from scrapy_mpworkers.dead_letters import DeadLetter, DeadLetterFile, history, readable, shown
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.pool.pool import GivenUp
from scrapy_mpworkers.settings import Entry, import_path
from scrapy_mpworkers.wire.codec import StoredFrame

logger = logging.getLogger(__name__)


class DeadLetters:
    """The dead letters of one crawl: in a file if there is one, else in the log.

    Args:
        path: ``MPWORKERS_DEAD_LETTERS``.

    Raises:
        SettingError: the file cannot be written, or is not private.
    """

    def __init__(
        self, crawler: Crawler, hops: Sequence[Sequence[Entry]], path: Path | None
    ) -> None:
        self._crawler = crawler
        self._hops = [tuple(map(import_path, hop)) for hop in hops]
        self._file = None if path is None else DeadLetterFile(path)
        self._written = 0
        self._errors: dict[int, BaseException] = {}
        if self._file is not None:
            try:
                self._file.check()
            except OSError as error:
                raise SettingError(
                    f"MPWORKERS_DEAD_LETTERS is {str(path)!r}, but that file cannot be used: "
                    f"{error}."
                ) from None

    def add(self, hop: int, shipment: Shipment, frame: StoredFrame, given_up: GivenUp) -> None:
        """Keep an item that was given up. Whatever fails here, its content is in the log."""
        assert self._crawler.spider is not None
        letter = DeadLetter(
            # Not from the frame: what kills a worker as it is loaded must not be loaded here.
            item=readable(shipment.fields),
            frame=frame,
            hop=self._hops[hop],
            deaths=given_up.deaths,
            attempts=given_up.attempts,
            worker=given_up.worker,
            spider=self._crawler.spider.name,
            **history(given_up.error),
        )
        self._errors[id(given_up.error)] = given_up.error
        self._write(letter)

    def has(self, error: BaseException) -> bool:
        """Whether *error* is the one of a letter."""
        return id(error) in self._errors

    def tell(self) -> None:
        """Say where the letters are, once, at the end."""
        if self._file is not None and self._written:
            logger.warning(
                "%d dead letters were written to %s; scrapy mpworkers replay sends them again",
                self._written,
                self._file.path,
            )

    def _write(self, letter: DeadLetter) -> None:
        if self._file is not None:
            try:
                self._file.add(letter)
            except Exception as error:
                logger.error("A dead letter could not be written: %s", error)
            else:
                self._written += 1
                return
        logger.error(
            "Dead letter (%s: %s), on its way to %s: %s",
            letter.reason,
            letter.error,
            ", ".join(letter.hop),
            shown(letter.item),
            extra={"spider": self._crawler.spider},
        )
