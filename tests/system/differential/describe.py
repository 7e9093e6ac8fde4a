"""Any value as one line of text: exact types, order, state and sharing, but no addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scrapy.http import Request, Response

#: Types whose ``repr`` says all there is. A subclass of one is named and may have state.
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_NOT_STATE = {"__weakref__", "__dict__"}
#: Keys of a request's ``meta`` whose values are times.
_TIMES = {"download_latency"}


def qualified_name(cls: type) -> str:
    builtin = cls.__module__ == "builtins"
    return cls.__qualname__ if builtin else f"{cls.__module__}.{cls.__qualname__}"


def without_addresses(text: str) -> str:
    return _ADDRESS.sub("0x…", text)


def describe(value: Any, known: Mapping[int, str] | None = None) -> str:
    """Describe ``value`` so that equal texts mean equal outcomes.

    Dicts keep their order, since the order of an item's keys is the order in the feed. An object
    that occurs twice is named by where it was first seen, so that lost or new aliases show.

    Args:
        known: ``id(object)`` → text, for objects whose identity is part of the outcome, such as
            the crawl's own spider.
    """
    return _Description(known or {}).of(value, "itself")


class _Description:
    def __init__(self, known: Mapping[int, str]) -> None:
        self._known = known
        self._seen: dict[int, str] = {}

    def of(self, value: Any, place: str) -> str:
        if type(value) in PLAIN:
            return repr(value)
        if id(value) in self._known:
            return self._known[id(value)]
        if isinstance(value, type):
            return f"<class {qualified_name(value)}>"
        if type(value) is tuple:
            return f"({self._sequence(value, place)})"
        if id(value) in self._seen:
            return f"<same as {self._seen[id(value)]}>"
        return self._object(value, place)

    def _object(self, value: Any, place: str) -> str:
        if isinstance(value, (dict, list, set)) or any(_attributes(value)):
            self._seen[id(value)] = place  # sharing something immutable has no effect
        parts = [self._content(value, place), self._state(value, place)]
        text = " ".join(part for part in parts if part)
        if type(value) in (list, dict, set):
            return text
        if not text:  # nothing to look into: its repr is what there is
            text = without_addresses(repr(value))
        return f"{qualified_name(type(value))}({text})"

    def _content(self, value: Any, place: str) -> str:
        """What a container or a subclass of a plain type holds."""
        if isinstance(value, dict):
            return f"{{{self._pairs(value.items(), place)}}}"
        if isinstance(value, list):
            return f"[{self._sequence(value, place)}]"
        if isinstance(value, tuple):
            return f"({self._sequence(value, place)})"
        if isinstance(value, (set, frozenset)):
            return f"{{{', '.join(sorted(self.of(one, place) for one in value))}}}"
        if isinstance(value, PLAIN):
            return next(t for t in PLAIN if isinstance(value, t)).__repr__(value)
        return ""

    def _state(self, value: Any, place: str) -> str:
        if isinstance(value, Response):
            state: dict[str, Any] = {"url": value.url, "status": value.status, "body": value.body}
        elif isinstance(value, Request):
            state = _request_state(value)
        else:
            state = dict(_attributes(value))
        return self._pairs(sorted(state.items()), place) if state else ""

    def _sequence(self, values: Any, place: str) -> str:
        return ", ".join(self.of(one, f"{place}[{i}]") for i, one in enumerate(values))

    def _pairs(self, pairs: Any, place: str) -> str:
        return ", ".join(f"{key!r}: {self.of(one, f'{place}[{key!r}]')}" for key, one in pairs)


def _request_state(request: Request) -> dict[str, Any]:
    """All that a request has, by its public names, as empty parts are made when asked for."""
    state = {name: getattr(request, name) for name in request.attributes}
    meta = {name: value for name, value in request.meta.items() if name not in _TIMES}
    own = {k: v for k, v in getattr(request, "__dict__", {}).items() if k.lstrip("_") not in state}
    return {**own, **state, "meta": meta}


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What the instance itself holds: its ``__dict__`` and the slots of all its classes."""
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            name = f"_{cls.__name__.lstrip('_')}{slot}" if private else slot
            if slot not in _NOT_STATE and hasattr(value, name):
                yield name, getattr(value, name)
