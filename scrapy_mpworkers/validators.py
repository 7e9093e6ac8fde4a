"""Checks of settings: each takes a value as the user wrote it, and returns the value to use.

Raises:
    Invalid: the value cannot be used.
"""

from __future__ import annotations

import json
import multiprocessing
import numbers
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import isroutine
from pathlib import Path
from typing import Any

from scrapy.settings import BaseSettings

from scrapy_mpworkers.wire.entries import MAINS, Pipelines, import_path, is_named

#: Words with which stats under ``mpworkers/`` begin, so that no level may have such a name.
_TAKEN = frozenset({"items", "calls", "callbacks", "workers", "bytes", "time", "pool"})

#: More processes than any machine has use for. Without a bound, a slip of the finger (an item's
#: number of bytes, say) would take all memory before the first of them fails to start.
_MOST_WORKERS = 10_000


class Invalid(Exception):
    """The text of this error is what would be accepted."""


def _number(
    kind: type[int] | type[float], accepted: str, fits: Callable[[Any], bool]
) -> Callable[[Any], Any]:
    """Return a check for numbers of *kind*, which a command line gives as text."""

    def check(value: Any) -> Any:
        try:
            number = kind(value) if isinstance(value, str) else value
        except ValueError:
            raise Invalid(accepted) from None
        if isinstance(number, bool) or not isinstance(number, (int, kind)) or not fits(number):
            raise Invalid(accepted)
        if kind is int and number > sys.maxsize:
            # More would not fit into a float, which times and rates are.
            raise Invalid(f"{accepted}, up to {sys.maxsize}")
        return kind(number)

    return check


nice = _number(int, "a whole number from 0 to 19", lambda number: 0 <= number <= 19)
count = _number(int, "a whole number from 0", lambda number: number >= 0)
positive = _number(int, "a whole number from 1", lambda number: number >= 1)
seconds = _number(
    float, "a number of seconds above 0 and below 1e9", lambda number: 0 < number < 1e9
)
seconds_or_off = _number(
    float, "a number of seconds below 1e9, or 0 for no limit", lambda number: 0 <= number < 1e9
)
_number_of_workers = _number(
    int,
    f'"auto", or a whole number from 0 to {_MOST_WORKERS} (0: run in this process)',
    lambda number: 0 <= number <= _MOST_WORKERS,
)


def workers(value: Any) -> int | None:
    is_auto = isinstance(value, str) and value == "auto"
    return None if is_auto else _number_of_workers(value)


