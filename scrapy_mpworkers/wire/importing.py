"""Another process finds a class or a function under its own name, under another, or nowhere.

A name alone says nothing. ``dataclasses.make_dataclass`` and its like give a class a name that is
bound nowhere; a decorator or a second ``class`` statement binds it to something else; a module that
was loaded from a path, or made by ``exec``, is in ``sys.modules`` and no other process can import
it.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from itertools import repeat
from operator import attrgetter, is_
from os.path import realpath
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from scrapy_mpworkers.wire.changes import HEAP_TYPE
from scrapy_mpworkers.wire.entries import MAINS
from scrapy_mpworkers.wire.fingerprint import fingerprint

Definable = type | FunctionType

# Not module.__dict__: a subclass may have a property of that name, which imports all that is lazy.
_namespace: Callable[[ModuleType], dict[str, Any]] = vars(ModuleType)["__dict__"].__get__


class Binding(NamedTuple):
    """A name of a module to which an object is bound."""

    module: str
    name: str


class Importing:
    """Knows what workers can import.

    Args:
        folders: where they look beside ``sys.path``.
    """

    def __init__(self, folders: Iterable[str] = ()) -> None:
        self._folders = list(folders)
        self._can_import = cache(self._judge)

    def finds(self, obj: Definable) -> bool:
        """Return whether a worker finds *obj* under its own name."""
        if isinstance(obj, type) and not obj.__flags__ & HEAP_TYPE:
            return True  # pickle has its ways for those: type(None) is bound nowhere
        return is_bound(obj) and bool(self._can_import(obj.__module__))

    def elsewhere(self, obj: Definable) -> Binding | None:
        """Return where a worker may find *obj*, if not under its own name. Takes milliseconds."""
        if is_bound(obj) and self._can_import(obj.__module__) is None:
            return Binding(obj.__module__, obj.__qualname__)
        return next((one for one in _bindings(obj) if self._can_import(one.module)), None)

    def is_foreign(self, module: str | None) -> bool:
        """Return whether *module* is known here, and no worker can import it."""
        return module in sys.modules and self._can_import(module) is False

    def _judge(self, name: str) -> bool | None:
        """Return whether a worker can import a module of this name.

        ``None``: no finder knows it, but a package that can be imported may make it.
        """
        module = sys.modules.get(name)
        parent = name.rpartition(".")[0]
        if module is None or name in MAINS or (parent and not self._can_import(parent)):
            return False
        spec = self._spec(name, parent)
        if spec is not None:
            return _is_from(module, spec)
        return None if parent else False

    def _spec(self, name: str, parent: str) -> ModuleSpec | None:
        # importlib.util.find_spec would only show what is in sys.modules already.
        path = getattr(sys.modules[parent], "__path__", []) if parent else None
        for finder in sys.meta_path:
            cls = finder if isinstance(finder, type) else type(finder)
            if cls.__module__ in MAINS:
                continue  # workers do not have it
            try:
                spec = finder.find_spec(name, path, None)
            except Exception:  # somebody else's, of an old style perhaps
                continue
            if spec is not None:
                return spec
        return None if parent else PathFinder.find_spec(name, self._folders)


def is_bound(obj: Definable) -> bool:
    """Return whether *obj* is what its own name means in this process."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def imported(
    module: str,
    name: str,
    qualname: str,
    blob: bytes | None,
    mark: str | None = None,
    load: Callable[[bytes], Any] = pickle.loads,
) -> Any:
    """Import *name* from *module* if it is the wanted object; else make the object from *blob*.

    Args:
        qualname: the object's qualified name, which all objects that one function makes share.
        mark: the object's fingerprint; ``None``: the name alone decides.
        load: opens the blob.

    Raises:
        Exception: the module lacks the object, or has another of that name, and there is no blob.
    """
    try:
        found = attrgetter(name)(import_module(module))
        if _is_the_one(found, qualname, blob is not None, mark):
            return found
        if blob is None:
            raise ImportError(f"{module}.{name} is another object here than in Scrapy's process")
    except BaseException:  # of the user's module
        if blob is None:
            raise
    return load(blob)


def _is_the_one(found: Any, qualname: str, can_be_made: bool, mark: str | None) -> bool:
    if mark is not None:
        return fingerprint(found) == mark
    return not can_be_made or getattr(found, "__qualname__", None) == qualname


def _bindings(obj: Definable) -> Iterator[Binding]:
    own = getattr(obj, "__module__", None)
    # Its own module first: the others may only have borrowed it.
    modules = {own: sys.modules[own]} if own in sys.modules else {}
    for name, module in (modules | sys.modules).items():
        # Not isinstance(), to which a proxy may lie.
        if not issubclass(type(module), ModuleType) or name in MAINS:
            continue
        values = _namespace(module)
        if any(map(is_, values.values(), repeat(obj))):  # a hundred thousand, and hardly ever
            bound = next(bound for bound, value in list(values.items()) if value is obj)
            yield Binding(name, str(bound))


def _is_from(module: ModuleType, spec: ModuleSpec) -> bool:
    """Return whether *spec* would load what *module* was loaded from."""
    if not spec.has_location or spec.origin is None:
        return True  # builtin, frozen, or a namespace of folders
    own = getattr(module, "__spec__", None)
    origin = getattr(own, "origin", None) or getattr(module, "__file__", None)
    return origin is not None and realpath(origin) == realpath(spec.origin)
