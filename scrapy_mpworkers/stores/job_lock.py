"""A lock gives one crawl at a time the journal: two would process each other's items.

The lock is the kernel's, on a file that says who has it. It ends with its process, however that
ends, so that a crawl which was killed can be resumed at once.
"""

from __future__ import annotations

import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import JournalError
from scrapy_mpworkers.stores.private_files import names, open_private, try_to_lock

FILE_NAME = "mpworkers-journal.lock"


class JobLock:
    """Keeps other crawls from the journal in *folder*, those of this process too.

    Args:
        folder: the ``JOBDIR``.
        crawler: of the crawl that has the lock, until it is no longer crawling. A crawl that failed
            while it was built has not always said so.

    Raises:
        JournalError: another crawl has it.
        OSError: it cannot be had at all.
    """

    _finalizer: weakref.finalize[..., Any]

    # The kernel's lock is one for the whole process.
    _here: ClassVar[weakref.WeakValueDictionary[Path, JobLock]] = weakref.WeakValueDictionary()

    def __init__(self, folder: Path, crawler: Crawler) -> None:
        self._path = folder.resolve() / FILE_NAME
        self._crawler = crawler
        self._pid = os.getpid()  # a forked child inherits this object, but not the lock
        other = self._here.get(self._path)
        if other is not None and other._pid == self._pid and other._finalizer.alive:
            # Scrapy says of a crawl that failed while it was built that it is not crawling.
            if other._crawler.crawling:
                raise _in_use(folder, "this process")
            other.release()
        descriptor = self._locked(folder)
        self._here[self._path] = self
        # Also when nobody has the journal any more, and at the end of the process.
        self._finalizer = weakref.finalize(self, _release, self._path, descriptor, self._pid)

    def release(self) -> None:
        """Let other crawls have it. More than once is no harm."""
        self._finalizer()

    def _locked(self, folder: Path) -> int:
        while True:
            descriptor = open_private(self._path)
            if not try_to_lock(descriptor):
                holder = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                raise _in_use(folder, holder or "another process")
            if names(self._path, descriptor):
                with suppress(OSError):  # a full disk: the lock is there all the same
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"pid {self._pid} on {socket.gethostname()}\n".encode())
                return descriptor
            os.close(descriptor)  # whoever had it has removed it meanwhile


def _release(path: Path, descriptor: int, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child, which has inherited this and must leave the file alone
    try:
        with suppress(OSError):  # a folder that has become read-only: the file may stay
            if names(path, descriptor):
                path.unlink()
    finally:
        os.close(descriptor)


def _in_use(folder: Path, holder: str) -> JournalError:
    return JournalError(
        f"another crawl ({holder}) is using the journal in JOBDIR {str(folder)!r}; wait for its "
        "end, or give each crawl a JOBDIR of its own"
    )
