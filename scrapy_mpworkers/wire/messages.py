"""Messages between Scrapy's process and a worker.

Down: Boot, OpenCrawl, Batch, CloseCrawl, PoisonPill.
Up: Opened, OpenFailed, Outcomes, Closed, Stacks.

A worker serves one crawl or several: all but the pill and the stacks say which, by its number.

The pool reads ids and kinds only. Whatever is ``bytes`` here is opened by the one it is meant for:
the consumer in the worker, the pipeline or the extension in Scrapy's process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple, TypeAlias

#: Bytes from which a frame is large: what a pickler does not gather but passes on
#: (``FRAME_SIZE_TARGET`` in CPython's _pickle.c).
LARGE = 1 << 16


class Large:
    """A large frame, in the pieces in which it was pickled.

    ``len`` is its size, ``bytes`` joins it.
    """

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


#: A frame: in Scrapy's process as it was pickled, in a worker perhaps a view of a message.
FrameData: TypeAlias = bytes | memoryview | Large


class TaskStatus(IntEnum):
    """The status in which a task ended; the stats under ``mpworkers/items/`` have these names."""

    DONE = 0
    DROPPED = 1
    FAILED = 2
    DEAD_LETTERED = 3


#: The "hop" of a task that is no item but the call of a function, or a callback of the spider.
CALL, CALLBACK = -1, -2


def kind_of(hop: int) -> str:
    """Return what a task is, for a sentence."""
    return {CALL: "call", CALLBACK: "callback"}.get(hop, "item")


#: The "status" of a task that has not ended: it has given a part of its results, and goes on when
#: it is told to.
MORE = -1


#: Why a spider closes that has no more to do: Scrapy's word. Consumers of a worker that is recycled
#: close for this reason, too.
FINISHED = "finished"


#: What the file in memory is called to which a worker writes its stacks at a signal.
STACKS_FILE = "mpworkers-stacks"
#: With what an answer of a worker begins whose main thread runs code of the user.
AT_WORK = "Thread MainThread:"


class Definition(NamedTuple):
    """A class or function that workers cannot import, by value; frames refer to its number."""

    number: int
    blob: bytes


class Prelude(NamedTuple):
    """The code of the user that a worker runs before the pipelines.

    ``settings_module``: its name, if Scrapy's process has imported one; ``initializer``: the import
    path of a callable. ``None``: there is nothing to run.
    """

    settings_module: str | None = None
    initializer: str | None = None


NO_PRELUDE = Prelude()


class WorkerConfig(NamedTuple):
    """The conditions under which a worker is to live.

    Added niceness, environment variables, the start method of its own children, folders to import
    from that are not on the parent's ``sys.path``, seconds that a message of work takes, and what
    runs before the pipelines.
    """

    nice: int
    environment: tuple[tuple[str, str], ...]
    start_method: str | None
    paths: tuple[str, ...] = ()
    batch_seconds: float = 0.01
    prelude: Prelude = NO_PRELUDE


#: Attributes of the spider that have changed since the crawl began, by name, each in a frame of its
#: own or with the reason why it has none; and a number that grows with each change.
Attributes: TypeAlias = tuple[int, dict[str, bytes | str]]


class WireTask(NamedTuple):
    """An item on its way to a hop. Like an Outcome it crosses as a plain tuple.

    Pickle looks up the class of each named tuple that it reads, and calls it: five times the work.

    ``results``: what hops since the frame was made have made of the item; of a callback that runs
    again: how far it had come. Without a frame a callback goes on where it is, or, with a result,
    ends there. ``attributes``: of the spider, if any have changed since the crawl began.
    """

    id: int
    hop: int
    frame: bytes | memoryview
    results: tuple[bytes, ...] = ()
    attributes: Attributes | None = None


# This is faster than WireTask._make, which is written in Python.
_as_task = partial(tuple.__new__, WireTask)


#: A WireTask as a plain tuple. While a large frame crosses elsewhere, its size takes its place.
TaskRow: TypeAlias = tuple[int, int, FrameData | int, tuple[bytes, ...], Attributes | None]


class Batch(NamedTuple):
    """The tasks of one queue message, with the definitions that the worker does not know yet.

    ``rows``: tasks as plain tuples; ``batched``: whether they go through the pipelines as one.
    """

    crawl: int
    definitions: tuple[Definition, ...]
    rows: tuple[TaskRow, ...]
    batched: bool = False

    @property
    def tasks(self) -> list[WireTask]:
        return list(map(_as_task, self.rows))


class OpenCrawl(NamedTuple):
    """The worker shall build and open the consumer of a crawl.

    ``factory`` names the module whose ``build`` is called with ``payload`` and the definitions.
    """

    crawl: int
    definitions: tuple[Definition, ...]
    factory: str
    payload: bytes


class Boot(NamedTuple):
    """The first message to every worker names the crawls that there are.

    A worker that can open the consumers of none of them exits.
    """

    setups: tuple[OpenCrawl, ...]


class Ending(NamedTuple):
    """Tells consumers, as they close, how the crawl ends.

    ``reason``: why the spider closes, for the handlers of ``spider_closed``; ``stats``: those that
    the crawl has at its end, pickled; nothing where it goes on.
    """

    reason: str
    stats: bytes


#: For consumers of a worker that is replaced.
GOES_ON = Ending(FINISHED, b"")


class CloseCrawl(NamedTuple):
    """A crawl has ended: the worker shall close its consumers, and go on for the others."""

    crawl: int
    ending: Ending = GOES_ON


class PoisonPill(NamedTuple):
    """End of work: close all consumers, say so, exit."""

    ending: Ending = GOES_ON


Command: TypeAlias = Boot | OpenCrawl | Batch | CloseCrawl | PoisonPill


class Outcome(NamedTuple):
    """An outcome tells what became of one task.

    ``result`` and ``effects`` (stats and log records; ``None`` if there are none) are opened by
    the submitter. ``seconds`` is the time that the consumer took. ``keys``: of the item as it is
    now, for the hops that come next, in their order; of a callback with ``MORE`` to come: what
    another worker needs to know if it has to run it again.
    """

    task_id: int
    status: int
    result: bytes
    effects: bytes | None
    seconds: float
    keys: tuple[Any, ...] = ()


#: Does what ``Outcome._make`` does, which is written in Python, but faster.
as_outcome = partial(tuple.__new__, Outcome)


def nothing_of(task_id: int) -> Outcome:
    """Return the outcome of a task that has given all that anybody wants of it."""
    return Outcome(task_id, int(TaskStatus.DONE), b"", None, 0.0)


class Opened(NamedTuple):
    """The worker has opened the consumers of a crawl."""

    crawl: int
    effects: bytes | None


class OpenFailed(NamedTuple):
    """The worker could not open the consumers of a crawl."""

    crawl: int
    failure: bytes


class Outcomes(NamedTuple):
    """Some tasks of a crawl are over; ``rows``: their outcomes, as plain tuples."""

    crawl: int
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, crawl: int, outcomes: Iterable[Outcome]) -> Outcomes:
        return cls(crawl, tuple(map(tuple, outcomes)))


class Closed(NamedTuple):
    """The consumers of a crawl are closed, or could not be closed."""

    crawl: int
    effects: bytes | None
    failure: bytes | None


class Answer(NamedTuple):
    """The answer of a worker's thread to a command: encoded reports, and whether they are the last.

    ``overdue``: the task that takes longer than it may; its process is to be killed. ``stack``:
    where it is.
    """

    reports: tuple[bytes, ...]
    is_last: bool
    overdue: int | None = None
    stack: str = ""


class Stacks(NamedTuple):
    """The worker was asked where it is, and a thread of it answers."""

    text: str


CrawlReport: TypeAlias = Opened | OpenFailed | Outcomes | Closed
Report: TypeAlias = CrawlReport | Stacks
