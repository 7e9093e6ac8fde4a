"""What crosses the wall, and in what form: dumps and loads.

Items are pickled at the door, in ``process_item``, so that what cannot be pickled is the error of
that item and names the field (a queue would pickle later, in a thread, and lose it).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from types import FunctionType
from typing import Any, NamedTuple

from scrapy.http import Response

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.wire import importing, tokens
from scrapy_mpworkers.wire.changes import replay_changes
from scrapy_mpworkers.wire.definitions import Definitions, Luggage
from scrapy_mpworkers.wire.frames import Large
from scrapy_mpworkers.wire.importing import Definable, Importing
from scrapy_mpworkers.wire.pickling import (
    KEPT,
    CallPickler,
    Pickler,
    Resolvers,
    has_tokens,
    loads,
    uncallable,
    unpicklable,
)
from scrapy_mpworkers.wire.texts import named


class Frame(NamedTuple):
    """A pickled object, the numbers of the definitions that it refers to, and what stayed here."""

    data: bytes | Large
    needs: tuple[int, ...] = ()
    handles: tuple[Response, ...] = ()


# As Frame(data), which is written in Python.
_plain_frame = partial(tuple.__new__, Frame)


class StoredFrame(NamedTuple):
    """A frame that outlives its process: with the definitions that it refers to, by number.

    ``results``: what earlier hops have made of the item, as they packed it.
    """

    data: bytes
    definitions: Mapping[int, bytes]
    results: tuple[bytes, ...] = ()


class ParentCodec:
    """Scrapy's side of the wall.

    Args:
        shared: objects that both sides have, by name, such as ``{"spider": spider}``.
        folders: where workers look for modules beside ``sys.path``.
    """

    def __init__(self, shared: Mapping[str, Any], folders: Iterable[str] = ()) -> None:
        self._importing = Importing(folders)
        self.definitions = Definitions(self._importing)
        self._shared = dict(shared)
        self._names = {id(obj): name for name, obj in shared.items()}
        self._reopened: dict[bytes, Any] = {}
        self._idle: list[_ParentPickler] = []

    def dump(self, obj: Any) -> Frame:
        """Pickle an item or a setup.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        # Taken out while it works: classes of the user may dump something from within.
        pickler = self._idle.pop() if self._idle else self._pickler()
        try:
            data = pickler.dump_pieces(obj)
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            if self.definitions.has_aged():
                return self.dump(obj)
            raise unpicklable(obj, error, self._pickler) from error
        frame = pickler.frame(data) if pickler.has_noted else _plain_frame((data, (), ()))
        if pickler.__sizeof__() <= KEPT:
            self._idle.append(pickler)
        return frame

    def dump_call(self, call: tuple[Any, ...]) -> Frame:
        """Pickle a call: (function, positional arguments, keyword arguments).

        Raises:
            UnpicklableError: it cannot be pickled; the message names the part.
        """
        pickler = self._call_pickler()
        try:
            return pickler.frame(pickler.dump_pieces(call))
        except BaseException as error:  # as in dump()
            raise uncallable(call, error, self._call_pickler) from error

    def dump_part(self, obj: Any) -> Frame:
        """Pickle a part of the crawl, in which any class or function may cross by value.

        Raises:
            Exception: it cannot be pickled.
        """
        pickler = _PartPickler(self.definitions, self._names)
        return pickler.frame(pickler.dump_pieces(obj))

    def dump_member(self, obj: Any) -> Frame:
        """Pickle an attribute of a class that is shared; its functions may refer to that.

        Raises:
            Exception: it cannot be pickled.
        """
        luggage = Luggage(self._importing)
        pickler = _MemberPickler(self.definitions, self._names, luggage)
        try:
            return pickler.frame(pickler.dump_pieces(obj))
        finally:
            luggage.put_down()

    def is_foreign(self, module: str) -> bool:
        """Whether *module* is known here, and no worker can import it."""
        return self._importing.is_foreign(module)

    def imports(self, obj: Definable) -> bool:
        """Whether a worker finds *obj* under its own name."""
        return self._importing.finds(obj)

    def share(self, obj: Any, name: str) -> None:
        """Let *name* stand for *obj* in all that crosses from now on."""
        self._shared[name] = obj
        self._names[id(obj)] = name

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
        return loads(data, tokens.__name__, resolvers)

    def _pickler(self) -> _ParentPickler:
        return _ParentPickler(self.definitions, self._names)

    def _call_pickler(self) -> _ParentCallPickler:
        return _ParentCallPickler(self.definitions, self._names)

    def stored(self, frame: Frame, results: tuple[bytes, ...] = ()) -> StoredFrame:
        """*frame* with what has become of it so far, such that another process can open it."""
        blobs = self.definitions.blobs
        data = bytes(frame.data)
        return StoredFrame(data, {number: blobs[number] for number in frame.needs}, results)

    def open(self, stored: StoredFrame) -> Any:
        """Unpickle what a :class:`ParentCodec` of another process had dumped.

        A Response comes without its request. Spider, crawler and settings are this crawl's own.

        Raises:
            UnreadableError: it cannot be; a class that it needs has gone, for one.
        """
        responses: dict[int, Response] = {}

        def response(number: int, cls: type[Response], kwargs: dict[str, Any]) -> Response:
            return responses.setdefault(number, cls(**kwargs))

        resolvers: Resolvers = {
            "shared": self._shared.__getitem__,
            "response": response,
            "handle": responses.__getitem__,
            "defined": lambda number: self._reopen(stored.definitions[number]),
        }
        try:
            item = loads(stored.data, tokens.__name__, resolvers)
            return replay_changes(
                item, stored.results, lambda data: loads(data, tokens.__name__, resolvers)
            )
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise UnreadableError(f"its frame cannot be loaded: {named(error)}") from error

    def _by_today(self, blob: bytes) -> Any:
        # Its module may have been mended since: the class of today has its name, not its code.
        resolvers = {"imported": partial(_imported_by_name, self._by_today)}
        return loads(blob, importing.__name__, resolvers)

    def _reopen(self, blob: bytes) -> Any:
        if blob not in self._reopened:
            by_value = self._by_today(blob)
            try:
                # The script runs again: its class of today, which its pipelines know.
                self._reopened[blob] = tokens.find_in_main(by_value.__qualname__)
            except AttributeError:
                self._reopened[blob] = by_value
        return self._reopened[blob]


