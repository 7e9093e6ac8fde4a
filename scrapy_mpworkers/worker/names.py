"""Names the processes of this package, so that ``ps`` and ``top`` tell which is which."""

from __future__ import annotations

import contextlib
import multiprocessing
import os


def name_worker() -> None:
    """Name this process after its worker: number first, as ``top`` shows few characters."""
    level, _, number = multiprocessing.current_process().name.rpartition("-")
    # Workers of a level without a name are called "worker".
    title, short = (f" ({level})", f" {level}") if level != "worker" else ("", "")
    name_process(f"worker-{number}{title}", f"mpw-{number}{short}")


def name_process(title: str, short: str) -> None:
    """Give this process a title, if setproctitle is installed, and a name of 15 bytes on Linux."""
    has_choice = "SPT_NOENV" in os.environ
    # Or it writes over what /proc/PID/environ shows; the title has the room of the command line.
    os.environ.setdefault("SPT_NOENV", "1")
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(f"scrapy-mpworkers: {title}")
    if not has_choice:
        del os.environ["SPT_NOENV"]
    # Behind it: setproctitle would have the name be the first bytes of the title, the same in all.
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as name:
        name.write(short.encode()[:15])
