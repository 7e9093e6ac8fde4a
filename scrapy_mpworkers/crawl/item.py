"""A shipped item knows how it was pickled, and what the hops have made of it so far."""

from __future__ import annotations

from functools import partial
from typing import Any

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.wire.changes import (
    UNCHANGED,
    Snapshot,
    copy_of_fields,
    replay_changes,
    unpack,
)
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.exceptions import unpack_exception
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.messages import Attributes, Outcome
from scrapy_mpworkers.wire.pickling import is_for_home
from scrapy_mpworkers.wire.texts import ascii_safe, named

#: Fields that name an item, best first; and characters of a name.
_NAMING, _LABEL = ("url", "id"), 120


class ShippedItem(Snapshot):
    """An item as it was pickled, with what has become of it so far.

    Between two hops that follow one another, frame and results travel on as they are: nobody opens
    them here before the item is back.

    Args:
        attributes: of the spider that have changed by now.

    Raises:
        UnpicklableError: it cannot be pickled; the message names the field.
    """

    results: tuple[bytes, ...] = ()  #: of the hops so far that changed it

    def __init__(
        self,
        item: Any,
        codec: ParentCodec,
        attributes: Attributes | None,
        is_call: bool = False,
    ) -> None:
        # This is what Snapshot.__init__ does, one call shorter.
        self.item, self.fields = item, copy_of_fields(item)
        self._codec = codec
        self.attributes = attributes
        self.frame = frame = codec.dump_call(item) if is_call else codec.dump(item)
        self.size = len(frame[0])  #: bytes that cross

    @property
    def content(self) -> Any:
        """The fields that were shipped, or the item itself if it is of a type without any."""
        return self.item if self.fields is None else self.fields

    @property
    def label(self) -> str:
        """Name the item for those who read of it: by its url, its id or its first field; of a
        call, the function's name."""
        if self.fields is None:
            called = self.item[0] if isinstance(self.item, tuple) and self.item else self.item
            return ascii_safe(getattr(called, "__qualname__", type(called).__qualname__))
        named = [name for name in _NAMING if self.fields.get(name)] or list(self.fields)[:1]
        return _shown(self.fields[named[0]]) if named else ""

    def passed(self, result: bytes) -> None:
        """Note that a hop has changed the item."""
        self.results = (*self.results, result)
        self.size += len(result)

    def stored(self) -> StoredFrame:
        """Return the item as it is by now, in a form that outlives this process."""
        return self._codec.stored(self.frame, self.results)

    @property
    def must_be_opened(self) -> bool:
        """Return whether no other worker could load what the last hop has made of it."""
        return bool(self.results) and is_for_home(self.results[-1])

    def returned(self) -> Any:
        """Return the item as the hops so far returned it.

        Raises:
            UnreadableError: it cannot be loaded here.
        """
        if not self.results:
            return self.item if self.is_untouched() else self.outcome(UNCHANGED)
        try:
            load = partial(self._codec.load, handles=self.frame.handles)
            first, *later = self.results
            item = self.outcome(unpack(first, load))
            return replay_changes(item, later, load) if later else item
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise unreadable(error) from error

    def error(self, outcome: Outcome, is_elsewhere: bool = False) -> Exception:
        """Return what a hop raised. Handlers then see what this hop and those before have changed
        in the item, unless the crawl has gone on with the item (*is_elsewhere*).

        Raises:
            UnreadableError: it cannot be loaded here.
        """
        try:
            snapshot = Snapshot(self.returned()) if self.results and not is_elsewhere else self
            failure, change = self._codec.load(outcome.result, self.frame.handles)
            if change is not None and not is_elsewhere:
                snapshot.apply(change)
            return unpack_exception(failure, self._codec.load)
        except UnreadableError:
            raise
        except BaseException as error:  # as in returned()
            raise unreadable(error) from error


def _shown(value: Any) -> str:
    if type(value) in (list, tuple) and value:
        value = value[0]  # as item loaders leave it
    # Exact builtin types only: others would run code of the user.
    if type(value) not in (str, int, float):
        return type(value).__qualname__
    return ascii_safe(str(value)[:_LABEL])[:_LABEL]


def unreadable(
    error: BaseException, what: str = "what the pipelines made of the item"
) -> UnreadableError:
    """Return the error of an item whose classes raised *error* when it was loaded or changed."""
    return UnreadableError(
        f"{what} cannot be loaded in Scrapy's process: {named(error)}. Look at "
        "__setstate__, __reduce__ and __init__ of the classes in it, or put plain data there."
    )
