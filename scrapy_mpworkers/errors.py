"""Every exception of the package. All of them survive pickling: their arguments say it all."""

from __future__ import annotations

import signal

__all__ = [
    "BatchError",
    "CallTimeout",
    "CloseTimeout",
    "HopGoneError",
    "ItemTimeout",
    "JournalError",
    "KeyMissingError",
    "MPWorkersError",
    "NoRequestError",
    "NotInWorkerError",
    "NotPrivateError",
    "NotRepeatableError",
    "NotReplayedError",
    "PoolBroken",
    "PoolClosed",
    "RemoteError",
    "SettingError",
    "StuckError",
    "UnpicklableError",
    "UnreadableError",
    "WorkerDied",
    "WorkerStartError",
]


class MPWorkersError(Exception):
    """Base of every error of this package."""


class SettingError(MPWorkersError, ValueError):
    """A setting has a value that cannot work. The crawl stops before it starts."""


class UnpicklableError(MPWorkersError, TypeError):
    """An item, or what a pipeline made of it, cannot cross to another process."""


class UnreadableError(MPWorkersError, TypeError):
    """Scrapy's process cannot load what the pipelines made of an item."""


class WorkerStartError(MPWorkersError):
    """No worker became ready: it died, or was silent for too long, while it started."""


class WorkerDied(MPWorkersError):
    """An item's worker died under it more often than ``MPWORKERS_REDELIVER_TIMES`` allows.

    Args:
        worker: the name of the worker that died last.
        deaths: how many workers died while they ran it.
        exitcode: exit code of the last one as ``Process.exitcode`` has it; ``None`` if unknown.
        out_of_memory: whether the kernel killed a process for memory at about that time.
        what: it is an item, a call or a callback.
    """

    def __init__(
        self,
        worker: str,
        deaths: int,
        exitcode: int | None,
        out_of_memory: bool = False,
        what: str = "item",
    ) -> None:
        super().__init__(worker, deaths, exitcode, out_of_memory, what)
        self.worker, self.deaths, self.exitcode = worker, deaths, exitcode
        self.out_of_memory, self.what = out_of_memory, what

    def __str__(self) -> str:
        times = "once" if self.deaths == 1 else f"{self.deaths} times"
        cause = "Likely a crash in native code, memory that ran out, or os._exit."
        if self.out_of_memory:
            cause = "Fewer workers (MPWORKERS_WORKERS) leave more memory to each."
        return (
            f"a worker process died {times} while it ran this {self.what}; the last was "
            f"{self.worker}, which {exit_in_words(self.exitcode, self.out_of_memory)}. {cause} The "
            f"{self.what} is given up. To see it happen, run it in one process: "
            "scrapy crawl ... -s MPWORKERS_WORKERS=0"
        )


class ItemTimeout(MPWorkersError):
    """An item took longer than ``MPWORKERS_ITEM_TIMEOUT``; its worker was killed.

    Args:
        worker: the name of the worker.
        limit: seconds that an item may take.
        stack: where the worker was, the last call last; or why nobody knows.
        what: it is an item, a call or a callback.
    """

    def __init__(self, worker: str, limit: float, stack: str = "", what: str = "item") -> None:
        super().__init__(worker, limit, stack, what)
        self.worker, self.limit, self.stack, self.what = worker, limit, stack, what

    def __str__(self) -> str:
        return (
            f"this {self.what} took longer than {self.limit:g} s (MPWORKERS_ITEM_TIMEOUT) in "
            f"{self.worker}, which was killed with all that it had started. The {self.what} is "
            "given up. "
            "If it is only slow, raise the limit; to see where it hangs, run it in one process: "
            f"scrapy crawl ... -s MPWORKERS_WORKERS=0{_was_here(self.stack)}"
        )


class CallTimeout(MPWorkersError, TimeoutError):
    """A call of ``WorkerExtension.run`` took longer than its *timeout*; its worker was killed.

    Args:
        function: what was called.
        worker: the name of the worker.
        limit: seconds that it might have taken.
        stack: where the worker was, as in :class:`ItemTimeout`.
    """

    def __init__(self, function: str, worker: str, limit: float, stack: str = "") -> None:
        super().__init__(function, worker, limit, stack)
        self.function, self.worker, self.limit = function, worker, limit
        self.stack = stack

    def __str__(self) -> str:
        return (
            f"{self.function} took longer than {self.limit:g} s in {self.worker}, which was killed "
            "with all that it had started. If it is only slow, give run() a longer timeout; to see "
            "where it hangs, run it in one process: scrapy crawl ... -s MPWORKERS_WORKERS=0"
            f"{_was_here(self.stack)}"
        )


