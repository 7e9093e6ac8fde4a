"""What a callback changes in the request whose response it was given."""

from __future__ import annotations

import logging
from typing import Any

from scrapy import Request

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.changes import is_immutable
from scrapy_mpworkers.wire.worker_codec import WorkerCodec

logger = logging.getLogger(__name__)


class RequestChanges:
    """Compares a request with what it was.

    Changes of its ``meta`` go back, where spider middlewares and later callbacks see them. Those of
    ``cb_kwargs`` do not: whoever else has such an object has the very object in Scrapy's process.
    """

    def __init__(self, request: Request, codec: WorkerCodec) -> None:
        self._request = request
        self._codec = codec
        self._meta = self._noted(request.meta)
        self._arguments = self._noted(request.cb_kwargs)

    def of_meta(self) -> tuple[dict[str, Any], list[str]] | None:
        """Return the values that are new since the last call, and the names that are gone."""
        before, now = self._meta, self._noted(self._request.meta)
        changed = {name: self._request.meta[name] for name in _different(before, now)}
        gone = [name for name in before if name not in now]
        self._meta = now
        return (changed, gone) if changed or gone else None

    def warn_of_lost_arguments(self, callback: str) -> None:
        """Warn of arguments that the callback has changed in place."""
        for name in _different(self._arguments, self._noted(self._request.cb_kwargs)):
            logger.warning(
                "The callback %s changed its argument %s in a worker. Whoever else has that object "
                "sees nothing of it: yield what others need, or take the callback out of "
                "MPWORKERS_CALLBACKS.",
                callback,
                name,
            )

    def _noted(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return immutable values themselves, and others as bytes, if they have any."""
        return {
            name: value if is_immutable(value) else self._bytes(value)
            for name, value in values.items()
        }

    def _bytes(self, value: Any) -> bytes | int:
        try:
            return self._codec.dump(value)
        except UnpicklableError:
            return id(value)


def _different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        name for name, value in now.items() if name not in before or not _same(before[name], value)
    ]


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