def _imported_by_name(
    load: Callable[[bytes], Any],
    module: str,
    name: str,
    qualname: str,
    blob: bytes | None,
    mark: str | None = None,
) -> Any:
    return importing.imported(module, name, qualname, blob, load=load)


class _ParentPickler(Pickler):
    """Notes what the frame refers to."""

    def __init__(self, definitions: Definitions, names: Mapping[int, str]) -> None:
        super().__init__(tokens.ALL)
        self._definitions = definitions
        self._importable = definitions.importable
        self._names = names
        self._needs: dict[int, None] = {}
        self._handles: list[Response] = []
        self.has_noted = False  #: whether the frame needs definitions, or something stayed here

    def frame(self, data: bytes | Large) -> Frame:
        """The frame of what was pickled last."""
        frame = Frame(data, tuple(self._needs), tuple(self._handles))
        self._needs, self._handles, self.has_noted = {}, [], False
        return frame

    def _reduced(self, part: Any) -> Any:
        if isinstance(part, Response):
            self._handles.append(part)
            self.has_noted = True
            return tokens.response, (
                len(self._handles) - 1,
                type(part),
                tokens.plain_response(part),
            )
        if isinstance(part, (type, FunctionType)) and id(part) not in self._importable:
            number = self._number_of(part)
            if number is not None:
                self._needs.update(self._definitions.needs(number))
                self.has_noted = True
                return tokens.defined, (number,)
        return tokens.reduce_common(part, self._names)

    def _number_of(self, part: Definable) -> int | None:
        return None if id(part) in self._names else self._definitions.number_of(part)


class _ParentCallPickler(_ParentPickler, CallPickler):
    """The same for a call."""


class _PartPickler(_ParentCallPickler):
    """The same for a part of the crawl: every function that cannot be imported has a number."""

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
    """The same for an attribute of a class, with its functions in the same pickle."""

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
