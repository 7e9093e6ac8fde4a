"""Finds out what a callback changes in the request whose response it was given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from scrapy import Request

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.changes import is_immutable
from scrapy_mpworkers.wire.worker_codec import WorkerCodec


class _Unpicklable(NamedTuple):
    """Stands for a value that has no bytes."""

    id: int


class RequestChanges:
    """Compares a request with what it was.

    Changes of its ``meta`` go back, where spider middlewares and later callbacks see them. Those of
    ``cb_kwargs`` need not, unless others have the very object in Scrapy's process.

    Args:
        shared: where the request has such an object.
    """

    def __init__(
        self, request: Request, shared: Iterable[tuple[str, str]], codec: WorkerCodec
    ) -> None:
        self._request = request
        self._codec = codec
        self._meta = self._noted(request.meta)
        values = {place: getattr(request, place[0])[place[1]] for place in shared}
        self._shared = {place: (one, self._noted_value(one)) for place, one in values.items()}

    def of_meta(self) -> tuple[dict[str, Any], list[str]] | None:
        """Return the values that are new since the last call, and the names that are gone.

        Raises:
            UnpicklableError: one of these values cannot be pickled.
        """
        before, now = self._meta, self._noted(self._request.meta)
        changed = {
            name: self._request.meta[name]
            for name, value in now.items()
            if name not in before or not _same(before[name], value)
        }
        gone = [name for name in before if name not in now]
        self._meta = now
        for name, value in changed.items():
            if type(now[name]) is _Unpicklable:
                self._codec.dump_result({"meta": {name: value}})
        return (changed, gone) if changed or gone else None

    def of_shared(self) -> list[tuple[str, str]]:
        """Return where it has changed what others have, too."""
        return [
            place
            for place, (value, before) in self._shared.items()
            if not _same(before, self._noted_value(value))
        ]

    def _noted(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return immutable values themselves, and others as bytes."""
        return {name: self._noted_value(value) for name, value in values.items()}

    def _noted_value(self, value: Any) -> Any:
        if is_immutable(value):
            return value
        try:
            return self._codec.dump(value)
        except UnpicklableError:
            return _Unpicklable(id(value))


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
