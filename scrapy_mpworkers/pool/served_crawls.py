"""The crawls that one worker serves: whose consumers it opens, has open, and closes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from scrapy_mpworkers.pool.task_queue import Message


class CrawlState(Enum):
    """The state of a crawl's consumers in one worker."""

    OPENING = 0
    OPEN = 1
    REFUSED = 2  #: they could not be opened, a moment ago
    CLOSED = 3


@dataclass(slots=True)
class _Served:
    """A crawl that the worker was told of by a message. It may be dismissed in each state."""

    message: Message
    state: CrawlState = CrawlState.OPENING
    is_dismissed: bool = False


_NEVER = _Served(Message(0), CrawlState.CLOSED)


class ServedCrawls:
    """The crawls that a worker was ever told of, by their numbers.

    ``open``: those whose consumers are open; to be read for every message, so it is no method.
    """

    def __init__(self) -> None:
        self.open: set[int] = set()
        self._served: dict[int, _Served] = {}

    def __contains__(self, crawl: int) -> bool:
        return crawl in self._served

    def begin(self, crawls: Iterable[int]) -> None:
        crawls = list(crawls)
        message = Message(len(crawls))
        self._served.update({crawl: _Served(message) for crawl in crawls})

    def answered(self, crawl: int, state: CrawlState) -> bool:
        """Note that it has opened or refused a crawl, and return whether the message is over."""
        served = self._served[crawl]
        served.state = state
        if state is CrawlState.OPEN:
            self.open.add(crawl)
        served.message.unsettled -= 1
        return not served.message.unsettled

    def may_retry(self, crawl: int) -> None:
        if self._served[crawl].state is CrawlState.REFUSED:
            self._served[crawl].state = CrawlState.CLOSED

    def dismiss(self, crawl: int) -> None:
        self._served[crawl].is_dismissed = True

    def closed(self, crawl: int) -> bool:
        """Note that a crawl is closed, and return whether it had been dismissed."""
        served = self._served[crawl]
        was_dismissed, served.is_dismissed = served.is_dismissed, False
        served.state = CrawlState.CLOSED
        self.open.discard(crawl)
        return was_dismissed

    def is_opening(self, crawl: int) -> bool:
        """Return whether a crawl's consumers have yet to be opened."""
        return self._served.get(crawl, _NEVER).state is CrawlState.OPENING

    def is_due(self, crawl: int) -> bool:
        """Return whether a crawl's consumers have yet to be opened, or to be closed."""
        return self.is_opening(crawl) or self._served.get(crawl, _NEVER).is_dismissed

    def has(self, crawl: int) -> bool:
        """Return whether a crawl's consumers are open, or are yet to be opened or closed."""
        return crawl in self.open or self.is_due(crawl)

    def may_open(self, crawl: int) -> bool:
        """Return whether the worker may be told of a crawl."""
        served = self._served.get(crawl, _NEVER)
        return served.state is CrawlState.CLOSED and not served.is_dismissed

    @property
    def is_empty(self) -> bool:
        """Return whether no consumers are open, or have yet to be opened."""
        return not (self.open or self.any_opening)

    @property
    def any_opening(self) -> bool:
        return any(served.state is CrawlState.OPENING for served in self._served.values())
