"""Describes a setting: what a crawl needs of it, and what people read about it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import field, fields
from pprint import pformat
from typing import Any, NamedTuple

from scrapy.settings import BaseSettings

PREFIX = "MPWORKERS_"


class Setting(NamedTuple):
    """A setting: its name without ``MPWORKERS_``, its default, and the check that a value passes.

    The check returns the value to use, or raises a ``validators.Invalid`` with what is accepted.
    What people read of it may be left out: the type that they write, and what it does, in markdown.
    """

    name: str
    default: Any
    check: Callable[[Any], Any]
    type: str = ""
    meaning: str = ""

    @property
    def title(self) -> str:
        """The name as a user writes it in a settings module."""
        return PREFIX + self.name

    @property
    def key(self) -> str:
        """The name as a user writes it in a level."""
        return self.name.lower()


def setting(default: Any, check: Callable[[Any], Any], type: str, meaning: str) -> Any:
    """Return the field of a dataclass that is a setting of its name."""
    return field(metadata={"setting": (default, check, type, meaning)})


def settings_of(cls: type) -> dict[str, Setting]:
    """Return the settings among the fields of *cls*, by the names of these fields."""
    rows = [(one.name, one.metadata["setting"]) for one in fields(cls) if one.metadata]
    return {name: Setting(name.upper(), *row) for name, row in rows}


def text_of(value: Any, width: int = sys.maxsize) -> str:
    """Return *value* as code, without the password that an address in it may hold."""
    plain = value.copy_to_dict() if isinstance(value, BaseSettings) else value
    try:
        text = pformat(plain, width=width, sort_dicts=False) if width < sys.maxsize else repr(plain)
    except Exception:  # an object of the user's, or a number of more digits than Python writes
        text = f"<{type(value).__name__} that cannot be shown>"
    return re.sub(r"//[^/\s'\"]*@", "//…@", text)
