"""The fields of an item, and the changes that a hop made to them, which are all that travels back.

"The wire" in docs/design.md says how changes are found and applied, and why beneath the hooks of
the item's class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from operator import is_
from typing import Any, NamedTuple

from scrapy import Field, Item

HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made by a class statement, not by C code
#: Exact builtin types of values that nobody can change, and that hold nothing else.
_IMMUTABLE = frozenset({type(None), bool, int, float, complex, str, bytes})
_MISSING = object()
#: Bytes of an item below which it is all the same whether some of them have gone.
_WORTH_A_LOOK = 1 << 14


class Change(NamedTuple):
    """A change holds the fields of an item that differ from those shipped.

    ``order`` holds all keys where they do not follow from "shipped keys first, new ones behind".
    """

    values: dict[Any, Any]
    deleted: tuple[Any, ...]
    order: tuple[Any, ...] | None


class ResultKind:
    """The kind of object that the consumer returned. Plain numbers, as pickle looks up enums."""

    SAME = 0  #: the object that it was given, perhaps changed
    COPY = 1  #: another object of that type: shipped fields plus changes
    WHOLE = 2  #: anything else


class Result(NamedTuple):
    """A result tells what the consumer returned.

    ``body``: a Change for SAME and COPY, the object itself for WHOLE.
    """

    kind: int
    body: Any


# These are faster than Change._make and Result._make, which are written in Python.
_as_change, _as_result = partial(tuple.__new__, Change), partial(tuple.__new__, Result)

#: The result of a consumer that returned the item as it was.
UNCHANGED = Result(ResultKind.SAME, Change({}, (), None))


def pack(result: Result, dump: Callable[[Any, Any], bytes]) -> bytes:
    """Pickle *result* as plain tuples, and the commonest one as nothing at all.

    Pickle would look up the classes of named tuples, on both sides and for each item.
    """
    if result is UNCHANGED or result == UNCHANGED:
        return b""
    kind, body = result
    return dump((kind, tuple(body) if isinstance(body, Change) else body), result)


def unpack(data: bytes, load: Callable[[bytes], Any]) -> Result:
    """Return the result that :func:`pack` has packed."""
    if not data:
        return UNCHANGED
    kind, body = load(data)
    return _as_result((kind, body if kind == ResultKind.WHOLE else _as_change(body)))


def replay_changes(item: Any, results: Iterable[bytes], load: Callable[[bytes], Any]) -> Any:
    """Return what became of *item* on its way over several hops, from the packed result of each."""
    for result in results:
        item = Snapshot(item).outcome(unpack(result, load))
    return item


def shrinks(before: Snapshot, result: Result, size: int, shipped: int) -> bool:
    """Return whether the item as it is now is worth a frame of its own.

    Such a frame must take less than a third of what the item would travel on as otherwise: the
    frame that it came in, and the changes. Not half: a large list comes back with every item, since
    it may have been changed.

    The size is found without pickling: all that can be changed is in the result as it is now, and
    the rest is of builtin types.

    Args:
        size: bytes of *result*, packed.
        shipped: bytes in which the item came.
    """
    if shipped < _WORTH_A_LOOK:
        return False
    kept = 0
    if result.kind != ResultKind.WHOLE:
        gone = {*result.body.values, *result.body.deleted}
        kept = sum(
            _size(value) for name, value in (before.fields or {}).items() if name not in gone
        )
    return 3 * (size + kept) < shipped + size


class Snapshot:
    """A snapshot keeps an item and its fields at one moment, to tell later what has changed."""

    def __init__(self, item: Any) -> None:
        self.item, self.fields = item, copy_of_fields(item)

    def result(self, returned: Any) -> Result:
        """Return, in the worker, what goes back for *returned*."""
        shipped = self.fields
        if shipped is None or type(returned) is not type(self.item):
            return Result(ResultKind.WHOLE, returned)
        is_same = returned is self.item
        if is_same and self.is_untouched() and _IMMUTABLE.issuperset(map(type, shipped.values())):
            return UNCHANGED  # found sooner than by a comparison field by field
        fields = fields_of(returned)
        if fields is None:
            return Result(ResultKind.WHOLE, returned)
        kind = ResultKind.SAME if is_same else ResultKind.COPY
        return Result(kind, _difference(shipped, fields))

    def change(self) -> Change | None:
        """Return, in the worker, what was done to the item itself, for drops and errors."""
        result = self.result(self.item)
        return result.body if result.kind == ResultKind.SAME else None

    def outcome(self, result: Result) -> Any:
        """Return, in the parent, the item that the consumer returned."""
        if result.kind == ResultKind.WHOLE:
            return result.body
        if result.kind == ResultKind.SAME and self.apply(result.body):
            return self.item
        return self._rebuilt(result.body)

    def apply(self, change: Change) -> bool:
        """Change the live item in the parent, if its fields are still the ones shipped."""
        if not self.is_untouched():
            return False
        write_fields(self.item, change.values, change.deleted)
        if change.order is not None and (fields := fields_of(self.item)) is not None:
            _reorder(fields, change.order)
        return True

    def is_untouched(self) -> bool:
        """Return whether the live item's fields are still the very objects that they were."""
        item, shipped = self.item, self.fields
        now = item if type(item) is dict else fields_of(item)  # without the call: nearly every item
        if now is None or shipped is None or [*now] != [*shipped]:
            return False
        return all(map(is_, now.values(), shipped.values()))

    def _rebuilt(self, change: Change) -> Any:
        assert self.fields is not None
        fields = {k: v for k, v in self.fields.items() if k not in set(change.deleted)}
        fields.update(change.values)
        if change.order is not None:
            _reorder(fields, change.order)
        return _build(type(self.item), fields)


