"""Kills worker processes, and all that they have started.

Whoever decides to kill one calls ``ProcessHandle.kill_for``, which ends here.
"""

from __future__ import annotations

import contextlib
import os


def signal_group(pid: int, signum: int, has_ended: bool) -> None:
    """Signal a worker and all that it has started; it *has_ended* if somebody has collected it."""
    if has_ended and is_there(pid):
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


def is_there(pid: int) -> bool:
    """Return whether a process has this number, dead and uncollected ones included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True
