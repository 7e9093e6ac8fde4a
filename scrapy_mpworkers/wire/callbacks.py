"""A callback of the spider on its way to a worker, and what comes back of it, part by part.

Both cross as plain tuples, since pickle would look up the class of each named tuple.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from scrapy.http import Response

from scrapy_mpworkers.errors import RemoteError, RemoteTraceback

#: Attributes that every response has, under the names of Scrapy 2.15 to 2.19.
_OF_EVERY_RESPONSE = frozenset(
    {
        *("_headers", "_body", "_url", "_flags", "_encoding"),
        *("status", "request", "certificate", "ip_address", "protocol"),
    }
)
_BY_NAME = (type, FunctionType, MethodType, ModuleType)
#: Where a response keeps the encoding that it has detected (2.15 to 2.19).
_DETECTED = "_cached_benc"


class SentException(NamedTuple):
    """The exception of a failure: class, arguments and attributes; what Python printed of it.

    ``frames``: where it was raised, by which an errback's failure prints its traceback.
    """

    cls: type[Exception]
    args: tuple[Any, ...]
    attributes: dict[str, Any]
    trace: str
    frames: list[tuple[str, str, int]]


class CallbackTask(NamedTuple):
    """A callback, and what it is called with.

    Attributes:
        name: of the spider's method.
        request: what the spider had asked for.
        response: what has come, if it is no failure.
        failure: what has come instead, for an errback.
        shared: where the request has something that others have, too.
    """

    name: str
    request: Any
    response: Response | None
    failure: SentException | None
    shared: tuple[tuple[str, str], ...]


class How:
    """How a callback has ended. Plain numbers, as pickle looks up enums."""

    GOES_ON = 0  #: it has not
    DONE = 1  #: it has yielded all
    REFUSED = 2  #: it raised when it was called
    FAILED = 3  #: it raised after that, behind its results
    PASSED_ON = 4  #: as REFUSED, by an errback: with the failure that it was given
    AT_HOME = 5  #: it must run in Scrapy's process instead
    SHARED = 6  #: likewise, as it changes what others have, too


class Part(NamedTuple):
    """Some results of a callback, in their order.

    Attributes:
        results: each in a frame of its own.
        meta: what is new in the request's ``meta`` since the last part, and the names that have
            gone from there; ``None``: nothing.
        how: how it has ended.
        why: what it raised, as ``pack_exception`` packs it; ``None``: the failure that it was
            given. If it must run at home, the reason; or where it has what others have.
    """

    results: tuple[bytes, ...]
    meta: tuple[dict[str, Any], list[str]] | None = None
    how: int = How.GOES_ON
    why: Any = None


as_task = partial(tuple.__new__, CallbackTask)
as_part = partial(tuple.__new__, Part)


class Progress:
    """Which results of a callback Scrapy's process has, in case that it runs again.

    Attributes:
        count: how many.
    """

    def __init__(self) -> None:
        self.count = 0
        self._digest = blake2b(digest_size=16)

    def add(self, result: bytes) -> None:
        """Count a result, by its frame."""
        self.count += 1
        self._digest.update(result)

    def packed(self) -> bytes:
        """Return it in a form that :meth:`fits` compares."""
        return self.count.to_bytes(8, "big") + self._digest.digest()

    def fits(self, earlier: bytes) -> bool:
        """Return whether the same results have come as in an earlier run, which had so many."""
        return self.packed() == earlier


def count_of(progress: bytes) -> int:
    """Return how many results an earlier run had, from what :meth:`Progress.packed` returned."""
    return int.from_bytes(progress[:8], "big")


def is_like_its_copy(value: Any) -> bool:
    """Return whether a copy of *value* is as good as *value* itself: it is immutable, or it crosses
    by name."""
    cls = type(value)  # isinstance() would ask a lazy proxy, which makes its object then
    if issubclass(cls, (tuple, frozenset)):
        return all(map(is_like_its_copy, value))
    # By convention, what can be compared and hashed is immutable: dates, paths, decimals.
    own_hash: Any = cls.__hash__
    return own_hash not in (None, object.__hash__) or issubclass(cls, _BY_NAME) or value is None


def method_name(spider: Any, callback: Any) -> str | None:
    """Return under which name *spider* has *callback* as a method; ``None``: it is none of them.

    Its own ``__name__`` says it, but not behind a decorator that hides it, of a private method, or
    of one that a subclass has replaced.
    """
    if getattr(callback, "__self__", None) is not spider or not isinstance(callback, MethodType):
        return None
    cls, function = type(spider), callback.__func__
    name = getattr(function, "__name__", "")
    if getattr(cls, name, None) is function:
        return name
    found = (n for base in cls.__mro__ for n, own in list(vars(base).items()) if own is function)
    return next((n for n in found if getattr(cls, n, None) is function), None)


def reduced_method(method: MethodType) -> Any:
    """Return how a method of the spider crosses: by its name, as the other side has a spider."""
    name = method_name(method.__self__, method)
    if name is not None:
        return getattr, (method.__self__, name)
    return MethodType, (method.__func__, method.__self__)  # of a base, as super() gives it


def own_attributes(response: Response) -> dict[str, Any]:
    """Return what a class of the user, or a middleware, has set on a response; and the encoding, if
    that has been detected already, as it takes milliseconds."""
    attributes = getattr(response, "__dict__", {})
    own = {
        name: value
        for name, value in attributes.items()
        if name not in _OF_EVERY_RESPONSE and not name.startswith("_cached_")
    }
    detected = getattr(response, _DETECTED, None)
    # ASCII is what Scrapy falls back to as well, and then decodes in another way.
    return own if detected in (None, "ascii") else own | {_DETECTED: detected}


def made_exception(sent: SentException) -> Exception:
    """Make the exception of a failure again, without its ``__init__``."""
    cls, args, attributes, trace, _ = sent
    try:
        error = cls.__new__(cls, *args)
        error.args = args
        error.__dict__.update(attributes)
    except Exception:  # a class of the user
        error = RemoteError(*args)
    error.__cause__ = RemoteTraceback(trace)
    return error
