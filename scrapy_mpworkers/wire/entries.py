"""What a user may name as a pipeline: an import path, a class, or a function ``item -> item``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from inspect import isfunction
from typing import Any, ClassVar

Entry = Any  # an import path, a class or a function
Pipelines = tuple[tuple[Entry, Any], ...]  # (entry, order), in order

#: What the script is called in its process, and in a multiprocessing child that has run it again.
MAINS = frozenset({"__main__", "__mp_main__"})


def import_path(entry: Entry) -> str:
    """How a user would write *entry* as a string, or what comes nearest to that."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, partial):
        return import_path(entry.func)
    if not hasattr(entry, "__qualname__"):  # an object that can be called
        return f"{import_path(type(entry))}()"
    owner = getattr(entry, "__objclass__", entry)  # of a method of a builtin type
    return f"{owner.__module__ or 'builtins'}.{entry.__qualname__}"


def is_named(entry: Entry) -> bool:
    """Whether the path of *entry* means nothing else: two lambdas have one name, and are two."""
    return isinstance(entry, (str, type)) or (isfunction(entry) and "<" not in entry.__qualname__)


class FunctionPipeline:
    """Base of the classes that :func:`as_pipeline` makes."""

    function: ClassVar[Callable[[Any], Any]]

    def process_item(self, item: Any) -> Any:
        """What the function returns, an awaitable included."""
        return type(self).function(item)


def as_pipeline(entry: Any) -> Any:
    """*entry* itself if it is a class, else a pipeline class around the function that it is."""
    if isinstance(entry, type):
        return entry
    name = getattr(entry, "__name__", type(entry).__name__)
    # Scrapy tells components by their paths: two lambdas would be one.
    qualname = name if is_named(entry) else f"{name} {next(_numbers)}"
    body = {"function": staticmethod(entry), "__qualname__": qualname}
    return type(name, (FunctionPipeline,), body)


_numbers = itertools.count(1)
