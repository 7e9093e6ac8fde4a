"""One callback of the spider under way: it is called, read part by part, and closed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from inspect import isawaitable
from time import perf_counter
from types import ModuleType
from typing import Any

from scrapy import Request
from scrapy.utils.misc import arg_to_iter
from twisted.python.failure import Failure

from scrapy_mpworkers.callbacks import shown
from scrapy_mpworkers.errors import NotInWorkerError, NotRepeatableError, UnpicklableError
from scrapy_mpworkers.wire.callbacks import (
    CallbackTask,
    How,
    Part,
    Progress,
    SentException,
    count_of,
    is_like_its_copy,
    made_exception,
)
from scrapy_mpworkers.wire.texts import named
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.pipelines import Guard
from scrapy_mpworkers.worker.request_changes import RequestChanges

logger = logging.getLogger(__name__)

#: A part is full with so many results, or bytes of them. (Scrapy works on 100 results of a response
#: at a time.)
_MOST, _MOST_BYTES = 200, 1 << 18


class _AtHome(Exception):
    """The callback must run in Scrapy's process; the text says why."""


class RunningCallback:
    """A callback under way.

    Attributes:
        name: of the spider's method.
        handles: objects of Scrapy's process that came with it.
        progress: which results it has given.
        is_repeating: Scrapy's process has had all of this part in an earlier run, with its stats.
    """

    def __init__(
        self, sent: CallbackTask, earlier: bytes, codec: WorkerCodec, guard: Guard
    ) -> None:
        self._codec = codec
        self._guard = guard
        self._sent = sent
        self.name = sent.name
        self.handles = codec.handles
        self.progress = Progress()
        self._earlier = earlier
        self.is_repeating = bool(earlier)
        self._may_go_home = not earlier
        self._changes = RequestChanges(sent.request, sent.shared, codec)
        self._error: BaseException | None = None  # that an errback was given
        self._results: Iterator[Any] | AsyncIterator[Any] | None = None
        self._shared: dict[int, tuple[Any, Request]] = {}

    async def part(self, seconds: float) -> Part:
        """Run on until a part is full, which it is after so many *seconds*."""
        results: list[bytes] = []
        self.is_repeating = self.progress.count < count_of(self._earlier)
        meta = None
        try:
            how, why = await self._run(results, perf_counter() + seconds)
            meta = self._changes.of_meta()
        except _AtHome as error:
            return Part((), how=How.AT_HOME, why=str(error))
        except UnpicklableError as error:  # it is in meta
            if self._may_go_home:
                return Part((), how=How.AT_HOME, why=str(error))
            how, why = How.FAILED, error
        lost = self._changes.of_shared()
        if lost and self._may_go_home:
            return Part((), how=How.SHARED, why=lost[0])
        if lost and how != How.GOES_ON:
            self._warn_of(lost)
        self._may_go_home = False
        self._shared.clear()
        return Part(tuple(results), meta, how, why)

    async def _run(self, results: list[bytes], until: float) -> tuple[int, BaseException | None]:
        """Add results, and return how this ends and what it raised."""
        how = How.REFUSED  # if it raises now
        try:
            if self._results is None:
                self._results = await self._called()
            how = How.FAILED
            return await self._collect(results, until), None
        except _AtHome:
            raise
        except BaseException as error:
            if self._may_go_home and isinstance(error, NotInWorkerError) and error._sends_home:
                raise _AtHome(str(error)) from error
            if error is not self._error:
                return how, error
            return How.PASSED_ON if how == How.REFUSED else how, None

    def _warn_of(self, lost: list[tuple[str, str]]) -> None:
        for where, name in lost:
            logger.warning(
                "The callback %s changed %s[%r] in a worker, after it had given results. Whoever "
                "else has that object sees nothing of it: yield what others need, or take the "
                "callback out of MPWORKERS_CALLBACKS.",
                shown(self._codec.spider, self._sent.name, self._sent.request),
                where,
                name,
            )

    async def end(self) -> None:
        """Close the generator, as Python does with one that nobody reads to its end."""
        close = getattr(self._results, "aclose", None) or getattr(self._results, "close", None)
        try:
            closing = None if close is None else close()
            if isawaitable(closing):
                await self._guard(closing)
        except BaseException as error:
            logger.debug("Closing a callback raised %s", named(error))

    async def _called(self) -> Iterator[Any] | AsyncIterator[Any]:
        """Call it as Scrapy's scraper does, and return what to iterate over."""
        name, request, response, *_ = self._sent
        callback = getattr(self._codec.spider, name)
        if response is not None:
            response.request = request
        if self._sent.failure is None:
            output = callback(response, **request.cb_kwargs)
        else:
            output = callback(self._failure(self._sent.failure))
            if isinstance(output, Failure):
                raise output.value or RuntimeError("an errback returned an empty Failure")
        while isawaitable(output):
            output = await self._guard(output)
        results: Any = output if isinstance(output, AsyncIterator) else iter(arg_to_iter(output))
        return results  # type: ignore[no-any-return]

    def _failure(self, sent: SentException) -> Any:
        self._error = error = made_exception(sent)
        if self._sent.response is not None:
            error.response = self._sent.response  # type: ignore[attr-defined]
        failure: Any = Failure(error)  # type: ignore[no-untyped-call]
        failure.frames = [(*frame, (), ()) for frame in sent.frames]
        failure.request = self._sent.request
        return failure

    async def _collect(self, results: list[bytes], until: float) -> int:
        size = 0
        iterator: Any = self._results
        is_async = isinstance(iterator, AsyncIterator)
        end = StopAsyncIteration if is_async else StopIteration
        while True:
            try:
                result = await self._guard(anext(iterator)) if is_async else next(iterator)
            except end:
                return self._done()
            frame = self._dumped(result)
            self.progress.add(frame)
            if self.is_repeating:
                if self.progress.count < count_of(self._earlier):
                    continue
                if not self.progress.fits(self._earlier):
                    raise self._not_repeatable()
                return How.GOES_ON  # the next part has new results: what this one brings is known
            results.append(frame)
            size += len(frame)
            if len(results) >= _MOST or size >= _MOST_BYTES or perf_counter() >= until:
                return How.GOES_ON

    def _done(self) -> int:
        if self.is_repeating:
            raise self._not_repeatable()
        return How.DONE

    def _dumped(self, result: Any) -> bytes:
        try:
            if isinstance(result, Request):
                self._look_at(result)
            return self._codec.dump_result(result)
        except UnpicklableError as error:
            if self._may_go_home:
                raise _AtHome(str(error)) from error
            raise

    def _not_repeatable(self) -> NotRepeatableError:
        name = shown(self._codec.spider, self._sent.name, self._sent.request)
        return NotRepeatableError(name, self._sent.request.url, count_of(self._earlier))

    def _look_at(self, request: Request) -> None:
        """Raise an error if a yielded request would not work in Scrapy's process as here."""
        for one in (request.callback, request.errback):
            owner: Any = getattr(one, "__self__", None)
            is_here = owner is None or owner is self._codec.spider
            if not is_here and not issubclass(type(owner), (type, ModuleType)):
                raise UnpicklableError(
                    f"it yields a request for {getattr(one, '__qualname__', one)}, a method of an "
                    "object that Scrapy's process does not have; make it a method of the spider"
                )
        if self._may_go_home:
            for name, value in self._copied(request):
                owner = self._shared.setdefault(id(value), (value, request))[1]
                if owner is not request and not self._is_of_spider(value):
                    raise _AtHome(
                        f"it puts one and the same {type(value).__name__} into {name} of several "
                        "requests, and what their callbacks change in it must be seen by all"
                    )

    def _copied(self, request: Request) -> Iterator[tuple[str, Any]]:
        """Yield the mutable values of *request* that reach Scrapy's process only as copies."""
        for where, values in (("cb_kwargs", request.cb_kwargs), ("meta", request.meta)):
            for name, value in values.items():
                if not is_like_its_copy(value) and not self._codec.goes_back_as_itself(value):
                    yield f"{where}[{name!r}]", value

    def _is_of_spider(self, value: Any) -> bool:
        return any(value is own for own in list(vars(self._codec.spider).values()))
