"""A function ``item -> item``, or whatever else can be called, as an item pipeline. Used on both
sides of the wall."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar

from scrapy_mpworkers.checks import is_named

#: What the script is called in its process, and in a multiprocessing child that has run it again.
MAINS = frozenset({"__main__", "__mp_main__"})


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
