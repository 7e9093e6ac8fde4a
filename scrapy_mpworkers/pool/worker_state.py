"""The states of a worker as its pool counts them."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Tells those who look what a worker does."""

    STARTING = "starting"
    OPENING = "opening"
    IDLE = "idle"
    BUSY = "busy"
    RETIRING = "retiring"
    CLOSING = "closing"
    DEAD = "dead"


class WorkerState(Enum):
    """The step that a worker has reached."""

    STARTING = 0
    BOOTED = 1  #: it has been told of the crawls that there are
    READY = 2  #: it has opened what it was told to at its start


class Departure(Enum):
    """Whether a worker is to go. It may be told so in each state."""

    NONE = 0
    RETIRING = 1  #: its replacement is being started; until then it works on
    LEAVING = 2  #: its replacement is there; it ends what it has, and gets nothing else
    CLOSING = 3  #: the pill is on its way; its end is no death


class KilledFor(Enum):
    """Says why the pool has killed a worker; only the end of a STUCK one counts against tasks."""

    NONE = 0
    TIMEOUT = 1  #: a task took too long
    STUCK = 2  #: it does not take up its work, or report it
    OPENING = 3  #: it took too long to start, or to open consumers
    ABANDONED = 4  #: it was at a task that nobody waits for
    STOP = 5  #: the pool stops, or has no use for it


class CrawlState(Enum):
    """The state of a crawl's consumers in one worker."""

    OPENING = 0
    OPEN = 1
    REFUSED = 2  #: they could not be opened, a moment ago
    CLOSED = 3
