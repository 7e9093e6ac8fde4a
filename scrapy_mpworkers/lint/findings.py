"""Names what the inspection of a pipeline can find."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """Says what was seen. ``CACHE`` is harmless, and told so that nothing else warns of it."""

    STATE = "state"  #: remembers from item to item
    BUFFER = "buffer"  #: holds items until it is closed
    FILE = "file"  #: keeps a file open for writing, or appends to one
    WAITS = "waits"  #: mostly waits for the network
    STORES = "stores"  #: mostly waits for a database or another store
    LOST = "lost"  #: fills what nothing of the pipeline reads, and its process does not give back
    CACHE = "cache"  #: keeps what it could compute again


class Finding(NamedTuple):
    """Describes one thing seen in a class.

    Attributes:
        names: attributes, globals or calls, sorted.
        truncates: of a file, whether opening it empties it.
        is_async: of waiting, whether it leaves the loop free.
    """

    kind: Kind
    names: tuple[str, ...]
    truncates: bool = False
    is_async: bool = False


class Failure(NamedTuple):
    """Describes what is used and would not work in a worker, and why it fails there.

    Attributes:
        where: file and line.
        instead: what does the same in a worker, if anything does.
    """

    what: str
    why: str
    where: str = ""
    instead: str = ""


class Report(NamedTuple):
    """Holds all that was found in a class.

    Attributes:
        known: attributes whose changes the source tells.
        capabilities: what it uses of crawler and spider, sorted.
        unread: classes without source.
        error: why it could not be inspected, if so.
    """

    cls: type
    findings: tuple[Finding, ...]
    known: frozenset[str]
    capabilities: tuple[str, ...]
    failures: tuple[Failure, ...]
    unread: tuple[str, ...]
    error: str = ""

    def of(self, *kinds: Kind) -> list[Finding]:
        """List the findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]
