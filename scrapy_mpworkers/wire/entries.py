"""Entries of settings: pipelines and keys, which a user names as an import path or an object."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from inspect import isfunction
from typing import Any, ClassVar

from scrapy.utils.misc import load_object

from scrapy_mpworkers.errors import KeyMissingError
from scrapy_mpworkers.wire.changes import is_immutable
from scrapy_mpworkers.wire.texts import named, repr_of

PipelineEntry = Any  # an import path, a class or a function
Pipelines = tuple[tuple[PipelineEntry, Any], ...]  # (entry, order), in order

KeyFunction = Callable[[Any], Any]

_numbers = itertools.count(1)
#: Names of the script's module in its process, and in a multiprocessing child that ran it again.
MAINS = frozenset({"__main__", "__mp_main__"})


def import_path(entry: PipelineEntry) -> str:
    """Return *entry* as a user would write it as a string, or what comes nearest to that."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, partial):
        return import_path(entry.func)
    if not hasattr(entry, "__qualname__"):  # an object that can be called
        return f"{import_path(type(entry))}()"
    owner = getattr(entry, "__objclass__", entry)  # of a method of a builtin type
    return f"{owner.__module__ or 'builtins'}.{entry.__qualname__}"


def is_named(entry: PipelineEntry) -> bool:
    """Return whether the import path of *entry* means this object only; lambdas share a path."""
    return isinstance(entry, (str, type)) or (isfunction(entry) and "<" not in entry.__qualname__)


class FunctionPipeline:
    """Base of the classes that :func:`as_pipeline` makes."""

    function: ClassVar[Callable[[Any], Any]]

    def process_item(self, item: Any) -> Any:
        """Return what the function returns, an awaitable included."""
        return type(self).function(item)


def as_pipeline(entry: Any) -> Any:
    """Return *entry* if it is a class, else a pipeline class around the function that it is."""
    if isinstance(entry, type):
        return entry
    name = getattr(entry, "__name__", type(entry).__name__)
    # Scrapy tells components by their paths: two lambdas would be one.
    qualname = name if is_named(entry) else f"{name} {next(_numbers)}"
    body = {"function": staticmethod(entry), "__qualname__": qualname}
    return type(name, (FunctionPipeline,), body)


def key_function(key: Any) -> KeyFunction:
    """Return what computes the key of an item.

    Args:
        key: the name of a field, or a function ``item -> key`` or its import path.

    Raises:
        KeyMissingError: (the function does) the item has no such field, or its key is nothing
            that can be compared in every process, or to compute it would end this process.
    """
    is_field = isinstance(key, str) and "." not in key
    function = _field(key) if is_field else load_object(key)
    name = f"the field {key!r}" if is_field else f"{key}"

    def checked(item: Any) -> Any:
        try:
            found = function(item)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            # In Scrapy's process SystemExit, KeyboardInterrupt and their like would end the crawl.
            raise KeyMissingError(f"the item has no key: {name} raised {named(error)}") from error
        if not is_immutable(found):
            raise KeyMissingError(
                f"the key of an item must be a str, bytes, number, None or a tuple of them, but "
                f"{name} gave a {type(found).__qualname__}: {repr_of(found)}"
            )
        return found

    return checked


def _field(name: str) -> KeyFunction:
    from itemadapter import ItemAdapter  # late, as in changes.py

    def value(item: Any) -> Any:
        try:
            return ItemAdapter(item)[name]
        except KeyError:
            raise KeyMissingError(
                f"the item has no field {name!r}, which is the key of a level in MPWORKERS_LEVELS"
            ) from None

    return value
