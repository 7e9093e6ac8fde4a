"""Decides where consumers get opened, so that the trouble of one crawl with that stays its own."""

from __future__ import annotations

from time import monotonic

from scrapy_mpworkers.pool.group_state import GroupState, Member
from scrapy_mpworkers.pool.served_crawls import CrawlState
from scrapy_mpworkers.pool.timeouts import OpeningLimit
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.wire.messages import OpenCrawl

#: Seconds after which consumers that could not be opened in a worker are tried again. If new
#: workers cannot open any, that time doubles, up to the longest.
RETRY_SECONDS = 0.5
LONGEST_PAUSE = 30.0


class Openings:
    """Tells workers which consumers to open.

    At the start one worker builds and opens its consumers first, and the others when it has:
    whatever they create where it is not there yet, they must not create at once. Once they have
    been open anywhere, workers that cannot open them are no reason to end anything: they are tried
    again, one at a time and after a pause.

    A crawl that joins is opened in one worker first as well: the others go on for the rest, should
    it take long, or end the worker. A new worker is told of the crawls that have been open
    anywhere.
    """

    def __init__(self, state: GroupState, limit: OpeningLimit) -> None:
        self._state = state
        self._limit = limit
        self._pause = 0.0  # seconds, while new workers fail to open anything
        self._pause_ends = 0.0

    def boot(self, handle: ProcessHandle) -> None:
        """Tell a worker that has been started which crawls there are."""
        sound = self._state.sound
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
        self._allow_to_open()
        for member in self._state.sound:
            self._spread(member)

    def opened(self, handle: ProcessHandle, member: Member) -> None:
        """Go on to other workers when one has opened the consumers of a crawl."""
        handle.answered(member.crawl, CrawlState.OPEN)
        member.opened()
        self._pause = 0.0
        self._allow_to_open()
        self._spread(member)

    def failed(self, handle: ProcessHandle, member: Member) -> None:
        """Have it tried again where it could not be opened: a worker without any crawl exits."""
        handle.answered(member.crawl, CrawlState.REFUSED)
        if handle.crawls.is_empty and not handle.is_ready:
            self._make_pause()
            return
        if member.may_fail():
            self._state.loop.call_later(RETRY_SECONDS, lambda: self._retry(handle, member))
        else:
            member.break_off("its pipelines cannot be opened in workers; see the log")

    def blames(self, handle: ProcessHandle, exit_in_words: str) -> bool:
        """Return whether one crawl is to blame for the end of a worker, and the others are not."""
        if handle.is_opening_first and handle.crawls.any_opening:
            self._make_pause()
        crawl = handle.was_at_consumers_of()
        if crawl is None:
            return False
        member = self._state.present.get(crawl)
        if member is None or member.is_broken:
            return True  # it has left since, or is about to
        if not handle.crawls.is_opening(crawl) or not self._is_with_others(member):
            return False
        if handle.is_hung or not member.may_fail():
            member.break_off(f"a worker died of its pipelines' opening: {exit_in_words}")
        return True

    def _allow_to_open(self) -> None:
        """Let new workers open what they were told to at their start."""
        handles = self._state.handles
        waiting = [handle for handle in handles if handle.is_waiting]
        is_safe = self._has_opened() and not self._pause
        is_too_early = not is_safe and any(handle.is_opening_first for handle in handles)
        if is_too_early or monotonic() < self._pause_ends:
            return
        for handle in waiting if is_safe else waiting[:1]:
            handle.allow_to_open()

    def _make_pause(self) -> None:
        """Let the next worker try later if one could not open anything, though others can."""
        now = monotonic()
        if self._has_opened() and now >= self._pause_ends:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause or RETRY_SECONDS)
            self._pause_ends = now + self._pause
            self._state.loop.call_later(self._pause, self._end_pause)

    def _end_pause(self) -> None:
        # By the timer alone: that of a reactor goes by another clock than ours, and if it came too
        # early by ours nobody would look again.
        self._pause_ends = 0.0
        self._allow_to_open()

    def _has_opened(self) -> bool:
        return any(member.has_opened for member in self._state.sound)

    def _retry(self, handle: ProcessHandle, member: Member) -> None:
        handle.crawls.may_retry(member.crawl)
        if self._state.present.get(member.crawl) is member and not member.is_broken:
            self._spread(member)

    def _spread(self, member: Member) -> None:
        handles = [handle for handle in self._state.handles if handle.may_open(member.crawl)]
        if not any(member.crawl in handle.crawls.open for handle in self._state.handles):
            if any(handle.crawls.is_opening(member.crawl) for handle in self._state.handles):
                return
            handles = sorted(handles, key=lambda handle: handle.open_messages)[:1]
        for handle in handles:
            setup = self._setup(member)
            if setup is not None:
                if handle.open_crawl(setup):
                    member.executor.metrics.started += 1
                self._limit.watch(handle)

    def _setup(self, member: Member) -> OpenCrawl | None:
        try:
            return member.executor.setup()
        except Exception as error:  # classes of that crawl run their own code there
            member.break_off(f"a worker cannot be told of the crawl any more: {error!r}")
            return None

    def _is_with_others(self, member: Member) -> bool:
        return any(other is not member for other in self._state.sound)
