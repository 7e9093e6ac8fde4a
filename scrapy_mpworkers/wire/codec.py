"""Dumps and loads. The only module that imports pickle.

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

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from parsel import Selector, SelectorList
from scrapy.http import Response

from scrapy_mpworkers.errors import UnpicklableError, UnreadableError
from scrapy_mpworkers.wire.fields import fields_of, has_own_setitem, rebuild_dict
from scrapy_mpworkers.wire.messages import Definition

Reducer = Callable[[Any], Any]
Resolvers = Mapping[str, Callable[..., Any]]


class Frame(NamedTuple):
    """A pickled object, the numbers of the definitions that it refers to, and what stayed here."""

    data: bytes
    needs: tuple[int, ...]
    handles: tuple[Response, ...]


class StoredFrame(NamedTuple):
    """A frame that outlives its process: with the definitions that it refers to, by number."""

    data: bytes
    definitions: Mapping[int, bytes]


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

    def dump(self, obj: Any) -> Frame:
        """Pickle an item or a setup.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        needs: dict[int, None] = {}
        handles: list[Response] = []

        def reduce(part: Any) -> Any:
            if isinstance(part, Response):
                handles.append(part)
                return _response, (len(handles) - 1, type(part), _plain_response(part))
            if isinstance(part, (type, FunctionType)) and crosses_by_value(part):
                number = self.definitions.number(part)
                needs[number] = None
                return _defined, (number,)
            return _reduce_common(part, self._names)

        return Frame(_dumps(obj, reduce), tuple(needs), tuple(handles))

    def load(self, data: bytes, handles: Sequence[Response] = ()) -> Any:
        """Unpickle what a worker sent; *handles* are those of the frame that it answers."""
        resolvers: Resolvers = {
            "_shared": self._shared.__getitem__,
            "_handle": handles.__getitem__,
            "_defined": self.definitions.objects.__getitem__,
            "_in_main": _find_in_main,
        }
        return _Unpickler(io.BytesIO(data), resolvers).load()

    def stored(self, frame: Frame) -> StoredFrame:
        """*frame*, such that another process can open it."""
        blobs = self.definitions.blobs
        return StoredFrame(frame.data, {number: blobs[number] for number in frame.needs})

    def open(self, stored: StoredFrame) -> Any:
        """Unpickle what a :class:`ParentCodec` of another process had dumped.

        A Response comes without its request. Spider, crawler and settings are this crawl's own.

        Raises:
            UnreadableError: it cannot be; a class that it needs has gone, for one.
        """
        resolvers: Resolvers = {
            "_shared": self._shared.__getitem__,
            "_response": lambda number, cls, kwargs: cls(**kwargs),
            "_defined": lambda number: self._reopen(stored.definitions[number]),
        }
        try:
            return _Unpickler(io.BytesIO(stored.data), resolvers).load()
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


class WorkerCodec:
    """A worker's side of the wall."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._defined: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._handles: dict[int, int] = {}
        self._kept: list[Response] = []

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

    def load(self, data: bytes) -> Any:
        """Unpickle a frame. Its responses come back as handles in the next :meth:`dump`."""
        self._handles.clear()
        self._kept.clear()
        resolvers: Resolvers = {
            "_shared": self._shared.__getitem__,
            "_response": self._response,
            "_defined": self._defined.__getitem__,
        }
        return _Unpickler(io.BytesIO(data), resolvers).load()

    def dump(self, obj: Any) -> bytes:
        """Pickle what goes back.

        Raises:
            UnpicklableError: it cannot be pickled; the message names the field.
        """
        return _dumps(obj, self._reduce)

    def _response(self, number: int, cls: type[Response], kwargs: dict[str, Any]) -> Response:
        response = cls(**kwargs)
        self._handles[id(response)] = number
        self._kept.append(response)  # an id is unique only while its object lives
        return response

    def _reduce(self, part: Any) -> Any:
        if isinstance(part, Response) and id(part) in self._handles:
            return _handle, (self._handles[id(part)],)
        if isinstance(part, (type, FunctionType)):
            if id(part) in self._numbers:
                return _defined, (self._numbers[id(part)],)
            if part.__module__ == "__main__" and "<" not in part.__qualname__:
                return _in_main, (part.__qualname__,)
        return _reduce_common(part, self._names)


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


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, reduce: Reducer) -> None:
        super().__init__(buffer, protocol=5)
        self.reducer_override = reduce  # type: ignore[method-assign]


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, resolvers: Resolvers) -> None:
        super().__init__(buffer)
        self._resolvers = resolvers

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__:
            return self._resolvers[name]
        return super().find_class(module, name)


def _dumps(obj: Any, reduce: Reducer) -> bytes:
    try:
        return _pickled(obj, reduce)
    # Classes of the user run their own code here. SystemExit would end the crawl.
    except BaseException as error:
        path, part, cause = _culprit(obj, reduce, error)
        where = f"its field {path} holds" if path else "it is"
        raise UnpicklableError(
            f"{_kind(obj)} cannot be sent to another process: {where} "
            f"{_kind(part)} ({_first_line(cause)}). Put plain data there, or keep the pipeline "
            "that needs it in ITEM_PIPELINES."
        ) from error


def _pickled(obj: Any, reduce: Reducer) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, reduce).dump(obj)
    return buffer.getvalue()


def _culprit(obj: Any, reduce: Reducer, error: BaseException) -> tuple[str, Any, BaseException]:
    """Follow the failure down to the innermost part: its path, the part, its own error."""
    path = ""
    for _ in range(8):
        for name, part in _parts(obj):
            try:
                _pickled(part, reduce)
            except BaseException as inner:
                path, obj, error = f"{path}[{name!r}]" if path else repr(name), part, inner
                break
        else:
            break
    return path, obj, error


def _parts(obj: Any) -> Iterable[tuple[Any, Any]]:
    # What goes back travels in tuples of ours (Product, Change): their names are nobody's fields.
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return [pair for part in obj for pair in _parts(part)]
    if isinstance(obj, (list, tuple)):
        return list(enumerate(obj))
    fields = obj if isinstance(obj, dict) else fields_of(obj)
    return [] if fields is None else list(fields.items())


def _kind(obj: Any) -> str:
    if isinstance(obj, FunctionType):
        return f"the function {obj.__qualname__}"
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return "the item"
    return f"a {type(obj).__module__}.{type(obj).__qualname__}".replace(" builtins.", " ")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


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
