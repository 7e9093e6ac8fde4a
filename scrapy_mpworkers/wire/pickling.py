"""Picklers that decide what travels and how, and the base class of the codecs of both sides."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, ClassVar, Generic, TypeVar

from parsel import Selector, SelectorList
from scrapy import Request

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire import tokens
from scrapy_mpworkers.wire.changes import Change, Result, fields_of
from scrapy_mpworkers.wire.frames import Pieces
from scrapy_mpworkers.wire.messages import LARGE, Large
from scrapy_mpworkers.wire.texts import repr_of, text_of

Resolvers = Mapping[str, Callable[..., Any]]

#: Each marks a pickle that has tokens in it; the second one says that only Scrapy's process knows
#: what some of them mean. The mark stands behind the pickle, which ends with its own STOP: what
#: follows is ignored (documentation of ``pickle.loads``).
_MARK, _HOME_MARK = b"#", b"!"
_MARKS = _MARK + _HOME_MARK
#: Bytes that a pickler may take and still be kept. The table of its memo grows with the objects in
#: an item, never shrinks, and is cleared as a whole for each item; when larger, that takes as long
#: as to make a new pickler, 2 µs.
_KEPT = 1 << 14


_T = TypeVar("_T")  # what an object becomes: on Scrapy's side a Frame, in a worker bytes


class Codec(Generic[_T]):
    """Pickles on one side of the process boundary. Picklers wait in it to be used again.

    Args:
        shared: objects that both sides have, by name, such as ``{"spider": spider}``.
    """

    _pickler: Callable[[], Pickler[_T]]  #: makes a pickler

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._shared: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._idle: list[Pickler[_T]] = []
        self.share(**shared)

    def share(self, **objects: Any) -> None:
        """Let each name stand for its object in all that crosses from now on."""
        self._shared.update(objects)
        self._names.clear()  # the object that a name stood for before is no longer shared
        self._names.update({id(obj): name for name, obj in self._shared.items()})

    def dump(self, obj: Any, shown: Any = None) -> _T:
        """Pickle an item, or another object that crosses.

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
            pickled = pickler.pickled(obj)
        # Classes of the user run their own code here. SystemExit would end the crawl.
        except BaseException as error:
            if self._has_aged():
                return self.dump(obj, shown)
            raise unpicklable(obj if shown is None else shown, error, self._pickler) from error
        if pickler.__sizeof__() <= _KEPT:
            self._idle.append(pickler)
        return pickled

    def _has_aged(self) -> bool:
        """Return whether another attempt may succeed."""
        return False


class Pickler(pickle.Pickler, Generic[_T]):
    """Pickles one object after the other: to make a pickler takes longer than a small item.

    Args:
        names: of the objects that both sides have, by id.
    """

    #: tokens that only Scrapy's process knows
    home: ClassVar[frozenset[Any]] = frozenset()

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._mark: bytes | None = None
        self._parts = Pieces()
        super().__init__(self._parts, protocol=5)

    def reducer_override(self, part: Any) -> Any:
        """Reduce *part*, for which pickle asks unless it is of the plainest types."""
        reduced = self._reduced(part)
        if reduced is not NotImplemented and reduced[0] in tokens.ALL:
            self._mark = _HOME_MARK if reduced[0] in self.home else self._mark or _MARK
        return reduced

    def _reduced(self, part: Any) -> Any:
        """Return how *part* travels, in both directions alike; ``NotImplemented``: as it is."""
        name = self._names.get(id(part))
        if name is not None:
            return tokens.shared, (name,)
        if isinstance(part, str) and type(part).__module__.startswith("bs4."):
            # A NavigableString drags its whole soup along, and that recurses too deep to come back.
            return str, (str.__str__(part),)
        if issubclass(type(part), dict) and _has_own_setitem(type(part)):
            return rebuild_dict, (type(part), dict(part), getattr(part, "__dict__", {}))
        if isinstance(part, (Selector, SelectorList)):
            raise TypeError(
                f"a {type(part).__name__} holds a parsed document; store its text instead: "
                ".get() or .getall()"
            )
        if isinstance(part, BaseException) and type(part).__module__ == "builtins":
            # As Python does it, whatever has been registered for exceptions: tblib, which Dask
            # installs, makes them without their arguments, which a UnicodeError must have.
            return part.__reduce_ex__(5)
        return NotImplemented

    def pickled(self, obj: Any) -> _T:
        """Pickle *obj*. After an error this pickler must not be used again."""
        raise NotImplementedError

    def _gathered(self) -> bytes | Large:
        """Return what was pickled in several parts, or has left tokens."""
        if self._mark is not None:
            self._parts.append(self._mark)
            self._mark = None
        # bytes() copies pieces that may still change: a bytearray, or the buffer of an array.
        pieces = tuple(map(bytes, self._parts))
        self._parts.clear()
        return Large(pieces) if sum(map(len, pieces)) >= LARGE else b"".join(pieces)


