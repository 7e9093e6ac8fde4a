"""Changes that a hop made to an item, which are all that travels back.

The worker compares the item with the very objects that it unpickled and kept alive: a field that
still holds the same object of an immutable builtin type is unchanged. The parent computes the
outcome from what it shipped plus the changes, never from the present fields of the live object: a
spider that reuses one dict would otherwise get mixtures of two items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import partial
from operator import is_
from typing import Any, NamedTuple

from scrapy_mpworkers.wire.fields import (
    IMMUTABLE,
    build,
    copy_of_fields,
    fields_of,
    is_immutable,
    write_fields,
)

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


class ResultKind(IntEnum):
    """The kind of object that the consumer returned."""

    SAME = 0  #: the object that it was given, perhaps changed
    COPY = 1  #: another object of that type: shipped fields plus changes
    WHOLE = 2  #: anything else


class Result(NamedTuple):
    """A result tells what the consumer returned.

    ``body``: a Change for SAME and COPY, the object itself for WHOLE.
    """

    kind: int
    body: Any


_SAME, _WHOLE = int(ResultKind.SAME), int(ResultKind.WHOLE)  # plain numbers compare faster
# As Change._make and Result._make, which are written in Python.
_as_change, _as_result = partial(tuple.__new__, Change), partial(tuple.__new__, Result)

#: The result of a consumer that returned the item as it was.
UNCHANGED = Result(ResultKind.SAME, Change({}, (), None))


def pack(result: Result, dump: Callable[[Any, Any], bytes]) -> bytes:
    """Pickle *result* as plain tuples and numbers, and the commonest one as nothing at all.

    Pickle would look up the classes of named tuples and enums, on both sides and for each item.
    """
    if result is UNCHANGED or result == UNCHANGED:
        return b""
    body = result.body
    plain = int(result.kind), tuple(body) if isinstance(body, Change) else body
    return dump(plain, result)


def unpack(data: bytes, load: Callable[[bytes], Any]) -> Result:
    """Return the result that :func:`pack` has packed."""
    if not data:
        return UNCHANGED
    kind, body = load(data)
    return _as_result((kind, body if kind == _WHOLE else _as_change(body)))


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
    if result.kind != _WHOLE:
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
        if returned is self.item and self.is_untouched() and self._is_plain():
            return UNCHANGED  # found sooner than by a comparison field by field
        if self.fields is not None and type(returned) is type(self.item):
            fields = fields_of(returned)
            if fields is not None:
                kind = ResultKind.SAME if returned is self.item else ResultKind.COPY
                return Result(kind, _difference(self.fields, fields))
        return Result(ResultKind.WHOLE, returned)

    def change(self) -> Change | None:
        """Return, in the worker, what was done to the item itself, for drops and errors."""
        result = self.result(self.item)
        return result.body if result.kind == ResultKind.SAME else None

    def unchanged(self) -> Any:
        """Return, in the parent, the item of a consumer that returned it as it was."""
        return self.item if self.is_untouched() else self.outcome(UNCHANGED)

    def outcome(self, result: Result) -> Any:
        """Return, in the parent, the item that the consumer returned."""
        if result.kind == _WHOLE:
            return result.body
        if result.kind == _SAME and self.apply(result.body):
            return self.item
        return self._rebuilt(result.body)

    def apply(self, change: Change) -> bool:
        """Change the live item in the parent, if its fields are still the ones shipped."""
        if not self.is_untouched():
            return False
        write_fields(self.item, change.values, change.deleted)
        fields = fields_of(self.item)
        if change.order is not None and isinstance(fields, dict):
            _reorder(fields, change.order)
        return True

    def is_untouched(self) -> bool:
        """Return whether the live item's fields are still the very objects that they were."""
        now, shipped = fields_of(self.item), self.fields
        if now is None or shipped is None or [*now] != [*shipped]:
            return False
        return all(map(is_, now.values(), shipped.values()))

    def _is_plain(self) -> bool:
        return self.fields is not None and IMMUTABLE.issuperset(map(type, self.fields.values()))

    def _rebuilt(self, change: Change) -> Any:
        assert self.fields is not None
        fields = {k: v for k, v in self.fields.items() if k not in set(change.deleted)}
        fields.update(change.values)
        if change.order is not None:
            _reorder(fields, change.order)
        return build(type(self.item), fields)


def _difference(before: Mapping[Any, Any], now: Mapping[Any, Any]) -> Change:
    values = {
        name: value
        for name, value in now.items()
        if before.get(name, _MISSING) is not value
        or not (type(value) in IMMUTABLE or is_immutable(value))
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