def fields_of(item: Any) -> dict[Any, Any] | None:
    """Return the item's fields, or ``None`` for a type that can only be replaced as a whole.

    A dict and an ``Item`` give their own mapping, not a copy.
    """
    cls: Any = type(item)
    if cls is dict:
        return item  # type: ignore[no-any-return]
    if isinstance(item, Item):
        return item._values if len(item.__dict__) == 1 else None
    return _attributes(item) if _keeps_state_in_python(cls) else None


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
        know_fields(item)
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


def know_fields(item: Any) -> None:
    """Let its class know the fields that an item has got in another process, by ``item.fields``."""
    if isinstance(item, Item) and not item.fields.keys() >= item._values.keys():
        item.fields.update((name, Field()) for name in item._values.keys() - item.fields.keys())


def _build(cls: type, fields: dict[Any, Any]) -> Any:
    """Return a new instance of *cls* with exactly these fields, made without ``__init__``."""
    if cls is dict:
        return fields
    item: Any
    if issubclass(cls, Item):
        item = cls.__new__(cls)
        item.__dict__["_values"] = fields
        know_fields(item)
    else:
        item = object.__new__(cls)
        write_fields(item, fields, ())
    return item


def is_immutable(value: Any) -> bool:
    """Return whether nobody can change *value*, all the way down, by its exact builtin types."""
    cls = type(value)
    if cls in _IMMUTABLE:
        return True
    return cls in (tuple, frozenset) and all(map(is_immutable, value))


@cache  # asked for each item
def _keeps_state_in_python(cls: type) -> bool:
    """Return whether *cls* is of items, all of whose state is in ``__dict__`` and slots."""
    # Late: it imports pydantic, where that is installed, and many items are dicts.
    from itemadapter import ItemAdapter

    in_python = all(base.__flags__ & HEAP_TYPE for base in cls.__mro__[:-1])
    return in_python and ItemAdapter.is_item_class(cls)


def _attributes(item: Any) -> dict[str, Any]:
    values = dict(getattr(item, "__dict__", {}))
    for name in _slots(type(item)):
        with suppress(AttributeError):  # a slot that was never set
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


def _difference(before: Mapping[Any, Any], now: Mapping[Any, Any]) -> Change:
    values = {
        name: value
        for name, value in now.items()
        if before.get(name, _MISSING) is not value
        or not (type(value) in _IMMUTABLE or is_immutable(value))
    }
    if list(now) == list(before):
        return Change(values, (), None)
    deleted = tuple(name for name in before if name not in now)
    kept = [name for name in before if name in now]
    natural = kept + [name for name in values if name not in before]
    return Change(values, deleted, None if natural == list(now) else tuple(now))


def _size(value: Any) -> int:
    """Return about how many bytes an immutable value takes."""
    if type(value) in (str, bytes):
        return len(value)
    return sum(map(_size, value)) if type(value) in (tuple, frozenset) else 8


def _reorder(fields: dict[Any, Any], order: tuple[Any, ...]) -> None:
    ordered = [(name, fields[name]) for name in order]
    fields.clear()
    fields.update(ordered)