def _was_here(stack: str) -> str:
    return f"\nIt was here:\n{stack}" if stack else ""


class NotRepeatableError(MPWorkersError):
    """A callback ran again, as its worker had died, and did not yield the same results.

    Args:
        callback: the name of the spider's method.
        url: of the request.
        taken: how many results had been taken from the first run.
    """

    def __init__(self, callback: str, url: str, taken: int) -> None:
        super().__init__(callback, url, taken)
        self.callback, self.url, self.taken = callback, url, taken

    def __str__(self) -> str:
        return (
            f"{self.callback} is not repeatable: the worker died that ran it for {self.url}, "
            f"{self.taken} of its results had been taken by then, and another run does not begin "
            "with the same ones (a time, a random number or the order of a set may be in them). "
            "The rest of them is given up, so that none is lost or doubled in silence."
        )


class PoolBroken(MPWorkersError):
    """Workers died again and again before they settled anything; the pool has given up."""


class CloseTimeout(MPWorkersError):
    """The spider was closing and nothing was settled for ``MPWORKERS_CLOSE_TIMEOUT`` seconds.

    Args:
        idle: seconds in which nothing was settled.
        worker: the name of the worker that has the item; ``None`` if it was still waiting for one.
    """

    def __init__(self, idle: float, worker: str | None) -> None:
        super().__init__(idle, worker)
        self.idle, self.worker = idle, worker

    def __str__(self) -> str:
        where = f"at {self.worker}" if self.worker else "still waiting for a worker"
        return (
            f"the spider is closing and no item was settled for {self.idle:.0f} s "
            f"(MPWORKERS_CLOSE_TIMEOUT); this one was {where} and is given up. If items may take "
            "so long, raise that limit; if one hangs, MPWORKERS_ITEM_TIMEOUT ends it while the "
            "others go on."
        )


class PoolClosed(MPWorkersError):
    """An item came after the workers had been stopped."""


class NotPrivateError(MPWorkersError, OSError):
    """A file of pickles that someone else owns or can write."""


class JournalError(MPWorkersError):
    """The journal of a ``JOBDIR`` cannot be used."""


class HopGoneError(MPWorkersError):
    """A kept item was on its way to pipelines of which none is offloaded any more."""


class NotReplayedError(MPWorkersError):
    """The crawl of a replay ended before this item had an outcome."""


class KeyMissingError(MPWorkersError, LookupError):
    """An item has no key, in a level of ``MPWORKERS_LEVELS`` that needs one."""


class BatchError(MPWorkersError, TypeError):
    """The answer of ``process_batch`` does not say what became of each item."""


class NotInWorkerError(MPWorkersError, AttributeError):
    """A pipeline asked for a part of the crawl that only Scrapy's own process has."""

    _sends_home = False  # a callback that gets it runs there instead


class NoRequestError(MPWorkersError, RuntimeError):
    """A pipeline asked for the request of a response, which only Scrapy's own process has."""


class StuckError(MPWorkersError):
    """A pipeline awaits something that nothing in a worker can ever bring about."""


class RemoteError(MPWorkersError):
    """Stands for an exception of a pipeline whose own type could not be rebuilt here."""


class RemoteTraceback(Exception):
    """The traceback of an exception as the worker saw it; the ``__cause__`` of the rebuilt one."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


#: "Exit code" of a process that is dead, and nobody can tell how it died.
UNKNOWN_EXIT = 1 << 17


def exit_in_words(exitcode: int | None, out_of_memory: bool = False) -> str:
    """Put an exit code into words, for a sentence that begins with the worker's name."""
    if exitcode in (None, UNKNOWN_EXIT):
        return "ended without an exit code"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    by_whom = ", most likely by the kernel, which was out of memory" if out_of_memory else ""
    return f"was ended by {signal_name(-exitcode)}{by_whom}"


def exit_label(exitcode: int | None) -> str:
    """Return the exit as a stats key: ``SIGKILL``, ``exit_1``, ``unknown``."""
    if exitcode in (None, UNKNOWN_EXIT):
        return "unknown"
    return f"exit_{exitcode}" if exitcode >= 0 else signal_name(-exitcode)


def signal_name(number: int) -> str:
    """Return the name of a signal: ``9`` → ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal_{number}"
