"""What the inspection of a pipeline can find."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What was seen. ``CACHE`` is harmless, and kept so that nothing else warns of it."""

    STATE = "state"  #: remembers from item to item
    BUFFER = "buffer"  #: holds items until it is closed
    FILE = "file"  #: keeps a file open for writing, or appends to one
    WAITS = "waits"  #: mostly waits for the network
    STORES = "stores"  #: mostly waits for a database or another store
    LEFT = "left"  #: fills what nothing of the pipeline reads, and its process does not give back
    CACHE = "cache"  #: keeps what it could compute again


class Finding(NamedTuple):
    """One thing seen in a class.

    ``names``: attributes, globals or calls, sorted; ``truncates``: of a file, whether opening it
    empties it; ``is_async``: of waiting, whether it leaves the loop free.
    """

    kind: Kind
    names: tuple[str, ...]
    truncates: bool = False
    is_async: bool = False


class Failure(NamedTuple):
    """What would not work in a worker: what is used, and why it fails there.

    ``where``: file and line; ``instead``: what does the same in a worker, if anything does.
    """

    what: str
    why: str
    where: str = ""
    instead: str = ""


class Report(NamedTuple):
    """All that was found in a class.

    ``known``: attributes whose changes the source tells; ``touches``: what it uses of crawler and
    spider; ``unread``: classes without source; ``error``: why it could not be inspected, if so.
    """

    cls: type
    findings: tuple[Finding, ...]
    known: frozenset[str]
    touches: tuple[str, ...]
    failures: tuple[Failure, ...]
    unread: tuple[str, ...]
    error: str = ""

    def of(self, *kinds: Kind) -> list[Finding]:
        """The findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]
