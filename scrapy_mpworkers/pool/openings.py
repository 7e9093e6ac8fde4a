"""Where consumers get opened, so that the trouble of one crawl with that stays its own."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.pool.membership import Members, Membership
from scrapy_mpworkers.pool.timeouts import OpeningLimit
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.messages import OpenCrawl

#: Seconds after which consumers that could not be opened in a worker are tried again. If new
#: workers cannot open any, that time doubles, up to the longest.
RETRY_SECONDS = 0.5
LONGEST_PAUSE = 30.0


class Openings:
    """Tells lanes which consumers to open.

    At the start one worker builds and opens its consumers first, and the others when it has:
    whatever they create where it is not there yet, they must not create at once. Once they have
    been open anywhere, workers that cannot open them are no reason to end anything: they are tried
    again, one at a time and after a pause.

    A crawl that joins is opened in one lane first as well: the others go on for the rest, should it
    take long, or end the worker. A new worker is told of the crawls that have been open anywhere.

    Args:
        members: of the pool.
        lanes: the supervisor's, as they are at the moment.
        limit: for the time that a worker takes.
        break_off: called with a crawl that cannot be opened, and why.
        loop: the pool's.
    """

    def __init__(
        self,
        members: Members,
        handles: Callable[[], list[ProcessHandle]],
        limit: OpeningLimit,
        break_off: Callable[[Membership, str], None],
        loop: Loop,
    ) -> None:
        self._members = members
        self._handles = handles
        self._limit = limit
        self._break_off = break_off
        self._loop = loop
        self._pause = 0.0  # seconds, while new workers fail to open anything
        self._pause_ends = 0.0

    def boot(self, handle: ProcessHandle) -> None:
        """A worker has been started."""
        sound = self._members.sound
        known = [member for member in sound if member.has_opened]
        setups = []
        for member in known or sound:
            # Whoever is told later counts the worker then.
            member.executor.metrics.started += 1
            if (setup := self._setup(member)) is not None:
                setups.append(setup)
        handle.boot(setups)
        self.spread()

    def spread(self) -> None:
        """Have every crawl opened where it is not yet."""
        self._give_turns()
        for member in self._members.sound:
            self._spread(member)

    def opened(self, handle: ProcessHandle, member: Membership) -> None:
        """A worker has opened the consumers of a crawl."""
        handle.opened(member.crawl)
        member.has_opened = True
        self._pause = 0.0
        self._give_turns()
        self._spread(member)

    def failed(self, handle: ProcessHandle, member: Membership) -> None:
        """It could not. If it lives on it tries again; one that has opened nothing exits."""
        handle.refused(member.crawl)
        if handle.is_empty and not handle.ready:
            self._make_pause()
            return
        if member.troubles.allows(monotonic()):
            self._loop.call_later(RETRY_SECONDS, lambda: self._retry(handle, member))
        else:
            self._break_off(member, "its pipelines cannot be opened in workers; see the log")

    def blames(self, handle: ProcessHandle, exit_in_words: str) -> bool:
        """A worker has ended. Whether one crawl is to blame, and the others are not."""
        if handle.is_at_turn and handle.opening:
            self._make_pause()
        crawl = handle.was_at_consumers_of()
        member = None if crawl is None else self._members.present.get(crawl)
        if member is None:
            return crawl is not None  # it has left since
        if member.is_broken:
            return True
        if crawl not in handle.opening or not self._is_with_others(member):
            return False
        if handle.hung or not member.troubles.allows(monotonic()):
            self._break_off(member, f"a worker died of its pipelines' opening: {exit_in_words}")
        return True

    def _give_turns(self) -> None:
        """Let new workers open what they were told to at their start."""
        handles = self._handles()
        waiting = [handle for handle in handles if handle.awaits_turn]
        is_safe = self._has_opened() and not self._pause
        is_too_early = not is_safe and any(handle.is_at_turn for handle in handles)
        if is_too_early or monotonic() < self._pause_ends:
            return
        for handle in waiting if is_safe else waiting[:1]:
            handle.give_turn()

    def _make_pause(self) -> None:
        """A new worker could not open anything. Where others can, the next one tries later."""
        now = monotonic()
        if self._has_opened() and now >= self._pause_ends:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause or RETRY_SECONDS)
            self._pause_ends = now + self._pause
            self._loop.call_later(self._pause, self._end_pause)

    def _end_pause(self) -> None:
        # By the timer alone: that of a reactor goes by another clock than ours, and if it came too
        # early by ours nobody would look again.
        self._pause_ends = 0.0
        self._give_turns()

    def _has_opened(self) -> bool:
        return any(member.has_opened for member in self._members.sound)

    def _retry(self, handle: ProcessHandle, member: Membership) -> None:
        handle.may_retry(member.crawl)
        if self._members.present.get(member.crawl) is member and not member.is_broken:
            self._spread(member)

    def _spread(self, member: Membership) -> None:
        handles = [handle for handle in self._handles() if handle.may_open(member.crawl)]
        if not any(member.crawl in handle.open_for for handle in self._handles()):
            if any(member.crawl in handle.opening for handle in self._handles()):
                return
            handles = sorted(handles, key=lambda handle: handle.open_messages)[:1]
        for handle in handles:
            setup = self._setup(member)
            if setup is not None:
                if handle.set_up(setup):
                    member.executor.metrics.started += 1
                self._limit.watch(handle)

    def _setup(self, member: Membership) -> OpenCrawl | None:
        try:
            return member.executor.setup()
        except Exception as error:  # classes of that crawl run their own code there
            self._break_off(member, f"a worker cannot be told of the crawl any more: {error!r}")
            return None

    def _is_with_others(self, member: Membership) -> bool:
        return any(other is not member for other in self._members.sound)
