"""Signals to a worker and to all that it has started."""

from __future__ import annotations

import contextlib
import os


def signal_group(pid: int, signum: int, has_ended: bool) -> None:
    """Signal a worker and every process that it has started.

    Args:
        has_ended: whether the worker has been collected, by somebody else perhaps.
    """
    if has_ended and _is_there(pid):
        return  # its number is another's by now
    # By pid: Process.kill does nothing when the fork server is gone. The group does not exist
    # until the worker has made it, and lives on with what the worker has started: that long nobody
    # else can get its number.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(pid, signum)
        except ProcessLookupError:
            if not has_ended:
                os.kill(pid, signum)


def _is_there(pid: int) -> bool:
    """Whether a process has this number, anybody's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True
