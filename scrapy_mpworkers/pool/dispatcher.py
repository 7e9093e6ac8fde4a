"""Gives waiting tasks to lanes. Everything here runs in the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from scrapy_mpworkers.pool.batching import ServiceTime, plan
from scrapy_mpworkers.pool.lane import Lane
from scrapy_mpworkers.pool.ledger import Entry, Ledger
from scrapy_mpworkers.wire.messages import Batch, Definition


class Dispatcher:
    """Leases tasks in batches.

    Args:
        ledger: the books, where tasks wait.
        blobs: definitions by number, as tasks refer to them.
        open_lanes: the lanes that may get work.
        leased: called with each lane that has got some.
        call_soon: runs a function in the next turn of the loop.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: Mapping[int, bytes],
        open_lanes: Callable[[], Sequence[Lane]],
        leased: Callable[[Lane], None],
        call_soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._open_lanes = open_lanes
        self._leased = leased
        self._call_soon = call_soon
        self._service = ServiceTime()
        self._is_due = False

    def soon(self) -> None:
        """Dispatch in the next turn of the loop: what is submitted in one turn travels together."""
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._dispatch)

    def took(self, seconds: float, tasks: int) -> None:
        """So many tasks have taken so long together."""
        self._service.add(seconds / tasks, tasks)

    def _dispatch(self) -> None:
        self._is_due = False
        self._dispatch_charged()
        lanes = self._ledger.without_charged(self._open_lanes())
        loads = self._ledger.open_messages_of(lanes)
        for index, count in plan(self._ledger.waiting, loads, self._service.seconds):
            self._send(lanes[index], self._ledger.lease(lanes[index], count, monotonic()))

    def _dispatch_charged(self) -> None:
        """A task that is likely to kill its worker goes to an idle one, where nothing waits."""
        for lane in self._open_lanes() if self._ledger.charged else ():
            if self._ledger.charged and not self._ledger.open_messages(lane):
                self._send(lane, self._ledger.lease_charged(lane, monotonic()))

    def _send(self, lane: Lane, entries: Sequence[Entry]) -> None:
        missing = {n for entry in entries for n in entry.needs} - lane.known
        lane.known |= missing
        definitions = [Definition(n, self._blobs[n]) for n in sorted(missing)]
        lane.send(Batch.of(definitions, [entry.task for entry in entries]))
        self._leased(lane)
