"""Loaded from its path by a script; its folder is on nobody's sys.path."""

import dataclasses
import enum


class Kind(enum.Enum):
    NEW = "new"
    OLD = "old"


@dataclasses.dataclass
class Record:
    n: int
    a: int
    kind: Kind = Kind.NEW


def helper(n):
    return n * 10


class Plugged:
    """A pipeline."""

    def process_item(self, item):
        it = item["it"]
        if isinstance(it, Record):
            it.a, it.kind = helper(it.n), Kind.OLD
        return item


def key_of(item):
    return str(item["n"] % 2)
