"""What crosses the wall, and in what form: dumps and loads.

Items are pickled at the door, in ``process_item``, so that what cannot be pickled is the error of
that item and names the field (a queue would pickle later, in a thread, and lose it).
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from scrapy.http import Response

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.texts import named
from scrapy_mpworkers.wire import tokens
from scrapy_mpworkers.wire.changes import followed
from scrapy_mpworkers.wire.large import Large
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


class Definitions:
    """The parent's register of what crosses by value: the classes and functions of ``__main__``.

    A worker never runs the user's ``__main__`` again, so it cannot import them.
    """

    _free_numbers = itertools.count()  # of all crawls, which may share their workers

    def __init__(self) -> None:
        self.blobs: dict[int, bytes] = {}
        self.objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}  # by id; the objects are kept above

    def number(self, obj: Any) -> int:
        """The number of *obj*, which is pickled by value when it is met for the first time."""
        number = self._numbers.get(id(obj))
        if number is None:
            blob = cloudpickle.dumps(obj, protocol=5)
            number = self._numbers[id(obj)] = next(self._free_numbers)
            self.objects[number] = obj
            self.blobs[number] = blob
        return number


class ParentCodec:
    """Scrapy's side of the wall.

    Args:
        shared: objects that both sides have, by name, such as ``{"spider": spider}``.
    """

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self.definitions = Definitions()
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
            return followed(
                item, stored.results, lambda data: loads(data, tokens.__name__, resolvers)
            )
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise UnreadableError(f"its frame cannot be loaded: {named(error)}") from error

    def _reopen(self, blob: bytes) -> Any:
        if blob not in self._reopened:
            by_value = pickle.loads(blob)
            try:
                # The script runs again: its class of today, which its pipelines know.
                self._reopened[blob] = tokens.find_in_main(by_value.__qualname__)
            except AttributeError:
                self._reopened[blob] = by_value
        return self._reopened[blob]


class _ParentPickler(Pickler):
    """Notes what the frame refers to."""

    def __init__(self, definitions: Definitions, names: Mapping[int, str]) -> None:
        super().__init__(tokens.ALL)
        self._definitions = definitions
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
        if isinstance(part, (type, FunctionType)) and tokens.crosses_by_value(part):
            number = self._definitions.number(part)
            self._needs[number] = None
            self.has_noted = True
            return tokens.defined, (number,)
        return tokens.reduce_common(part, self._names)


class _ParentCallPickler(_ParentPickler, CallPickler):
    """The same for a call."""
