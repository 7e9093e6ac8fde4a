"""Reads the names of libraries by which the inspection tells what a call does."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from configparser import ConfigParser
from functools import lru_cache
from typing import NamedTuple


class Opener(NamedTuple):
    """Says which arguments of a call that opens a file are its mode, and an object in its place."""

    mode: int | None  #: ``None``: it has none, and writes
    fileobj: int | None = None


class KnownModules:
    """Holds the names, as ``known_modules.ini`` lists them."""

    def __init__(self, data: ConfigParser) -> None:
        self.names = {key: tuple(value.split()) for key, value in data["names"].items()}
        openers = _by_name(data["openers"])
        self.openers = {
            call: Opener(*(None if place == "-" else int(place) for place in places.split()))
            for call, places in openers.items()
        }
        self.effects = _by_name(data["effects"])  #: call → what it does, in words
        #: Beginning of an object's origin, colon, method → what it does.
        self.effects_of_methods = _by_name(data["effects of methods"])
        why, instead = data["why"], data["instead"]
        reasons = {path: words.split() for path, words in data["reactor"].items()}
        #: Paths that need no reactor, although the modules that they are in do.
        self.without_reactor = tuple(data["without reactor"]["values"].split())
        #: Path → why it fails in a worker, and what does the same there.
        self.reactor = {path: (why[one], instead[other]) for path, (one, other) in reasons.items()}


def _by_name(section: Mapping[str, str]) -> dict[str, str]:
    """Map each name in the lists of a section to the key of its list."""
    return {name: key for key, names in section.items() for name in names.split()}


@lru_cache(maxsize=1)
def known() -> KnownModules:
    """Read the names, once in a process and not before a pipeline is inspected."""
    data = ConfigParser(delimiters=("=",), interpolation=None)
    data.optionxform = str  # type: ignore[assignment,method-assign]  # names are not lowered
    data.read_string((pkgutil.get_data(__package__, "known_modules.ini") or b"").decode())
    return KnownModules(data)
