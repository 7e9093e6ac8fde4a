"""Finds what a request shares with others in Scrapy's process: a dict that three requests count
down, for one. Workers have copies, and what one changes in a copy nobody else sees."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from sys import getrefcount
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeAlias
from weakref import WeakSet

from scrapy import Request

from scrapy_mpworkers.crawl.collector import thawed
from scrapy_mpworkers.wire.callbacks import is_like_its_copy

#: ``cb_kwargs`` or ``meta``, and the name there.
Place: TypeAlias = tuple[str, str]

#: Running code refers to what it has yielded last until it goes on, which is no sharing.
_RUNNING = (FrameType, GeneratorType, AsyncGeneratorType, CoroutineType)


class SharedValues:
    """Knows which values of requests are shared, and which seem so by chance."""

    def __init__(self) -> None:
        self._begun: WeakSet[Request] = WeakSet()
        self._by_chance: set[tuple[str, Place]] = set()

    def begins_here(self, request: Request) -> None:
        """Note that the callback of *request* runs in Scrapy's process.

        A request that it yields may have the ``meta`` of this one, and is the next in a chain.
        """
        self._begun.add(request)

    def of(self, callback: str, request: Request) -> tuple[Place, ...]:
        """Return where *request* has something that changes and is referred to from elsewhere."""
        return tuple(
            (where, name)
            for where in ("cb_kwargs", "meta")
            for name, value in getattr(request, where).items()
            if not is_like_its_copy(value)
            and _references(getattr(request, where), name) > _ALONE
            and (callback, (where, name)) not in self._by_chance
        )

    def are_shared(self, callback: str, request: Request, place: Place) -> bool:
        """Return whether others will look at what *callback* changes at *place*.

        To find who refers to it takes a walk over all objects, so the answer is remembered.
        """
        where, name = place
        known = {id(d) for one in (request, *self._begun) for d in (one.meta, one.cb_kwargs)}
        others = _referrers(getattr(request, where)[name])
        if any(id(one) not in known and not issubclass(type(one), _RUNNING) for one in others):
            return True
        self._by_chance.add((callback, place))
        return False


def _referrers(value: Any) -> list[Any]:
    with thawed():
        return gc.get_referrers(value)


def _references(values: Mapping[str, Any], name: str) -> int:
    return getrefcount(values[name])


def _count_alone() -> int:
    """Return how many references Python itself has in the loop above, which differs by version."""
    values: dict[str, Any] = {"": []}
    return next(_references(values, name) for name, _ in values.items())


_ALONE = _count_alone()
