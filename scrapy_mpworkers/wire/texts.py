"""Texts of the user's objects that can be written, whatever they hold and whatever they raise."""

from __future__ import annotations

import re
import traceback
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def ascii_safe(text: str) -> str:
    """Return *text* in printable ASCII on one line; all else becomes a backslash and its number."""
    if text.isascii() and text.isprintable():  # as nearly all is, and is asked for all the time
        return text
    plain = text.encode("ascii", "backslashreplace").decode()
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", plain)


def writable(text: str) -> str:
    """Return *text* with lone surrogates escaped, since UTF-8 cannot hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(value: object) -> str:
    """Return the text of *value*, even if its class is the user's and fails to give one."""
    try:
        return str(value)
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def plain_text(value: object) -> str:
    """Return the text of *value* as a ``str``, which crosses whatever class of the user's it had:
    an enum's member of that class, for one, has its value as its text."""
    return str.__str__(value if issubclass(type(value), str) else text_of(value))


def repr_of(value: Any) -> str:
    """Return the ``repr`` of *value*, without what cannot be printed."""
    try:
        text = repr(value)
        return text if text.isprintable() else ascii_safe(text)
    except BaseException as error:
        return f"<its __repr__ raised {type(error).__name__}>"


def named(error: BaseException) -> str:
    """Return the class and the text of *error*."""
    return f"{type(error).__name__}: {text_of(error)}"


def formatted(error: BaseException) -> str:
    """Return *error* with its traceback, as Python prints it."""
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:
        return f"{type(error).__qualname__}: {text_of(error)} (its traceback cannot be formatted)\n"
