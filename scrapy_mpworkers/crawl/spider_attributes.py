"""Follows the attributes of the crawl's spider, of which workers have a copy."""

from __future__ import annotations

import logging
from typing import Any

from scrapy import Spider

from scrapy_mpworkers.crawl.context import Carrier
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.worker.sizes import CONTAINERS

logger = logging.getLogger(__name__)

#: Bytes of an attribute that travels with each callback, at most.
_MOST = 1 << 14
#: A container of more is known by its length alone: it may change with each callback.
_MOST_COMPARED = 100
#: Each element of these takes a byte at least when it is pickled.
_SIZED = (*CONTAINERS, tuple, frozenset, str, bytes)
_LARGER = f"it is larger than {_MOST >> 10} KiB"
_DEFINED_HERE = "workers cannot import its class, or a function in it, under its name"


class SpiderAttributes:
    """Knows which attributes have changed since the crawl began, and has them pickled.

    Few do, and those are small: a token that was renewed, a number. They travel with each callback,
    as nobody knows which worker has had them.
    """

    def __init__(self, spider: Spider, codec: ParentCodec) -> None:
        self._spider = spider
        self._carrier = Carrier(codec)
        self._known = {name: _noted(value) for name, value in list(vars(spider).items())}
        self._frames: dict[str, bytes] = {}
        self._refused: set[str] = set()
        self._large: dict[str, tuple[Any, int]] = {}  # containers, and how long they were
        self._version = 0

    def changed(self) -> tuple[int, dict[str, bytes]]:
        """Return a number that grows with each change, and what has changed so far by name."""
        # A copy: a thread of the user, or a __getstate__, may set attributes meanwhile.
        for name, value in list(vars(self._spider).items()):
            known = self._known.get(name)
            if known is None or not _is_as(known, value):
                self._known[name] = _noted(value)
                self._take(name, value)
        return self._version, self._frames

    def _take(self, name: str, value: Any) -> None:
        if self._is_large(name, value):
            self._refuse(name, _LARGER)
            return
        carried = self._carrier.carry(value)
        is_large = carried.frame is not None and len(carried.frame) > _MOST
        if carried.frame is not None and not is_large and not self._carrier.needs:
            self._version += 1
            self._frames = {**self._frames, name: carried.frame}
            return
        self._carrier.needs.clear()
        if is_large and type(value) in CONTAINERS:
            self._large[name] = value, len(value)
        self._refuse(name, carried.why or (_LARGER if is_large else _DEFINED_HERE))

    def _is_large(self, name: str, value: Any) -> bool:
        """Return whether it is known without pickling that *value* is too large: of 200,000 texts
        that would take 0.1 s, and a callback of each page may add one."""
        if type(value) in _SIZED and len(value) > _MOST:
            return True
        refused, length = self._large.get(name, (None, 0))
        return refused is not None and refused is value and len(value) >= length

    def _refuse(self, name: str, why: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            logger.warning(
                "spider.%s has changed, and callbacks in workers have it as it was when they "
                "opened (%s). Put what they need into the request's cb_kwargs, or take those that "
                "need it out of MPWORKERS_CALLBACKS.",
                name,
                why,
            )


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
    except Exception:  # what it holds may be of the user's classes
        return True
