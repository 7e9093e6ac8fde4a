"""Follows the attributes of the crawl's spider, of which workers have a copy."""

from __future__ import annotations

from collections.abc import ValuesView
from typing import Any

from scrapy import Spider

from scrapy_mpworkers.crawl.context import Carrier
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import Attributes
from scrapy_mpworkers.worker.sizes import CONTAINERS

#: Bytes of an attribute that travels with each item and callback, at most.
_MOST = 1 << 14
#: A container of more is known by its length alone: it may change with each callback.
_MOST_COMPARED = 100
#: Each element of these takes a byte at least when it is pickled.
_SIZED = (*CONTAINERS, tuple, frozenset, str, bytes)
_LARGER = f"it has changed since the crawl began, and is larger than {_MOST >> 10} KiB"
_DEFINED_HERE = "workers cannot import its class, or a function in it, under its name"


class SpiderAttributes:
    """Knows which attributes have changed since the crawl began, and has them pickled.

    Few do, and those are small: a token that was renewed, a number, the category of a page. They
    travel with each item and callback, as nobody knows which worker has had them, and an item wants
    them as they were when the spider yielded it.

    Attributes:
        changes: what has changed so far; ``None``: nothing.
        live: the attributes' values, always the present ones.
        containers: those of them that can grow.
        seen: the values at the last look, and how long these containers were. As long as they are
            equal, nothing has been set, added or removed.
    """

    live: ValuesView[Any]
    containers: list[Any]
    seen: list[Any]

    def __init__(self, spider: Spider, codec: ParentCodec) -> None:
        self.changes: Attributes | None = None
        self._spider = spider
        self.live = vars(spider).values()
        self._carrier = Carrier(codec)
        self._known = {name: _noted(value) for name, value in list(vars(spider).items())}
        self._large: dict[str, tuple[Any, int]] = {}  # containers, and how long they were
        self._note()

    def changed(self) -> Attributes | None:
        """Look at all attributes, and at what small containers hold; return what has changed."""
        # A copy: a thread of the user, or a __getstate__, may set attributes meanwhile.
        for name, value in list(vars(self._spider).items()):
            known = self._known.get(name)
            if known is None or not _is_as(known, value):
                self._known[name] = _noted(value)
                self._take(name, self._carried(name, value))
        self._note()
        return self.changes

    def _note(self) -> None:
        values = list(self.live)
        self.containers = [value for value in values if type(value) in CONTAINERS]
        self.seen = [*values, *map(len, self.containers)]

    def _take(self, name: str, carried: bytes | str) -> None:
        version, before = self.changes or (0, {})
        if before.get(name) != carried:
            self.changes = version + 1, {**before, name: carried}

    def _carried(self, name: str, value: Any) -> bytes | str:
        """Return the frame of an attribute, or why it cannot cross."""
        if self._is_large(name, value):
            return _LARGER
        frame, why = self._carrier.carry(value)
        needs = dict(self._carrier.needs)
        self._carrier.needs.clear()
        if frame is None:
            return why
        if len(frame) > _MOST:
            if type(value) in CONTAINERS:
                self._large[name] = value, len(value)
            return _LARGER
        return _DEFINED_HERE if needs else frame

    def _is_large(self, name: str, value: Any) -> bool:
        """Return whether it is known without pickling that *value* is too large: of 200,000 texts
        that would take 0.1 s, and a callback of each page may add one."""
        if type(value) in _SIZED and len(value) > _MOST:
            return True
        refused, length = self._large.get(name, (None, 0))
        return refused is not None and refused is value and len(value) >= length


def _noted(value: Any) -> tuple[Any, Any]:
    """Return a value, and what tells whether something was put into it or taken out."""
    if type(value) not in CONTAINERS:
        return value, None
    return value, type(value)(value) if len(value) <= _MOST_COMPARED else len(value)


def _is_as(known: tuple[Any, Any], value: Any) -> bool:
    earlier, content = known
    if earlier is not value:
        return False
    if content is None:
        return True
    if isinstance(content, int):
        return len(value) == content
    try:
        return bool(content == value)
    except BaseException:  # what it holds may be of the user's classes
        return True
