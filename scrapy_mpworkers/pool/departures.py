"""How a crawl leaves a pool that goes on for others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf

from scrapy_mpworkers.pool.awake import Awake
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.membership import Members, Membership
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

logger = logging.getLogger(__name__)


class Departures:
    """Has consumers closed, and sees to it that no worker stays stuck with what is left.

    Args:
        members: of the pool.
        lanes: the supervisor's, as they are at the moment.
        loop: the pool's.
        awake: counts the time.
    """

    def __init__(
        self, members: Members, handles: Callable[[], list[ProcessHandle]], loop: Loop, awake: Awake
    ) -> None:
        self._awake = awake
        self._members = members
        self._handles = handles
        self._loop = loop

    def begin(self, member: Membership, timeout: float, left: Callable[[], None]) -> None:
        """Have the consumers of a crawl closed; call *left* then, or after *timeout* seconds."""
        crawl = member.crawl
        self._members.leaving[crawl] = member
        member.left = left
        handles = [handle for handle in self._handles() if handle.has_of(crawl)]
        if not member.is_hasty:
            member.awaited = {handle for handle in handles if crawl in handle.open_for}
        for handle in handles:
            if not handle.closing:
                handle.dismiss(crawl)
        self._see_off_in(timeout, member, timeout)
        self._loop.call_soon(lambda: self._proceed(member))

    def closed_in(self, handle: ProcessHandle, member: Membership) -> None:
        """Nothing of a crawl has to be waited for in *lane* any more."""
        if member.crawl in self._members.leaving:
            member.awaited.discard(handle)
            self._proceed(member)

    def kill_abandoned(self) -> None:
        """End workers that are at a task that was given up."""
        for handle in self._handles():
            if self._is_at_abandoned_task(handle):
                logger.warning(
                    "Worker %s is at a task that was given up, and is killed", handle.title
                )
                handle.kill_for_good()

    def _proceed(self, member: Membership) -> None:
        if not member.awaited and member.left is not None:
            left, member.left = member.left, None
            left()
        is_alive = bool(self._members.present)  # else it ends soon, and all its figures count
        if is_alive and not any(handle.has_of(member.crawl) for handle in self._handles()):
            self._members.leaving.pop(member.crawl, None)

    def _see_off(self, member: Membership, timeout: float) -> None:
        """The time is up. The crawl goes; what it has left is looked after until it is gone.

        A worker may be busy with others for long before it gets there.
        """
        if member.crawl not in self._members.leaving:
            return
        member.awaited.clear()
        self._proceed(member)
        self.kill_abandoned()
        waits = [self._seconds_left(handle, member.crawl, timeout) for handle in self._handles()]
        again = min([timeout, *waits])
        self._see_off_in(max(again, 0.05), member, timeout)

    def _see_off_in(self, seconds: float, member: Membership, timeout: float) -> None:
        see_off = partial(self._see_off, member, timeout)
        self._awake.later(seconds, see_off, self._loop.call_later)

    def _seconds_left(self, handle: ProcessHandle, crawl: int, timeout: float) -> float:
        """What a worker has left for opening or closing the consumers of *crawl*."""
        turn = handle.turn()
        if turn is None or turn.crawl != crawl:
            return inf
        left = timeout - self._awake.seconds_since(turn.started)
        if left > 0:
            return left
        logger.warning("Worker %s did not close in time and is killed", handle.title)
        handle.kill_for_good()
        return inf

    def _is_at_abandoned_task(self, handle: ProcessHandle) -> bool:
        running = handle.running()
        return running is not None and not self._members.want(running, handle)
