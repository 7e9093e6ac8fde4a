"""Keys of items: equal keys meet the same worker. Used on both sides of the wall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scrapy.utils.misc import load_object

from scrapy_mpworkers.errors import KeyMissingError
from scrapy_mpworkers.wire.fields import is_immutable
from scrapy_mpworkers.wire.texts import named, repr_of

KeyFunction = Callable[[Any], Any]


def key_function(key: Any) -> KeyFunction:
    """What computes the key of an item.

    Args:
        key: the name of a field, or a function ``item -> key`` or its import path.

    Raises:
        KeyMissingError: (the function does) the item has no such field, or its key is nothing
            that can be compared in every process, or to compute it would end this process.
    """
    function = _field(key) if isinstance(key, str) and "." not in key else load_object(key)

    def checked(item: Any) -> Any:
        try:
            found = function(item)
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            # In Scrapy's process SystemExit, KeyboardInterrupt and their like would end the crawl.
            raise KeyMissingError(
                f"the item has no key: {_name(key)} raised {named(error)}"
            ) from error
        if not is_immutable(found):
            raise KeyMissingError(
                f"the key of an item must be a str, bytes, number, None or a tuple of them, but "
                f"{_name(key)} gave a {type(found).__qualname__}: {repr_of(found)}"
            )
        return found

    return checked


def _field(name: str) -> KeyFunction:
    from itemadapter import ItemAdapter  # late, as in wire/fields.py

    def value(item: Any) -> Any:
        try:
            return ItemAdapter(item)[name]
        except KeyError:
            raise KeyMissingError(
                f"the item has no field {name!r}, which is the key of a level in MPWORKERS_LEVELS"
            ) from None

    return value


def _name(key: Any) -> str:
    return f"the field {key!r}" if isinstance(key, str) and "." not in key else f"{key}"
