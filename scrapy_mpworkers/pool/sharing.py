"""Lets several crawls share workers: tells each what is its own, and lets a crawl leave.

Everything here runs in the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf

from scrapy_mpworkers.pool.group_state import GroupState, Member
from scrapy_mpworkers.pool.interface import Death
from scrapy_mpworkers.pool.openings import Openings
from scrapy_mpworkers.pool.worker_handle import KilledFor, ProcessHandle
from scrapy_mpworkers.wire.messages import Closed, Opened, OpenFailed, Report

logger = logging.getLogger(__name__)


class Sharing:
    """Tells each crawl what is its own, and has the others take their turn."""

    def __init__(self, state: GroupState, openings: Openings) -> None:
        self._state = state
        self._openings = openings

    def admitted(self) -> None:
        self._openings.spread()

    # What workers do

    def heard(self, handle: ProcessHandle, report: Report) -> None:
        """Give a report to the crawl that it is for."""
        member = self._state.member(report.crawl)
        if self._state.is_shared:
            self._state.take_turns(member)
        if isinstance(report, Opened):
            self._openings.opened(handle, member)
            member.executor.opened(handle, report)
        elif isinstance(report, OpenFailed):
            self._openings.failed(handle, member)
            member.executor.open_failed(handle, report)
        elif isinstance(report, Closed):
            member.executor.closed(handle, report)
            self._is_closed_in(handle, member)

    def lost(self, handle: ProcessHandle, death: Death) -> bool:
        """Tell the crawls that a worker is gone.

        Returns:
            whether a crawl is to blame whose trouble is its own.
        """
        is_ones_own = self._openings.blames(handle, death.in_words) or self._is_of_one_task(death)
        for member in self._state.all_members():
            member.executor.handle_lost(handle, death)
            if member.crawl in handle.crawls.open:
                self._is_closed_in(handle, member)
            self._leave_behind(handle, member)
        self._state.loop.call_soon(self._openings.spread)  # when its replacement is there
        return is_ones_own and not self._state.is_ending

    def break_off(self, history: str, advice: str) -> None:
        """Tell all crawls that there are no workers any more, and why."""
        self._state.end()
        for member in self._state.sound:
            member.break_off(history, advice)

    def _is_of_one_task(self, death: Death) -> bool:
        """Return whether a task is to blame whose crawl is not the only one here.

        Its items are given up one by one, and the others, which may not have had a worker for long
        enough yet, go on.
        """
        is_known = death.charged is not None or death.begun is not None
        return is_known and len(self._state.sound) > 1

    def _is_closed_in(self, handle: ProcessHandle, member: Member) -> None:
        if handle.closed(member.crawl):
            member.executor.left(handle)
        others = (other for other in self._state.handles if other.place == handle.place)
        if not any(member.crawl in other.crawls.open for other in others):
            member.executor.not_ready(handle.place)
        self._leave_behind(handle, member)

    # How a crawl leaves workers that go on for others

    def leave(self, member: Member, timeout: float, on_left: Callable[[], None]) -> None:
        """Have a crawl's consumers closed; call *on_left* then, or after *timeout* seconds."""
        crawl = member.crawl
        handles = [handle for handle in self._state.handles if handle.crawls.has(crawl)]
        is_open = set() if member.is_hasty else {h for h in handles if crawl in h.crawls.open}
        member.await_close(is_open, on_left)
        for handle in handles:
            if not handle.is_closing:
                handle.dismiss(crawl)
        self._state.later(timeout, partial(self._see_off, member, timeout))
        self._state.loop.call_soon(partial(self._proceed, member))

    def kill_abandoned(self) -> None:
        """End workers that are at a task that was given up."""
        for handle in self._state.handles:
            running = handle.running()
            if running is not None and not self._state.is_wanted(running, handle):
                logger.warning(
                    "Worker %s is at a task that was given up, and is killed", handle.title
                )
                handle.kill_for(KilledFor.ABANDONED)

    def _leave_behind(self, handle: ProcessHandle, member: Member) -> None:
        """Wait for nothing of a leaving crawl in this worker any more."""
        if member.crawl in self._state.leaving:
            member.awaited.discard(handle)
            self._proceed(member)

    def _proceed(self, member: Member) -> None:
        member.leave_if_closed()
        is_alive = bool(self._state.present)  # else it ends soon, and all its metrics count
        if is_alive and not any(handle.crawls.has(member.crawl) for handle in self._state.handles):
            self._state.leaving.pop(member.crawl, None)

    def _see_off(self, member: Member, timeout: float) -> None:
        """Let a crawl go whose time is up, and look after what it has left until it is gone.

        A worker may be busy with others for long before it gets there.
        """
        if member.crawl not in self._state.leaving:
            return
        member.awaited.clear()
        self._proceed(member)
        self.kill_abandoned()
        waits = [self._seconds_left(one, member.crawl, timeout) for one in self._state.handles]
        again = max(min([timeout, *waits]), 0.05)
        self._state.later(again, partial(self._see_off, member, timeout))

    def _seconds_left(self, handle: ProcessHandle, crawl: int, timeout: float) -> float:
        """Return what a worker has left for opening or closing the consumers of *crawl*."""
        activity = handle.activity()
        if activity is None or activity.crawl != crawl:
            return inf
        left = timeout - self._state.awake.seconds_since(activity.started)
        if left > 0:
            return left
        logger.warning("Worker %s did not close in time and is killed", handle.title)
        handle.kill_for(KilledFor.STOP)
        return inf
