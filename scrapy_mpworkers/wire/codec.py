"""What crosses the wall, and in what form: dumps and loads.

Items are pickled at the door, in ``process_item``, so that what cannot be pickled is the error of
that item and names the field (a queue would pickle later, in a thread, and lose it). Some objects
do not travel: they leave a token in the frame, and the other side puts its own object in its place.

==============  ==========================  =================================================
token           stands for                  in the worker / back in Scrapy's process
==============  ==========================  =================================================
``_shared``     spider, crawler, settings   the worker's own / the crawl's own
``_response``   a Response, going down      one without request and selector
``_handle``     that Response, going up     the very Response that was shipped
``_defined``    what lives in ``__main__``  sent by value once per lane / the very same object
``_in_main``    the same, never sent        — / looked up in ``__main__`` by name
==============  ==========================  =================================================
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from parsel import Selector, SelectorList
from scrapy.http import Response

from scrapy_mpworkers.errors import UnreadableError
from scrapy_mpworkers.wire.changes import followed
from scrapy_mpworkers.wire.fields import has_own_setitem, rebuild_dict
from scrapy_mpworkers.wire.large import Large
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.wire.pickling import (
    CallPickler,
    Pickler,
    Resolvers,
    has_tokens,
    loads,
    uncallable,
    unpicklable,
)

#: A pickler that has made more bytes is not kept. The table of its memo has grown to hold every
#: object, never shrinks, and is cleared as a whole for each item: 3 µs after a Setup's payload.
KEPT = 4096


class Frame(NamedTuple):
    """A pickled object, the numbers of the definitions that it refers to, and what stayed here."""

    data: bytes | Large
    needs: tuple[int, ...] = ()
    handles: tuple[Response, ...] = ()


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

    def __init__(self) -> None:
        self.blobs: dict[int, bytes] = {}
        self.objects: list[Any] = []
        self._numbers: dict[int, int] = {}  # by id; the objects are kept above

    def number(self, obj: Any) -> int:
        """The number of *obj*, which is pickled by value when it is met for the first time."""
        number = self._numbers.get(id(obj))
        if number is None:
            blob = cloudpickle.dumps(obj, protocol=5)
            number = self._numbers[id(obj)] = len(self.objects)
            self.objects.append(obj)
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
            data = pickler.dump_frame(obj)
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise unpicklable(obj, error, self._pickler) from error
        if len(data) <= KEPT:
            self._idle.append(pickler)
        return pickler.frame(data)

    def dump_call(self, call: tuple[Any, ...]) -> Frame:
        """Pickle a call: (function, positional arguments, keyword arguments).

        Raises:
            UnpicklableError: it cannot be pickled; the message names the part.
        """
        pickler = self._call_pickler()
        try:
            data = pickler.dump_frame(call)
        except BaseException as error:  # as in dump()
            raise uncallable(call, error, self._call_pickler) from error
        return pickler.frame(data)

    def load(self, data: bytes, handles: Sequence[Response] = ()) -> Any:
        """Unpickle what a worker sent; *handles* are those of the frame that it answers."""
        if not has_tokens(data):
            return pickle.loads(data)
        resolvers: Resolvers = {
            "_shared": self._shared.__getitem__,
            "_handle": handles.__getitem__,
            "_defined": self.definitions.objects.__getitem__,
            "_in_main": _find_in_main,
        }
        return loads(data, __name__, resolvers)

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
            "_shared": self._shared.__getitem__,
            "_response": response,
            "_handle": responses.__getitem__,
            "_defined": lambda number: self._reopen(stored.definitions[number]),
        }
        try:
            item = loads(stored.data, __name__, resolvers)
            return followed(item, stored.results, lambda data: loads(data, __name__, resolvers))
        # The classes of the item run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            raise UnreadableError(
                f"its frame cannot be loaded: {type(error).__name__}: {error}"
            ) from error

    def _reopen(self, blob: bytes) -> Any:
        if blob not in self._reopened:
            by_value = pickle.loads(blob)
            try:
                # The script runs again: its class of today, which its pipelines know.
                self._reopened[blob] = _find_in_main(by_value.__qualname__)
            except AttributeError:
                self._reopened[blob] = by_value
        return self._reopened[blob]


class Handles:
    """The responses that came with an item, and their numbers in its frame, by id."""

    __slots__ = ("numbers", "responses")

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.responses: dict[int, Response] = {}  # an id is unique only while its object lives


class WorkerCodec:
    """A worker's side of the wall."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._defined: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self.handles = Handles()
        self._idle: list[Pickler] = []

    def share(self, **objects: Any) -> None:
        """Name the worker's own objects that stand for the parent's."""
        self._shared.update(objects)
        self._names = {id(obj): name for name, obj in self._shared.items()}

    def define(self, definitions: Iterable[Definition]) -> None:
        """Learn what the coming frames refer to."""
        for definition in definitions:
            self.learn(definition.number, pickle.loads(definition.blob))

    def learn(self, number: int, obj: Any) -> None:
        """What frames mean by *number*."""
        self._defined[number] = obj
        self._numbers[id(obj)] = number

    def load(self, data: bytes | memoryview) -> Any:
        """Unpickle a frame. Its responses go back as handles, by :attr:`handles`."""
        self.handles = Handles()
        return self.load_more(data)

    def load_more(self, data: bytes | memoryview) -> Any:
        """Unpickle what a worker has made of the item in the last frame."""
        if not has_tokens(data):
            return pickle.loads(data)
        resolvers: Resolvers = {
            "_shared": self._shared.__getitem__,
            "_response": self._response,
            "_handle": self.handles.responses.__getitem__,
            "_defined": self._defined.__getitem__,
        }
        return loads(data, __name__, resolvers)

    def dump(self, obj: Any, shown: Any = None) -> bytes:
        """Pickle what goes back.

        Args:
            obj: what to pickle.
            shown: what the error tells of, if *obj* is only the wire form of it.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        try:
            # Taken out while it works: other threads, and classes of the user, may dump as well.
            pickler = self._idle.pop()
        except IndexError:
            pickler = self._pickler()
        try:
            data = pickler.dumps(obj)
        except BaseException as error:
            raise unpicklable(obj if shown is None else shown, error, self._pickler) from error
        if len(data) <= KEPT:
            self._idle.append(pickler)
        return data

    def _pickler(self) -> Pickler:
        return _WorkerPickler(self.reduced)

    def _response(self, number: int, cls: type[Response], kwargs: dict[str, Any]) -> Response:
        response = cls(**kwargs)
        self.handles.numbers[id(response)] = number
        self.handles.responses[number] = response
        return response

    def reduced(self, part: Any) -> Any:
        """How *part* goes back."""
        if isinstance(part, Response) and id(part) in self.handles.numbers:
            return _handle, (self.handles.numbers[id(part)],)
        if isinstance(part, (type, FunctionType)):
            if id(part) in self._numbers:
                return _defined, (self._numbers[id(part)],)
            if part.__module__ == "__main__" and "<" not in part.__qualname__:
                return _in_main, (part.__qualname__,)
        return _reduce_common(part, self._names)


class _WorkerPickler(Pickler):
    def __init__(self, reduced: Callable[[Any], Any]) -> None:
        super().__init__(_TOKENS, _HOME_TOKENS)
        self._ask = reduced

    def _reduced(self, part: Any) -> Any:
        return self._ask(part)


class _ParentPickler(Pickler):
    """Notes what the frame refers to."""

    def __init__(self, definitions: Definitions, names: Mapping[int, str]) -> None:
        super().__init__(_TOKENS)
        self._definitions = definitions
        self._names = names
        self._needs: dict[int, None] = {}
        self._handles: list[Response] = []

    def frame(self, data: bytes | Large) -> Frame:
        """The frame of the last object, whose pickle is *data*."""
        if not self._needs and not self._handles:
            return Frame(data)
        frame = Frame(data, tuple(self._needs), tuple(self._handles))
        self._needs, self._handles = {}, []
        return frame

    def _reduced(self, part: Any) -> Any:
        if isinstance(part, Response):
            self._handles.append(part)
            return _response, (len(self._handles) - 1, type(part), _plain_response(part))
        if isinstance(part, (type, FunctionType)) and crosses_by_value(part):
            number = self._definitions.number(part)
            self._needs[number] = None
            return _defined, (number,)
        return _reduce_common(part, self._names)


class _ParentCallPickler(_ParentPickler, CallPickler):
    """The same for a call."""


def crosses_by_value(obj: type | FunctionType) -> bool:
    """Whether a worker could not import *obj*.

    A function that is not at the top of ``__main__``, a lambda above all, is left to fail: plain
    data is what belongs in items, and the error names the field.
    """
    if isinstance(obj, FunctionType):
        return obj.__module__ == "__main__" and "<" not in obj.__qualname__
    return obj.__module__ == "__main__" or "<locals>" in obj.__qualname__


def _reduce_common(part: Any, names: Mapping[int, str]) -> Any:
    name = names.get(id(part))
    if name is not None:
        return _shared, (name,)
    if isinstance(part, str) and type(part).__module__.startswith("bs4."):
        # A NavigableString drags its whole soup along, and that recurses too deep to come back.
        return str, (str.__str__(part),)
    if isinstance(part, dict) and has_own_setitem(type(part)):
        return rebuild_dict, (type(part), dict(part), getattr(part, "__dict__", {}))
    if isinstance(part, (Selector, SelectorList)):
        raise TypeError(
            f"a {type(part).__name__} holds a parsed document; store its text instead: "
            ".get() or .getall()"
        )
    return NotImplemented


def _plain_response(response: Response) -> dict[str, Any]:
    # The request drags callbacks and meta along; a certificate is an OpenSSL object.
    stays = ("request", "certificate")
    return {name: getattr(response, name) for name in response.attributes if name not in stays}


def _find_in_main(qualname: str) -> Any:
    found: Any = sys.modules["__main__"]
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _shared(name: str) -> Any:
    raise NotImplementedError  # these five are names in frames; an unpickler has its own


def _response(number: int, cls: type[Response], kwargs: dict[str, Any]) -> Any:
    raise NotImplementedError


def _handle(number: int) -> Any:
    raise NotImplementedError


def _defined(number: int) -> Any:
    raise NotImplementedError


def _in_main(qualname: str) -> Any:
    raise NotImplementedError


_TOKENS = frozenset({_shared, _response, _handle, _defined, _in_main})
_HOME_TOKENS = frozenset({_defined, _in_main})
