"""A shipped callback knows how it was pickled, and opens what it yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scrapy import Spider
from scrapy.http import Request, Response
from twisted.python.failure import Failure

from scrapy_mpworkers.callbacks import shown
from scrapy_mpworkers.crawl.given_results import CallbackResults
from scrapy_mpworkers.crawl.item import unreadable
from scrapy_mpworkers.crawl.shared_values import Place
from scrapy_mpworkers.wire.callback_pickler import dump_callback, dump_request
from scrapy_mpworkers.wire.callbacks import CallbackTask, How, Part, SentException, as_part
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.exceptions import Failure as PackedFailure
from scrapy_mpworkers.wire.exceptions import unpack_exception
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.texts import ascii_safe, formatted


class ShippedCallback:
    """A callback as it was pickled.

    Args:
        request: the request whose response or failure *result* is.
        shared: where the request has something that others have, too.

    Attributes:
        size: bytes that cross.
        given: keeps track of its results, if there is a journal.

    Raises:
        UnpicklableError: the response cannot be pickled.
    """

    given: CallbackResults | None = None

    def __init__(
        self,
        name: str,
        result: Response | Failure,
        request: Request,
        shared: tuple[Place, ...],
        spider: Spider,
        codec: ParentCodec,
    ) -> None:
        self.name = name
        self._spider, self._codec = spider, codec
        self._error: BaseException | None = None
        response: Any = result
        failure = None
        if isinstance(result, Failure):
            self._error = result.value
            response, failure = getattr(result.value, "response", None), _sent(result)
        self.request = request
        came = response if isinstance(response, Response) else None
        task = CallbackTask(name, request, came, failure, shared)
        self.frame = dump_callback(codec, spider, task)
        self.size = len(self.frame.data)

    @property
    def label(self) -> str:
        """Return the callback's name and url, by which logs and the page show it."""
        return ascii_safe(
            f"{shown(self._spider, self.name, self.request)} {self.request.url}"[:120]
        )

    @property
    def content(self) -> dict[str, Any]:
        """Return what a reader of its dead letter wants to know."""
        request = self.request
        name = shown(self._spider, self.name, self.request)
        return {"callback": name, "url": request.url, "method": request.method}

    def stored(self) -> StoredFrame:
        """Return its request in a form that outlives this process."""
        return self._codec.stored(dump_request(self._codec, self._spider, self.request))

    def part(self, data: bytes) -> Part:
        """Return a part of its results, which are not opened yet.

        Raises:
            UnreadableError: what it has put into ``meta`` cannot be loaded here.
        """
        return as_part(self._load(data)) if data else Part((), how=How.DONE)

    def results(self, part: Part) -> Iterator[Any]:
        """Open the results in a part, one by one, without those that an earlier run has given.

        Raises:
            UnreadableError: one cannot be loaded here.
        """
        for frame in part.results:
            result = self._load(frame)
            if self.given is None or self.given.is_due(result, frame):
                yield result

    def ended(self, error: BaseException | None) -> None:
        """Note that its last result was given, or that it was given up with *error*."""
        if self.given is not None:
            self.given.ended(error)

    def leave_journal(self) -> None:
        """Note that it runs in Scrapy's process instead."""
        if self.given is not None:
            self.given.leave()

    def raised(self, part: Part) -> BaseException:
        """Return what it has raised."""
        if part.why is None and self._error is not None:
            return self._error  # Scrapy asks whether it is the very one
        return unpack_exception(PackedFailure(*part.why), self._codec.load)

    def change_meta(self, change: tuple[dict[str, Any], list[str]] | None) -> None:
        """Let the crawl see what the callback has changed in the request's ``meta``."""
        if change is not None:
            changed, gone = change
            self.request.meta.update(changed)
            for name in gone:
                self.request.meta.pop(name, None)

    def _load(self, data: bytes) -> Any:
        try:
            return self._codec.load(data, self.frame.handles)
        except BaseException as error:  # classes of the user run their own code here
            raise unreadable(error, f"what {self.label} yields") from error


def _sent(failure: Any) -> SentException:
    error = failure.value
    trace = failure.getTraceback() if failure.getTracebackObject() else formatted(error)
    own = vars(error).items()
    attributes = {name: one for name, one in own if name != "response" or one is None}
    frames = [(name, file, line) for name, file, line, *_ in failure.frames]
    return SentException(type(error), error.args, attributes, trace, frames)
