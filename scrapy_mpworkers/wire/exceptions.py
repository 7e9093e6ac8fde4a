"""Exceptions are packed as data, and made again without their ``__init__``.

Pickle would call ``__init__``: a ``DropItem`` subclass with an extra argument pickles fine and
blows up when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from scrapy.exceptions import DropItem

from scrapy_mpworkers.errors import RemoteError, RemoteTraceback
from scrapy_mpworkers.wire.changes import HEAP_TYPE
from scrapy_mpworkers.wire.texts import formatted, repr_of, text_of


class RemoteDropItem(DropItem):
    """Stands for a ``DropItem`` whose own type could not be rebuilt here."""


class Failure(NamedTuple):
    """An exception as data.

    ``pickled`` is the exception as it is, for builtin types that keep state of their own
    (``OSError``, ``UnicodeDecodeError``), otherwise a tuple of class, args and ``__dict__``;
    ``None``: it can only have a stand-in.
    """

    pickled: bytes | None
    type_name: str
    text: str
    is_drop: bool
    log_level: Any
    trace: str


def pack_exception(error: BaseException, dump: Callable[[Any], bytes]) -> Failure:
    """Turn *error* into data, in the worker."""
    is_drop = isinstance(error, DropItem)
    return Failure(
        pickled=_pickled(error, dump),
        type_name=f"{type(error).__module__}.{type(error).__qualname__}",
        text=text_of(error),
        is_drop=is_drop,
        log_level=_log_level(error, dump),
        # A drop is an outcome, not an accident: nobody prints its traceback.
        trace="" if is_drop else formatted(error),
    )


def _log_level(error: BaseException, dump: Callable[[Any], bytes]) -> Any:
    """Return the level that the user's class gives, unless it gives what cannot cross."""
    try:
        level = getattr(error, "log_level", None)
    except Exception:
        return None
    return level if can_cross(level, dump) else repr_of(level)


def unpack_exception(failure: Failure, load: Callable[[bytes], Any]) -> Exception:
    """Make the exception again, in the parent, with the worker's traceback as its cause."""
    error = _rebuilt(failure, load)
    if not isinstance(error, Exception):
        error = _stand_in(failure)
    if failure.trace:
        error.__cause__ = RemoteTraceback(failure.trace)
    return error


def _pickled(error: BaseException, dump: Callable[[Any], bytes]) -> bytes | None:
    # Only a plain Exception may be raised in Scrapy's process: SystemExit there ends the crawl.
    if not isinstance(error, Exception):
        return None
    try:
        if _has_own_state(type(error)):
            return dump(error)
        return dump((type(error), error.args, error.__dict__))
    except Exception:
        return _without_attributes(error, dump)


def _without_attributes(error: Exception, dump: Callable[[Any], bytes]) -> bytes | None:
    try:
        args = tuple(arg if can_cross(arg, dump) else repr(arg) for arg in error.args)
        kept = {name: one for name, one in error.__dict__.items() if can_cross(one, dump)}
        return dump((type(error), args, kept))
    except Exception:
        return None


def can_cross(value: Any, dump: Callable[[Any], bytes]) -> bool:
    """Return whether *value* can be pickled."""
    try:
        dump(value)
    except BaseException:  # classes of the user run their own code here
        return False
    return True


def _has_own_state(cls: type) -> bool:
    """Return whether the builtin type under *cls* keeps more than args and ``__dict__``."""
    own: Any = cls.__reduce__
    if own is not BaseException.__reduce__:
        return True  # it knows itself how to be pickled: pydantic's ValidationError, for one
    builtin = next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)
    return builtin.__basicsize__ != BaseException.__basicsize__


def _rebuilt(failure: Failure, load: Callable[[bytes], Any]) -> Exception | None:
    if failure.pickled is None:
        return None
    try:
        error = load(failure.pickled)
        if isinstance(error, tuple):
            cls, args, attributes = error
            error = cls.__new__(cls)
            error.args = args
            error.__dict__.update(attributes)
        return error if text_of(error) == failure.text else None
    except BaseException:  # code of the user: SystemExit would end the crawl
        return None


def _stand_in(failure: Failure) -> Exception:
    text = f"{failure.type_name}: {failure.text}"
    if not failure.is_drop:
        return RemoteError(text)
    drop = RemoteDropItem(failure.text)
    drop.log_level = failure.log_level
    return drop
