"""A fingerprint tells two classes or functions of one name apart, without sending either."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_DEPTH = 8  # values inside of values are described as far as that: some contain themselves
_vars: Callable[[type], Any] = vars(type)["__dict__"].__get__


def fingerprint(obj: Any) -> str:
    """Return a digest on which two processes agree if they made *obj* from one definition."""
    described = _class(obj) if isinstance(obj, type) else _described(obj, _DEPTH)
    return hashlib.blake2b(repr(described).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _class(cls: type) -> Any:
    own = _vars(cls)
    parts = {
        # Under names with an underscore Python and libraries keep notes of their own in a class.
        name: _described(value, _DEPTH, with_content=not name.startswith("_"))
        for name, value in own.items()
        if not _is_dunder(name) or isinstance(value, FunctionType)
    }
    fields = own.get("__dataclass_fields__") or own.get("__pydantic_fields__") or {}
    return (
        (cls.__qualname__, [_name(base) for base in cls.__bases__]),
        sorted(parts.items()),
        _described(own.get("__annotations__", {}), _DEPTH),
        _described(dict(fields), _DEPTH),
    )


def _described(value: Any, depth: int, with_content: bool = True) -> Any:
    """Describe *value* in plain data; no code of its class runs.

    Args:
        with_content: whether what a container holds is part of a definition, and no cache.
    """
    kind = type(value)
    if kind in _PLAIN:
        return kind.__name__, repr(value)
    if depth and issubclass(kind, (type, ModuleType)):
        return kind.__name__, _name(value)
    describe = _WAYS.get(kind) if depth else None
    if describe is not None:
        return kind.__name__, describe(value, depth - 1)
    if depth and with_content and issubclass(kind, (dict, list, set)):
        return kind.__name__, _content(value, depth - 1)
    if depth and issubclass(kind, enum.Enum):
        return kind.__name__, _described(value._value_, depth - 1)
    if depth and kind.__module__ in ("dataclasses", "pydantic.fields"):
        return kind.__name__, _described(getattr(value, "default", None), depth - 1)
    return kind.__name__


def _content(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        pairs = dict.items(value)
        # In order of the names: by hand, as keys of one dict may not compare.
        return sorted(((_described(k, depth), _described(v, depth)) for k, v in pairs), key=repr)
    if isinstance(value, list):
        return _sequence(list.__iter__(value), depth)
    return sorted(_sequence(set.__iter__(value), depth), key=repr)


def _function(function: FunctionType, depth: int) -> Any:
    cells = function.__closure__ or ()
    return (
        function.__qualname__,
        _code(function.__code__, depth),
        _described(function.__defaults__, depth),
        _described(function.__kwdefaults__, depth),
        [_cell(cell, depth) for cell in cells],
    )


def _code(code: CodeType, depth: int) -> Any:
    return (code.co_code, code.co_names, _sequence(code.co_consts, depth))


def _cell(cell: Any, depth: int) -> Any:
    try:
        return _described(cell.cell_contents, depth, with_content=False)
    except ValueError:  # nothing is in it yet
        return None


def _sequence(values: Iterable[Any], depth: int) -> Any:
    return [_described(one, depth) for one in values]


def _name(obj: Any) -> Any:
    return getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


_WAYS: dict[type, Callable[[Any, int], Any]] = {
    FunctionType: _function,
    CodeType: _code,
    staticmethod: lambda wrapped, depth: _described(wrapped.__func__, depth),
    classmethod: lambda wrapped, depth: _described(wrapped.__func__, depth),
    property: lambda one, depth: _sequence((one.fget, one.fset, one.fdel), depth),
    tuple: _sequence,
    frozenset: lambda values, depth: sorted(_sequence(values, depth), key=repr),
}
