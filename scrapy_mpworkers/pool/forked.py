"""Under fork a worker begins as a copy of Scrapy's process: what it lets go of before it works."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from scrapy_mpworkers.wire.arena import Arena
from scrapy_mpworkers.worker import main as worker_side

if TYPE_CHECKING:
    from scrapy_mpworkers.pool.worker_handle import ProcessHandle


class Inherited(NamedTuple):
    """What a forked worker has no use for."""

    connections: list[Connection]
    fds: list[int]
    arenas: list[Arena]


def inherited_from(siblings: Iterable[ProcessHandle], own: ProcessHandle) -> Inherited:
    """What a worker of *own* has inherited of its lane and of its siblings."""
    connections, fds, arenas = [own.orders.writer, own.reports], [], []
    for handle in siblings:
        if hasattr(handle, "reports"):
            connections += [handle.orders.writer, handle.reports]
            arenas += [handle.orders.arena] if handle.orders.arena is not None else []
    if own.orders.arena is not None:
        fds.append(own.orders.arena.fd)
    return Inherited(connections, fds, arenas)


def forked_main(inherited: Inherited, *arguments: Any) -> None:
    """Close the ends of other lanes, or a dead sibling would never give EOF; then work."""
    connections, fds, arenas = inherited
    atexit._clear()  # what the parent has registered is the parent's
    # Until the setup says how to log: the parent's handlers are the parent's.
    logging.root.handlers.clear()
    for end in connections:
        end.close()
    for arena in arenas:
        arena.close()
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
    worker_side.main(*arguments)