def _has_own_setitem(cls: Any) -> bool:
    """Return whether *cls*, a dict, hooks its writes and leaves pickling as it is."""
    return (
        cls.__setitem__ is not dict.__setitem__
        and cls.__module__ != "collections"
        and cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
    )


def rebuild_dict(cls: Any, values: dict[Any, Any], attributes: dict[str, Any]) -> Any:
    """Make a dict of *cls* beneath its ``__setitem__``, which pickle alone would call again."""
    item = cls.__new__(cls)
    dict.update(item, values)
    getattr(item, "__dict__", {}).update(attributes)
    return item


#: What to do about an item, or something of a callback, that cannot be pickled.
_OF_ITEM = "keep the pipeline that needs it in ITEM_PIPELINES"
OF_CALLBACK = "take the callback out of MPWORKERS_CALLBACKS"


def unpicklable(
    obj: Any, error: BaseException, fresh: Callable[[], Pickler[Any]], way_out: str = _OF_ITEM
) -> UnpicklableError:
    """Return the error that names the field.

    Args:
        fresh: makes picklers, to find the part that is to blame.
        way_out: what to do, where plain data would not do.
    """
    if type(obj) is Result:
        obj = obj.body
    path, part, cause = _culprit(obj, fresh, error)
    what, why = f"{_kind(obj)} cannot be sent to another process", _first_line(cause)
    if path:
        return UnpicklableError(
            f"{what}: its field {path} holds {_kind(part)} ({why}). Put plain data there, or "
            f"{way_out}."
        )
    return UnpicklableError(f"{what} ({why}). Use plain data instead, or {way_out}.")


def uncallable(
    call: tuple[Any, ...], error: BaseException, fresh: Callable[[], Pickler[Any]]
) -> UnpicklableError:
    """Return the error that names the part of a call that is to blame, like :func:`unpicklable`."""
    function, args, kwargs = call
    parts = {"the function itself": function}
    parts |= {f"its argument {n}": value for n, value in enumerate(args, start=1)}
    parts |= {f"its argument {name}": value for name, value in kwargs.items()}
    where, _, cause = _first_bad(parts.items(), fresh) or ("a part of it", None, error)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return UnpicklableError(
        f"the call of {name} cannot be sent to another process: {where} cannot be pickled "
        f"({_first_line(cause)}). Give it plain data."
    )


def has_tokens(data: bytes | memoryview) -> bool:
    """Return whether *data*, made by a :class:`Pickler`, must be opened by :func:`loads`."""
    return data[-1] in _MARKS


def is_for_home(data: bytes) -> bool:
    """Return whether Scrapy's process must open *data*: another worker may not know its tokens."""
    return data.endswith(_HOME_MARK)


def for_home(data: bytes) -> bytes:
    """Mark *data* for Scrapy's process, whoever else could open it."""
    return data + _HOME_MARK


def loads(data: bytes | memoryview, resolvers: Resolvers, module: str = tokens.__name__) -> Any:
    """Unpickle; the names of *module* mean the *resolvers*."""
    return _Unpickler(io.BytesIO(data), module, resolvers).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, module: str, resolvers: Resolvers) -> None:
        super().__init__(buffer)
        self._module = module
        self._resolvers = resolvers

    def find_class(self, module: str, name: str) -> Any:
        if module == self._module:
            return self._resolvers[name]
        return super().find_class(module, name)


def _culprit(
    obj: Any, fresh: Callable[[], Pickler[Any]], error: BaseException
) -> tuple[str, Any, BaseException]:
    """Follow the failure down to the innermost part: its path, the part, its own error."""
    path = ""
    for _ in range(8):
        try:
            bad = _first_bad(_parts(obj), fresh)
        except Exception:  # code of the user's classes, which may not let anybody look
            break
        if bad is None:
            break
        name, obj, error = bad
        path = f"{path}[{repr_of(name)}]" if path else repr_of(name)
    return path, obj, error


def _first_bad(
    parts: Iterable[tuple[Any, Any]], fresh: Callable[[], Pickler[Any]]
) -> tuple[Any, Any, BaseException] | None:
    """Return the first of *parts* that cannot be pickled: its name, the part, the error."""
    for name, part in parts:
        try:
            fresh().pickled(part)
        except BaseException as error:
            return name, part, error
    return None


def _parts(obj: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(obj, Change):
        return list(obj.values.items())
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return list(zip(obj._fields, obj, strict=False))
    if isinstance(obj, (list, tuple)):
        return list(enumerate(obj))
    if isinstance(obj, Request):
        return [(name, getattr(obj, name)) for name in obj.attributes]
    fields = obj if isinstance(obj, dict) else fields_of(obj)
    return [] if fields is None else list(fields.items())


def _kind(obj: Any) -> str:
    if type(obj) is Change:
        return "the item"
    if type(obj) is FunctionType:
        return f"the function {obj.__qualname__}"
    return f"a {type(obj).__module__}.{type(obj).__qualname__}".replace(" builtins.", " ")


def _first_line(error: BaseException) -> str:
    text = text_of(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
