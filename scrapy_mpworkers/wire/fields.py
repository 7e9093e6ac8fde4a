"""The fields of an item, read and written beneath the hooks of its class.

A setter that validates, counts or converts has already run when the pipeline assigned the value;
running it again in the other process could change or refuse the value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from scrapy import Item

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made by a class statement, not by C code
#: Exact builtin types of values that nobody can change, and that hold nothing else.
IMMUTABLE = frozenset({type(None), bool, int, float, complex, str, bytes})

# Whether a class keeps all its state in __dict__ and slots, by class.
_plain: dict[type, bool] = {}


def fields_of(item: Any) -> dict[Any, Any] | None:
    """Return the item's fields, or ``None`` for a type that can only be replaced as a whole.

    A dict and an ``Item`` give their own mapping, not a copy.
    """
    cls = type(item)
    if cls is dict:
        return item  # type: ignore[no-any-return]
    if isinstance(item, Item):
        return item._values if len(item.__dict__) == 1 else None
    if _keeps_state_in_python(cls):
        return _attributes(item)
    return None


def copy_of_fields(item: Any) -> dict[Any, Any] | None:
    """Copy the fields of an item as they are now; ``None`` as for :func:`fields_of`."""
    fields = item if type(item) is dict else fields_of(item)  # without the call: nearly every item
    return None if fields is None else dict(fields)


def write_fields(item: Any, values: Mapping[Any, Any], deleted: tuple[Any, ...]) -> None:
    """Set *values* and delete *deleted* in place."""
    if type(item) is dict or isinstance(item, Item):
        target = item if isinstance(item, dict) else item._values
        target.update(values)
        for name in deleted:
            del target[name]
        return
    slots = _slots(type(item))
    for name, value in values.items():
        # object.__setattr__ reaches slots and is not stopped by frozen classes.
        if name in slots:
            object.__setattr__(item, name, value)
        else:
            item.__dict__[name] = value
    for name in deleted:
        if name in slots:
            object.__delattr__(item, name)
        else:
            del item.__dict__[name]


def build(cls: type, values: Mapping[Any, Any]) -> Any:
    """Return a new instance of *cls* with exactly these fields, made without ``__init__``."""
    if cls is dict:
        return dict(values)
    item = cls.__new__(cls) if issubclass(cls, Item) else object.__new__(cls)
    if issubclass(cls, Item):
        item.__dict__["_values"] = dict(values)
    else:
        write_fields(item, values, ())
    return item


def has_own_setitem(cls: type) -> bool:
    """Return whether *cls* is a dict that hooks its writes and leaves pickling as it is."""
    return (
        issubclass(cls, dict)
        and cls.__setitem__ is not dict.__setitem__
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


def is_immutable(value: Any) -> bool:
    """Return whether nobody can change *value*, all the way down, by its exact builtin types."""
    cls = type(value)
    if cls in IMMUTABLE:
        return True
    return cls in (tuple, frozenset) and all(map(is_immutable, value))


def _keeps_state_in_python(cls: type) -> bool:
    verdict = _plain.get(cls)
    if verdict is None:
        # Late: it imports pydantic, where that is installed, and many items are dicts.
        from itemadapter import ItemAdapter

        verdict = _plain[cls] = ItemAdapter.is_item_class(cls) and all(
            base.__flags__ & _HEAP_TYPE for base in cls.__mro__[:-1]
        )
    return verdict


def _attributes(item: Any) -> dict[str, Any]:
    values = dict(getattr(item, "__dict__", {}))
    for name in _slots(type(item)):
        with contextlib.suppress(AttributeError):  # a slot that was never set
            values[name] = object.__getattribute__(item, name)
    return values


def _slots(cls: type) -> list[str]:
    names: list[str] = []
    for base in reversed(cls.__mro__):
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if name not in ("__dict__", "__weakref__"):
                names.append(name)
    return names
