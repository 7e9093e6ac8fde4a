"""Texts of the user's objects that can be written, whatever they hold and whatever they raise."""

from __future__ import annotations

import re
import traceback
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def ascii_safe(text: str) -> str:
    """*text* in printable ASCII on one line; all else as a backslash and its number."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)


def writable(text: str) -> str:
    """*text* as UTF-8 can have it: it has no word for half of a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """What *error* says. Its class may be the user's, and fail at that."""
    try:
        return str(error)
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def repr_of(value: Any) -> str:
    """The ``repr`` of *value*, without what cannot be printed."""
    try:
        text = repr(value)
        return text if text.isprintable() else ascii_safe(text)
    except BaseException as error:
        return f"<its __repr__ raised {type(error).__name__}>"


def named(error: BaseException) -> str:
    """*error* by its class, with what it says."""
    return f"{type(error).__name__}: {text_of(error)}"


def formatted(error: BaseException) -> str:
    """*error* with its traceback, as Python prints it."""
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:
        return f"{type(error).__qualname__}: {text_of(error)} (its traceback cannot be formatted)\n"
