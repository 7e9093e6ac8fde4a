"""Pickles with a say in what travels and how: what the codecs of both sides are made of."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Container, Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any

import cloudpickle

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.changes import Change, Result
from scrapy_mpworkers.wire.fields import fields_of
from scrapy_mpworkers.wire.frames import LARGE, Large, Sink
from scrapy_mpworkers.wire.texts import repr_of, text_of

Resolvers = Mapping[str, Callable[..., Any]]

#: Stands behind the pickle of an object that has left tokens in it; the second if Scrapy's process
#: is to open it, which alone knows what some of them mean. A pickle ends with its own STOP, and
#: what follows is ignored (documentation of ``pickle.loads``).
_MARK, _HOME_MARK = b"#", b"!"
_MARKS = _MARK + _HOME_MARK
#: Bytes that a pickler may take and still be kept. The table of its memo grows with the objects in
#: an item, never shrinks, and is cleared as a whole for each item; when larger, that takes as long
#: as to make a new pickler, 2 µs.
KEPT = 1 << 14


class Pickler(pickle.Pickler):
    """Pickles one object after the other: to make a pickler takes longer than a small item.

    Args:
        tokens: functions; what is reduced to one of them is a token.
        home: those of them that only Scrapy's process knows.
    """

    def __init__(self, tokens: Container[Any], home: Container[Any] = frozenset()) -> None:
        self._tokens = tokens
        self._home = home
        self._mark: bytes | None = None
        self._parts: list[bytes] = []
        super().__init__(Sink(self._parts.append), protocol=5)

    def reducer_override(self, part: Any) -> Any:
        """Called by pickle for all but the plainest objects."""
        reduced = self._reduced(part)
        if reduced is not NotImplemented and reduced[0] in self._tokens:
            self._mark = _HOME_MARK if reduced[0] in self._home else self._mark or _MARK
        return reduced

    def _reduced(self, part: Any) -> Any:
        """How *part* travels; ``NotImplemented``: as it is."""
        raise NotImplementedError

    def dumps(self, obj: Any) -> bytes:
        """Pickle *obj*. After an error this pickler must not be used again."""
        return bytes(self.dump_pieces(obj))

    def dump_pieces(self, obj: Any) -> bytes | Large:
        """The same, not joined if it is large."""
        self.dump(obj)
        self.clear_memo()  # it would keep the object alive
        parts = self._parts
        if self._mark is not None:
            parts.append(self._mark)
            self._mark = None
        if len(parts) == 1:
            return parts.pop()
        # What can be changed (bytearray, the buffer of an array) is the object's own memory still.
        pieces = tuple(map(bytes, parts))
        parts.clear()
        return Large(pieces) if sum(map(len, pieces)) >= LARGE else b"".join(pieces)


class CallPickler(Pickler, cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions that nobody could import as well: lambdas, closures."""

    def reducer_override(self, part: Any) -> Any:
        """What we have no say in is cloudpickle's."""
        if isinstance(part, MethodType) and getattr(part.__self__, part.__name__, None) == part:
            # cloudpickle would copy the function, and the globals of its module with it.
            return getattr, (part.__self__, part.__name__)
        reduced = super().reducer_override(part)
        if reduced is NotImplemented:
            reduced = cloudpickle.Pickler.reducer_override(self, part)
        return reduced


def unpicklable(obj: Any, error: BaseException, fresh: Callable[[], Pickler]) -> UnpicklableError:
    """The error that names the field.

    Args:
        obj: what could not be pickled.
        error: what came of it.
        fresh: makes picklers, to find the part that is to blame.
    """
    if isinstance(obj, Result):
        obj = obj.body
    path, part, cause = _culprit(obj, fresh, error)
    what, why = f"{_kind(obj)} cannot be sent to another process", _first_line(cause)
    if path:
        return UnpicklableError(
            f"{what}: its field {path} holds {_kind(part)} ({why}). Put plain data there, or keep "
            "the pipeline that needs it in ITEM_PIPELINES."
        )
    return UnpicklableError(
        f"{what} ({why}). Use plain data instead; a pipeline that needs it can stay in "
        "ITEM_PIPELINES."
    )


def uncallable(
    call: tuple[Any, ...], error: BaseException, fresh: Callable[[], Pickler]
) -> UnpicklableError:
    """The error that names the part of a call that is to blame; as for :func:`unpicklable`."""
    function, args, kwargs = call
    parts = {"the function itself": function}
    parts |= {f"its argument {n}": value for n, value in enumerate(args, start=1)}
    parts |= {f"its argument {name}": value for name, value in kwargs.items()}
    where, cause = "a part of it", error
    for name, part in parts.items():
        try:
            fresh().dumps(part)
        except BaseException as inner:
            where, cause = name, inner
            break
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return UnpicklableError(
        f"the call of {name} cannot be sent to another process: {where} cannot be pickled "
        f"({_first_line(cause)}). Give it plain data."
    )


def has_tokens(data: bytes | memoryview) -> bool:
    """Whether *data*, made by a :class:`Pickler`, must be opened by :func:`loads`."""
    return data[-1] in _MARKS


def is_for_home(data: bytes) -> bool:
    """Whether Scrapy's process is to open *data*: another worker might not know its tokens."""
    return data.endswith(_HOME_MARK)


def for_home(data: bytes) -> bytes:
    """*data*, to be opened in Scrapy's process, whoever else could open it."""
    return data + _HOME_MARK


def loads(data: bytes | memoryview, module: str, resolvers: Resolvers) -> Any:
    """Unpickle; the names of *module*, where the tokens are, mean the *resolvers*."""
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
    obj: Any, fresh: Callable[[], Pickler], error: BaseException
) -> tuple[str, Any, BaseException]:
    """Follow the failure down to the innermost part: its path, the part, its own error."""
    path = ""
    for _ in range(8):
        for name, part in _parts(obj):
            try:
                fresh().dumps(part)
            except BaseException as inner:
                path, obj, error = (
                    f"{path}[{repr_of(name)}]" if path else repr_of(name),
                    part,
                    inner,
                )
                break
        else:
            break
    return path, obj, error


def _parts(obj: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(obj, Change):
        return list(obj.values.items())
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return list(zip(obj._fields, obj, strict=False))
    if isinstance(obj, (list, tuple)):
        return list(enumerate(obj))
    fields = obj if isinstance(obj, dict) else fields_of(obj)
    return [] if fields is None else list(fields.items())


def _kind(obj: Any) -> str:
    if isinstance(obj, Change):
        return "the item"
    if isinstance(obj, FunctionType):
        return f"the function {obj.__qualname__}"
    return f"a {type(obj).__module__}.{type(obj).__qualname__}".replace(" builtins.", " ")


def _first_line(error: BaseException) -> str:
    text = text_of(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