def flag(value: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    written = _word(value)
    if written not in known:
        raise Invalid("True or False")
    return known[written]


def _word(value: Any) -> str:
    """Return *value* as text in small letters, or a word that no check accepts."""
    try:
        return str(value).lower()
    except Exception:  # an object of the user's, or a number of more digits than Python writes
        return "?"


def path(value: Any) -> Path | None:
    if value is None:
        return None
    if not is_path(value):
        raise Invalid("None or the path of a file")
    # At once absolute: a crawl may change its working directory.
    return Path(value).absolute()


def is_path(value: Any) -> bool:
    """Return whether the system could have a file under *value*; it would refuse others late."""
    if not isinstance(value, (str, os.PathLike)):
        return False
    text = os.fspath(value)
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def report(value: Any) -> Path | None:
    if value is None:
        return None
    file = path(value) if is_path(value) else None
    # (Not Path.is_dir, which raises an error if the name is too long.)
    if file is None or not os.access(file.parent, os.W_OK) or os.path.isdir(file):
        raise Invalid("None or the path of a file in a folder that is there and can be written to")
    return file


@cache  # to look into all that is installed takes 10 ms, and a crawl asks three times
def backends() -> Mapping[str, EntryPoint]:
    """Return what makes a backend, by the name under which it is registered."""
    return {found.name: found for found in entry_points(group="scrapy_mpworkers.backends")}


def declared_by_backends() -> Iterator[tuple[str, Any]]:
    """Import all backends, which few crawls need, and yield their names with each setting that they
    declare, a ``settings.Setting``."""
    for name, found in backends().items():
        with suppress(Exception):  # one that cannot be imported says why to whoever chooses it
            yield from [(name, row) for row in getattr(found.load(), "settings", ())]


def backend(value: Any) -> str:
    if not isinstance(value, str) or value not in backends():
        raise Invalid(f"one of those that are installed: {', '.join(sorted(backends()))}")
    return str(value)


def start_method(value: Any) -> str:
    available = multiprocessing.get_all_start_methods()
    if value is None:
        return "forkserver" if "forkserver" in available else "spawn"
    if value not in available:
        raise Invalid(f"None or one of {', '.join(sorted(available))} on this system")
    return str(value)


def initializer(value: Any) -> str | None:
    if value is None:
        return None
    path = import_path(value) if isroutine(value) else value
    is_path = isinstance(path, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", path)
    if not is_path or path.partition(".")[0] in MAINS:
        raise Invalid(
            "None, or the import path of a function without arguments, such as "
            "'myproject.workers.begin' (workers cannot import from __main__)"
        )
    return str(path)


def callbacks(value: Any) -> tuple[str, ...] | bool:
    """Return names of callbacks, or ``True`` for all."""
    if isinstance(value, str):
        written = value.strip("[]() ").split(",")
        value = [one for word in written if (one := word.strip(" '\""))]
    if value in (None, False) or value == ["False"]:
        return ()
    if value is True or value == ["True"]:
        return True
    is_list = isinstance(value, (list, tuple, set, frozenset))
    if not is_list or not all(
        isinstance(one, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", one) for one in value
    ):
        raise Invalid(
            "True (every callback that can), or a list of names of callbacks, such as "
            "['parse_article', 'myproject.spiders.NewsSpider.parse']"
        )
    return tuple(value)


def page(value: Any) -> tuple[int, int] | None:
    """Return the first and the last port to try, 0 for any that is free; ``None``: no page."""
    if _word(value) in ("false", "0", "", "none"):
        return None
    ports = (0, 0) if _word(value) in ("true", "1") else _ports(value)
    if missing := [name for name in ("h11", "platformdirs") if find_spec(name) is None]:
        raise Invalid(
            f"False while {' and '.join(missing)} cannot be imported: "
            "pip install 'scrapy-mpworkers[page]'"
        )
    return ports


def _ports(value: Any) -> tuple[int, int]:
    """Read what ``TELNETCONSOLE_PORT`` may be, and a single number."""
    written = value.strip("[]() ").split(",") if isinstance(value, str) else value
    listed = list(written) if isinstance(written, (list, tuple)) else [written]
    try:
        ports = [int(port) if isinstance(port, str) else port for port in listed] or [0]
    except ValueError:
        ports = []
    is_port = [type(port) is int and 0 <= port <= 65535 for port in ports]
    if len(ports) not in (1, 2) or not all(is_port) or ports[0] > ports[-1]:
        raise Invalid("False, True (any free port), a port, or the first and the last of a range")
    return ports[0], ports[-1]


def host(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]+", value):
        raise Invalid("an address or a name of this machine, such as '127.0.0.1' or '::1'")
    return value


def or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        try:
            return None if value is None else check(value)
        except Invalid as accepted:
            raise Invalid(f"None (automatic), or {accepted}") from None

    return checked


def pipelines(value: Any) -> Pipelines:
    accepted = (
        "a dict like ITEM_PIPELINES: import paths, classes or functions as keys, "
        "numbers (or None to disable one) as values"
    )
    try:
        entries = dict(BaseSettings({"it": value}).getdict("it"))
    except (ValueError, TypeError):
        raise Invalid(accepted) from None
    for entry, order in entries.items():
        is_entry = isinstance(entry, str) or callable(entry)
        # (Not a number, nan, is not even equal to itself, and would be sorted anywhere.)
        is_real = not isinstance(order, bool) and isinstance(order, numbers.Real)
        is_order = is_real and order == order
        if not is_entry or not (order is None or is_order):
            raise Invalid(accepted)
    enabled = [(entry, order) for entry, order in entries.items() if order is not None]
    paths = [import_path(entry) for entry, _ in enabled if is_named(entry)]
    if len(set(paths)) != len(paths):
        raise Invalid("without a pipeline that is listed twice")
    return tuple(sorted(enabled, key=lambda pair: pair[1]))


def key(value: Any) -> Any:
    is_name = isinstance(value, str) and value
    if value is None or is_name or callable(value):
        return value
    raise Invalid("None, the name of a field, or a function item -> key or its import path")


def levels(value: Any) -> Sequence[Mapping[str, Any]]:
    accepted = 'a list of levels, each a dict with at least "name" and "pipelines"'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Invalid(accepted) from None
    is_list = isinstance(value, (list, tuple))
    if value is not None and not (is_list and all(isinstance(one, Mapping) for one in value)):
        raise Invalid(accepted)
    return value or ()


def level_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w-]*", value) or value in _TAKEN:
        taken = ", ".join(sorted(_TAKEN))
        raise Invalid(f"a word of letters, digits, - and _, and none of {taken}")
    return value
