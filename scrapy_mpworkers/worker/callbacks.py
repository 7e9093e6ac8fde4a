"""Runs callbacks of the spider, and gives what they yield part by part.

A callback that has given a part waits, as the generator that it is, until Scrapy's process wants
more. Meanwhile the worker does other work, so nothing that its results need has to wait for it.
"""

from __future__ import annotations

from typing import Any

from scrapy.exceptions import CloseSpider

from scrapy_mpworkers.wire.callbacks import How, Part, as_task
from scrapy_mpworkers.wire.exceptions import pack_exception
from scrapy_mpworkers.wire.messages import MORE, TaskStatus, WireTask
from scrapy_mpworkers.wire.texts import named
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.callback_run import RunningCallback
from scrapy_mpworkers.worker.crawler import WorkerCrawler
from scrapy_mpworkers.worker.pipelines import Guard

#: Ends that count as failed; PASSED_ON does not, as an errback may raise the failure that it got.
_FAILED = (How.REFUSED, How.FAILED)
#: Seconds after which a part is full; the second number holds until the callback has ended once in
#: this worker, because only before its first part can it still move to Scrapy's process.
_SECONDS, _AT_FIRST = 0.05, 1.0


def status_of(part: Part) -> TaskStatus:
    """Return what became of a callback that has ended.

    To ask for the end of the crawl is no failure, for Scrapy as well.
    """
    is_lost = part.how in _FAILED and not isinstance(part.why, CloseSpider)
    return TaskStatus.FAILED if is_lost else TaskStatus.DONE


class Callbacks:
    """The callbacks that this worker is at, of one crawl.

    Attributes:
        is_repeating: the last part was one that Scrapy's process has had, with its stats and log
            records.
    """

    def __init__(self, crawler: WorkerCrawler, codec: WorkerCodec, guard: Guard) -> None:
        self._crawler = crawler
        self._codec = codec
        self._guard = guard
        self.is_repeating = False
        self._waiting: dict[int, RunningCallback] = {}
        self._ended: set[str] = set()  # names of those that have come to their end once

    async def part(self, task: WireTask) -> tuple[int, bytes, tuple[Any, ...]]:
        """Run a callback until it has a part of its results, or has ended.

        Returns:
            status, result and keys of an Outcome.
        """
        self.is_repeating = False
        if len(task.frame):
            try:
                callback = self._arrived(task)
            except BaseException as error:  # classes of the user run their own code here
                why = f"what it is given cannot be loaded in a worker ({named(error)})"
                return self._last(Part((), how=How.AT_HOME, why=why))
        else:
            callback = self._waiting.pop(task.id)
            self._codec.answer(callback.handles)
            if task.results:
                await callback.end()
                return self._last(Part((), how=How.DONE))
        part = await callback.part(_SECONDS if callback.name in self._ended else _AT_FIRST)
        self.is_repeating = callback.is_repeating
        if part.how != How.GOES_ON:
            self._ended.add(callback.name)
            return self._last(part)
        self._waiting[task.id] = callback
        return MORE, self._packed(part), (callback.progress.packed(),)

    def failed(self, error: BaseException) -> tuple[int, bytes, tuple[Any, ...]]:
        """Return what :meth:`part` does for a callback at which our own part of the work failed."""
        return self._last(Part((), how=How.FAILED, why=error))

    async def close(self) -> None:
        """End the callbacks that nobody has told to go on."""
        for callback in self._waiting.values():
            await callback.end()
        self._waiting.clear()

    def _arrived(self, task: WireTask) -> RunningCallback:
        sent = as_task(self._codec.load(task.frame))
        [earlier] = task.results or (b"",)
        return RunningCallback(sent, earlier, self._codec, self._guard)

    def _last(self, part: Part) -> tuple[int, bytes, tuple[Any, ...]]:
        return int(status_of(part)), self._packed(part), ()

    def _packed(self, part: Part) -> bytes:
        why = part.why
        if isinstance(why, BaseException):
            why = tuple(pack_exception(why, self._codec.dump))
        return self._codec.dump(tuple(part._replace(why=why)))
