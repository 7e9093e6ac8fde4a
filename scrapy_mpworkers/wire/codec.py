"""Scrapy's side of the process boundary: dumps items, and loads what workers made of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import cloudpickle
from scrapy.http import Response

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.wire import importing, tokens
from scrapy_mpworkers.wire.changes import replay_changes
from scrapy_mpworkers.wire.definitions import Definitions, Luggage
from scrapy_mpworkers.wire.frames import StoredFrame
from scrapy_mpworkers.wire.importing import Definable, Importing
from scrapy_mpworkers.wire.messages import Large
from scrapy_mpworkers.wire.pickling import Codec, Pickler, Resolvers, has_tokens, loads, uncallable
from scrapy_mpworkers.wire.texts import named


class Frame(NamedTuple):
    """A pickled object, the numbers of definitions that it needs, and responses that stay here."""

    data: bytes | Large
    needs: tuple[int, ...] = ()
    handles: tuple[Response, ...] = ()


# This is faster than Frame(data), which is written in Python.
_plain_frame = partial(tuple.__new__, Frame)


class ParentCodec(Codec[Frame]):
    """Scrapy's side of the process boundary.

    Args:
        shared: as for :class:`Codec`.
        folders: where workers look for modules beside ``sys.path``.
    """

    def __init__(self, shared: Mapping[str, Any], folders: Iterable[str] = ()) -> None:
        super().__init__(shared)
        self.importing = Importing(folders)
        self.definitions = Definitions(self.importing)
        self._pickler = partial(ParentPickler, self.definitions, self._names)
        self._call_pickler = partial(_CallPickler, self.definitions, self._names)
        self._reopened: dict[bytes, Any] = {}

    def dump_call(self, call: tuple[Any, ...]) -> Frame:
        """Pickle a call: (function, positional arguments, keyword arguments).

        Raises:
            UnpicklableError: it cannot be pickled; the message names the part.
        """
        try:
            return self._call_pickler().pickled(call)
        except BaseException as error:  # as in dump()
            raise uncallable(call, error, self._call_pickler) from error

    def dump_part(self, obj: Any) -> Frame:
        """Pickle a part of the crawl, in which any class or function may cross by value.

        Raises:
            Exception: it cannot be pickled.
        """
        return _PartPickler(self.definitions, self._names).pickled(obj)

    def dump_member(self, obj: Any) -> Frame:
        """Pickle an attribute of a class that is shared; its functions may refer to the class.

        Raises:
            Exception: it cannot be pickled.
        """
        with Luggage(self.importing) as luggage:
            return _MemberPickler(self.definitions, self._names, luggage).pickled(obj)

    def pickler(self, make: Callable[..., ParentPickler]) -> Callable[[], ParentPickler]:
        """Return what makes picklers of another kind for this crawl."""
        return partial(make, self.definitions, self._names)

    def load(self, data: bytes, handles: Sequence[Response] = ()) -> Any:
        """Unpickle what a worker sent; *handles* are those of the frame that it answers."""
        if not has_tokens(data):
            return pickle.loads(data)
        resolvers: Resolvers = {
            "shared": self._shared.__getitem__,
            "handle": handles.__getitem__,
            "defined": self.definitions.objects.__getitem__,
            "in_main": tokens.find_in_main,
        }
        return loads(data, resolvers)

    def _has_aged(self) -> bool:
        return self.definitions.has_aged()

    def stored(self, frame: Frame, results: tuple[bytes, ...] = ()) -> StoredFrame:
        """Return *frame*, and what has become of it so far, for another process to open."""
        blobs = self.definitions.blobs
        data = bytes(frame.data)
        return StoredFrame(data, {number: blobs[number] for number in frame.needs}, results)

    def open(self, stored: StoredFrame) -> Any:
        """Unpickle what a :class:`ParentCodec` of another process had dumped.

        A Response comes without its request. Spider, crawler and settings are this crawl's own.

        Raises:
            UnreadableError: it cannot be loaded; a class that it needs has gone, for one.
        """
        responses: dict[int, Response] = {}

        def response(number: int, *made_from: Any) -> Response:
            return responses.setdefault(number, tokens.made_response(*made_from))

        resolvers: Resolvers = {
            "shared": self._shared.__getitem__,
            "response": response,
            "handle": responses.__getitem__,
            "defined": lambda number: self._reopen(stored.definitions[number]),
        }
        try:
            item = loads(stored.data, resolvers)
            return replay_changes(item, stored.results, lambda data: loads(data, resolvers))
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise UnreadableError(f"its frame cannot be loaded: {named(error)}") from error

    def _by_today(self, blob: bytes) -> Any:
        def imported(
            module: str, name: str, qualname: str, blob: bytes | None, mark: str | None = None
        ) -> Any:
            # Its module may have been mended since: the class of today has its name, not its code.
            return importing.imported(module, name, qualname, blob, load=self._by_today)

        return loads(blob, {"imported": imported}, importing.__name__)

    def _reopen(self, blob: bytes) -> Any:
        if blob not in self._reopened:
            by_value = self._by_today(blob)
            try:
                # The script runs again, and its pipelines know its class of today.
                self._reopened[blob] = tokens.find_in_main(by_value.__qualname__)
            except AttributeError:
                self._reopened[blob] = by_value
        return self._reopened[blob]


class ParentPickler(Pickler[Frame]):
    """Notes the definitions that the frame needs and the responses in it; each leaves a token."""

    def __init__(self, definitions: Definitions, names: Mapping[int, str]) -> None:
        super().__init__(names)
        self._definitions = definitions
        self._importable = definitions.importable
        self._needs: dict[int, None] = {}
        self._handles: list[Response] = []

    def pickled(self, obj: Any) -> Frame:
        self.dump(obj)
        self.clear_memo()  # it would keep the object alive
        if self._mark is None and len(self._parts) == 1:
            return _plain_frame((self._parts.pop(), (), ()))
        frame = Frame(self._gathered(), tuple(self._needs), tuple(self._handles))
        self._needs.clear()
        self._handles.clear()
        return frame

    def _reduced(self, part: Any) -> Any:
        if isinstance(part, Response):
            self._handles.append(part)
            index = len(self._handles) - 1
            return tokens.response, (index, type(part), tokens.plain_response(part))
        if isinstance(part, (type, FunctionType)) and id(part) not in self._importable:
            number = self._number_of(part)
            if number is not None:
                self._needs.update(self._definitions.needs(number))
                return tokens.defined, (number,)
        return super()._reduced(part)

    def _number_of(self, part: Definable) -> int | None:
        return None if id(part) in self._names else self._definitions.number_of(part)


class _CallPickler(ParentPickler, cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions as well that nobody could import: lambdas, closures."""

    def reducer_override(self, part: Any) -> Any:
        if isinstance(part, MethodType) and getattr(part.__self__, part.__name__, None) == part:
            # cloudpickle would copy the function, and the globals of its module with it.
            return getattr, (part.__self__, part.__name__)
        reduced = super().reducer_override(part)
        if reduced is NotImplemented:
            reduced = cloudpickle.Pickler.reducer_override(self, part)
        return reduced


class _PartPickler(_CallPickler):
    """Pickles a part of the crawl, where each function that cannot be imported has a number."""

    def _reduced(self, part: Any) -> Any:
        if isinstance(part, TextIOWrapper):
            # cloudpickle would read it to its end, however long that takes.
            raise TypeError("an open file cannot be pickled")
        return super()._reduced(part)

    def _number_of(self, part: Definable) -> int | None:
        number = super()._number_of(part)
        is_known = id(part) in self._importable or id(part) in self._names
        return self._definitions.number(part) if number is None and not is_known else number


class _MemberPickler(_PartPickler):
    """Pickles an attribute of a class, with its functions in the same pickle."""

    def __init__(
        self, definitions: Definitions, names: Mapping[int, str], luggage: Luggage
    ) -> None:
        super().__init__(definitions, names)
        self._luggage = luggage

    def _reduced(self, part: Any) -> Any:
        self._luggage.take_along(part)
        return super()._reduced(part)

    def _number_of(self, part: Definable) -> int | None:
        # By value it would drag the class along, which is what cannot be pickled.
        if isinstance(part, FunctionType) and not self._definitions.knows(part):
            return None
        return super()._number_of(part)
