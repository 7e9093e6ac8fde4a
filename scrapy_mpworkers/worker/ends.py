"""A worker's ends of its pipes. Pipelines share the process and can break them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from scrapy_mpworkers.worker.process import end_group

#: Ends the worker, for an error that keeps it from its work.
CutOff = Callable[[BaseException], NoReturn]


class OwnEnd:
    """Knows whether a file descriptor is still the end of the pipe that it was.

    After ``os.closerange`` of a pipeline, the next file that it opens may have the same number: a
    report would be written into the user's file, and the user's file would be read for an order.

    Args:
        fd: the descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._identity = self._look()

    def check(self) -> None:
        """Look once more.

        Raises:
            OSError: the descriptor is closed, or leads to something else.
        """
        if self._look() != self._identity:
            raise OSError(errno.EBADF, "a pipe of this worker has been replaced")

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino


def cut_off(error: BaseException) -> NoReturn:
    """End a worker that can hear or report nothing any more, at once.

    Not as an interpreter ends, which would wait for threads of pipelines.
    """
    if isinstance(error, (BrokenPipeError, EOFError)):
        end_group()  # Scrapy's process is gone, and what pipelines have started goes, too
    with contextlib.suppress(Exception):
        traceback.print_exception(type(error), error, error.__traceback__)
        print(
            "This worker is cut off from Scrapy and ends. Does a pipeline close files that are "
            "not its own (os.closerange), or limit its process (resource.setrlimit)?",
            file=sys.stderr,
            flush=True,
        )
    os._exit(1)
