"""An item at the wall, on Scrapy's side: what is shipped, and what the hops make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.wire.changes import Change, Result, Snapshot, unpack
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.exceptions import Failure, unpack_exception
from scrapy_mpworkers.wire.fields import copy_of_fields
from scrapy_mpworkers.wire.messages import Outcome
from scrapy_mpworkers.wire.pickling import is_for_home
from scrapy_mpworkers.wire.texts import named


class ShippedItem(Snapshot):
    """An item as it was pickled, with what has become of it so far.

    Between two hops that follow one another, frame and results travel on as they are: nobody opens
    them here before the item is back.

    Raises:
        UnpicklableError: it cannot be pickled; the message names the field.
    """

    results: tuple[bytes, ...] = ()  #: of the hops so far that changed it

    def __init__(
        self, item: Any, codec: ParentCodec, dump: Callable[[Any], Frame] | None = None
    ) -> None:
        # As a Snapshot, without the call.
        self.item, self.fields = item, copy_of_fields(item)
        self._codec = codec
        self.frame = frame = (dump or codec.dump)(item)
        self.size = len(frame[0])  #: bytes that cross

    @property
    def content(self) -> Any:
        """The fields that were shipped, or the item itself if it is of a type without any."""
        return self.item if self.fields is None else self.fields

    def passed(self, result: bytes) -> None:
        """A hop has changed it."""
        self.results = (*self.results, result)
        self.size += len(result)

    @property
    def must_be_opened(self) -> bool:
        """Whether no other worker could load what the last hop has made of it."""
        return bool(self.results) and is_for_home(self.results[-1])

    def returned(self) -> Any:
        """The item as the hops so far returned it.

        Raises:
            UnreadableError: it cannot be loaded here.
        """
        if not self.results:
            return self.unchanged()
        first, *others = self.results
        item = self.outcome(self._opened(first))
        for result in others:
            item = Snapshot(item).outcome(self._opened(result))
        return item

    def error(self, outcome: Outcome) -> Exception:
        """What a hop raised. Handlers see what it and the hops before had done to the item.

        Raises:
            UnreadableError: it cannot be loaded here.
        """
        snapshot = Snapshot(self.returned()) if self.results else self
        failure, change = self._ended(outcome)
        if change is not None:
            snapshot.apply(change)
        return unpack_exception(failure, self._codec.load)

    def error_alone(self, outcome: Outcome) -> Exception:
        """The same without a touch of the item, which is elsewhere by now."""
        return unpack_exception(self._ended(outcome)[0], self._codec.load)

    def _ended(self, outcome: Outcome) -> tuple[Failure, Change | None]:
        try:
            return self._load(outcome.result)  # type: ignore[no-any-return]
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise unreadable(error) from error

    def _opened(self, result: bytes) -> Result:
        try:
            return unpack(result, self._load)
        except BaseException as error:  # as in _ended()
            raise unreadable(error) from error

    def _load(self, data: bytes) -> Any:
        return self._codec.load(data, self.frame.handles)


def unreadable(error: BaseException) -> UnreadableError:
    """The error of an item whose classes raised *error* where they were loaded or looked at."""
    return UnreadableError(
        "what the pipelines made of the item cannot be loaded in Scrapy's process: "
        f"{named(error)}. Look at __setstate__, __reduce__ and __init__ "
        "of the classes in it, or put plain data there."
    )
