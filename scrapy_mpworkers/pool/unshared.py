"""File descriptors of ours that a process forked from this one must not keep.

A worker ends when its parent's end of a pipe is closed, and so does a fork server. With a copy of
that end in a child of the crawl, workers would outlive a killed crawl for as long as that lives.
"""

from __future__ import annotations

import contextlib
import os
from typing import Protocol


class HasFileno(Protocol):
    """A socket, or what stands for one; its number is below 0 once it is closed."""

    def fileno(self) -> int: ...


_unshared: set[int] = set()
_sockets: set[HasFileno] = set()


def keep(fd: int) -> int:
    """Have every process that is forked from now on close *fd* first."""
    _unshared.add(fd)
    return fd


def close(*fds: int) -> None:
    """Close what was kept."""
    # In this order: as soon as it is closed, its number may be that of another's file.
    _unshared.difference_update(fds)
    for fd in fds:
        os.close(fd)


def keep_socket(sock: HasFileno) -> None:
    """Have every process that is forked from now on let go of *sock*, which its owner closes."""
    _sockets.add(sock)


def forget_socket(sock: HasFileno) -> None:
    """Forget what has been closed."""
    _sockets.discard(sock)


def _close_in_child() -> None:
    for fd in _unshared:
        with contextlib.suppress(OSError):
            os.close(fd)
    _unshared.clear()
    if _sockets:
        # In their place, as the child's copies of the sockets' owners may close them once more.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for sock in _sockets:
            with contextlib.suppress(OSError):
                os.dup2(nowhere, sock.fileno(), inheritable=False)
        os.close(nowhere)
        _sockets.clear()


os.register_at_fork(after_in_child=_close_in_child)


class Pipes:
    """The two pipes between this process and one that is being started, all ends or none.

    As a context it closes the child's ends behind it, and ours too if the start has failed.

    Attributes:
        status_r, data_w: ours. When data_w is closed, the child knows that its parent has died.
        status_w, data_r: the child's.
    """

    def __init__(self) -> None:
        self.status_r, self.status_w = os.pipe()
        try:
            self.data_r, self.data_w = os.pipe()
        except OSError:
            os.close(self.status_r)
            os.close(self.status_w)
            raise
        keep(self.status_r)
        keep(self.data_w)
        self._theirs = [self.status_w, self.data_r]

    def give(self) -> None:
        """Close the child's ends here. With copies of them, its death would go unnoticed."""
        while self._theirs:
            os.close(self._theirs.pop())

    def send(self, data: bytes) -> None:
        with open(self.data_w, "wb", closefd=False) as pipe:
            pipe.write(data)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.give()
        if kind is not None:
            close(self.status_r, self.data_w)
