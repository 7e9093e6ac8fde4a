"""A level of one crawl: it lets items in, and has workers that they are sent to."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

from scrapy_mpworkers.backends.base import Backend
from scrapy_mpworkers.crawl.callback_load import CallbackLoad
from scrapy_mpworkers.crawl.context import CrawlContext
from scrapy_mpworkers.crawl.events import CrawlEvents, EffectsSink
from scrapy_mpworkers.crawl.item import ShippedItem
from scrapy_mpworkers.crawl.patches import ScraperWakeup
from scrapy_mpworkers.eventloop import EventLoop, Staggered
from scrapy_mpworkers.pool.batching import Room
from scrapy_mpworkers.pool.interface import DeadLettered, Executor, resolve
from scrapy_mpworkers.pool.task import Future, Task
from scrapy_mpworkers.settings import LevelSettings
from scrapy_mpworkers.wire.entries import key_function
from scrapy_mpworkers.wire.messages import CALL, Outcome

#: A larger item (bytes) is settled in a turn of the loop of its own, since the crawl then makes and
#: pickles the next one, which takes milliseconds. (10 MB: lag p99 19 ms instead of 31.)
LONG = 1 << 20


class Backpressure:
    """Bounds what is pending: items that are shipped, or wait in line to be, without an outcome.

    Args:
        max_count: items inside at once.
        max_bytes: of their frames together; a larger one goes in alone.
        wakeup: looks at the scraper whenever the last one has left, or downloads may go on.

    Attributes:
        count, bytes: what is inside.
        is_full: Scrapy was told to wait with downloads; ``has_braked``: and not yet to ask again.
        per_second: items that the workers do, as far as that is known.
        waiting: all that wait for room; ``guests`` of them want none for an item, such as start().
        of_start: items that start() has made.
        busy_since: when the first of those inside came, ``time.monotonic()``.
    """

    def __init__(
        self, loop: EventLoop, max_count: int, max_bytes: int, wakeup: ScraperWakeup
    ) -> None:
        self._loop = loop
        self._wakeup = wakeup
        self.max_count, self.max_bytes = max_count, max_bytes
        self.count = self.bytes = self.of_start = self.guests = 0
        self.busy_since = 0.0
        self.waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._when_drained: list[Callable[[], None]] = []
        self.per_second = float(max_count)
        self.is_full = self.has_braked = False

    @property
    def pending(self) -> int:
        """Items inside, and those that wait at the door."""
        return self.count + len(self.waiting)

    def enter_at_once(self, size: int, is_first: bool = False) -> bool:
        """Take room for a frame of *size* bytes, if there is any and nobody else waits for it.

        Args:
            is_first: whether it is the first of those that wait.
        """
        if self.waiting and not is_first:
            return False
        count, total = self.count, self.bytes + size
        if count and (count >= self.max_count or total > self.max_bytes):
            return False
        if not count:
            self.busy_since = monotonic()
        self.count, self.bytes = count + 1, total
        return True

    async def wait_in_line(self, size: int, come_in: Callable[[Future], object] = resolve) -> Any:
        """Wait for room for *size* bytes, take it, and wait for the future that *come_in* gets.

        A task comes in with that future, so the wait for room costs it no turn of the loop.
        """
        future = self._loop.create_future()
        ticket = size, partial(come_in, future)
        self.waiting.append(ticket)
        try:
            return await future
        except BaseException:
            # Scrapy cancels start(), which waits for room here, when the spider is to close.
            if ticket in self.waiting:
                self.waiting.remove(ticket)
                self._let_in()
            elif come_in is resolve:
                self.leave(size)  # let in already; a task goes on, and leaves with its outcome
            raise

    def leave(self, size: int) -> None:
        """Give back the room of an item, which has its outcome."""
        self.count -= 1
        self.bytes -= size
        if self.waiting:
            self._let_in()
        if self.has_braked:
            self.release_brake()
        if not self.count:
            # In a turn of their own: this one is in the middle of settling.
            for callback in self._when_drained:
                self._loop.call_soon(callback)
            self._when_drained.clear()
            self._loop.call_soon(self._wakeup.look)

    @property
    def has_room(self) -> bool:
        """Return whether one more item would be let in at once."""
        is_there = self.count < self.max_count and self.bytes <= self.max_bytes
        return not self.waiting and (is_there or not self.count)

    async def wait_for_room(self) -> None:
        """Wait until one more item would be let in, without taking its place."""
        self.guests += 1
        try:
            await self.wait_in_line(0)
        finally:
            self.guests -= 1
        self.leave(0)

    def brake(self, is_on: bool) -> None:
        """Note whether Scrapy waits with downloads until it is told of room."""
        self.is_full = self.has_braked = is_on

    def resize(self, max_count: int, per_second: float) -> None:
        """Let so many items in at once. Those who are in already stay."""
        self.max_count, self.per_second = max_count, per_second
        self._let_in()
        if self.has_braked:
            self.release_brake()

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call *callback* once nothing is pending, at once if so now."""
        if self.pending:
            self._when_drained.append(callback)
        else:
            callback()

    def release_brake(self) -> None:
        """Have Scrapy look whether it may go on with downloads."""
        self.has_braked = False  # so that Scrapy asks once for all that leave in a turn
        self._loop.call_soon(self._wakeup.look)

    def _let_in(self) -> None:
        while self.waiting and self.enter_at_once(self.waiting[0][0], is_first=True):
            _, come_in = self.waiting.popleft()
            come_in()


class Level(CrawlEvents):
    """The workers of one level, as the items of a crawl meet them.

    Args:
        backend: has its workers, if it has any.

    Attributes:
        waits: whether the crawl waits for its outcomes.
        key: computes the key of an item, if the level has keys.
        callbacks: those under way.
    """

    def __init__(
        self,
        number: int,
        settings: LevelSettings,
        backend: Backend | None,
        context: CrawlContext,
        effects: EffectsSink,
        loop: EventLoop,
        wakeup: ScraperWakeup,
    ) -> None:
        super().__init__(effects, loop, settings.name)
        self.settings = settings
        self.waits = settings.wait
        self.key = None if settings.key is None else key_function(settings.key)
        self.has_started = False
        self._staggered = Staggered(loop)
        # Without a bound of the user's, the executor will say how many may be pending.
        bounds = settings.pool.max_pending or 1, settings.pool.max_pending_bytes
        self.backpressure = Backpressure(loop, *bounds, wakeup)
        self.callbacks = CallbackLoad(settings.pool.workers, settings.pool.max_pending_bytes)
        make_state = partial(context.state, number)
        self.executor: Executor
        if backend is None or not settings.pool.workers:
            # Late: it brings a worker's modules along.
            from scrapy_mpworkers.backends.inline import InlineExecutor

            self.executor = InlineExecutor(make_state, context.codec, self, loop)
        else:
            self.executor = backend.pool(number, make_state, context.codec, self, loop)

    @property
    def pending(self) -> int:
        """Items and callbacks that have no outcome yet."""
        return self.backpressure.pending + self.callbacks.count

    def start(self) -> None:
        """Start the workers. A second call does nothing.

        Raises:
            UnpicklableError: a class of the crawl cannot cross. Nothing has been started then.
        """
        if not self.has_started:
            self.executor.start()
            self.has_started = True

    # Tasks

    def submit(
        self,
        hop: int,
        shipped: ShippedItem,
        key: object = None,
        committed: Awaitable[None] | None = None,
    ) -> Awaitable[Outcome | DeadLettered]:
        """Send an item to a worker, and return an awaitable for its outcome.

        If the wait is cancelled, an item that was let in goes on all the same, as it would inline.
        A level with keys wants the *key* of the item; *committed* is awaited first.
        """
        if committed is not None:
            return self._submit_committed(hop, shipped, key, committed)
        (data, needs, _), size = shipped.frame, shipped.size
        what = hop, data, needs, shipped.results, shipped.attributes, size, key, None, shipped
        if self.backpressure.enter_at_once(size):
            return self.executor.submit(*what).future
        self.executor.flush()  # as in submit_detached()
        return self.backpressure.wait_in_line(size, partial(self.executor.submit, *what))

    async def _submit_committed(self, *item: Any) -> Any:
        task = await self.submit_detached(*item)
        return await task.future

    async def submit_detached(
        self,
        hop: int,
        shipped: ShippedItem,
        key: object = None,
        committed: Awaitable[None] | None = None,
        limit: float | None = None,
    ) -> Task:
        """Send an item as :meth:`submit` does, but wait for room only. It may take *limit* seconds,
        if that is given, instead of those of the level."""
        size = shipped.size
        if not self.backpressure.enter_at_once(size):
            # Items inside may wait for others to fill their batch, but no more can come in.
            self.executor.flush()
            await self.backpressure.wait_in_line(size)
        try:
            if committed is not None:
                await committed
        except BaseException:
            self.backpressure.leave(size)
            raise
        data, needs, _ = shipped.frame
        what = hop, data, needs, shipped.results, shipped.attributes
        return self.executor.submit(*what, size, key, limit, shipped)

    async def submit_call(self, call: ShippedItem, limit: float | None) -> Outcome | DeadLettered:
        """Send a call to a worker, and wait for its outcome. If the wait is cancelled, the call
        gives up its room, and does not begin unless a worker has it already."""
        task = await self.submit_detached(CALL, call, limit=limit)
        try:
            return await task.future  # type: ignore[no-any-return]
        except BaseException:
            self.executor.withdraw(task)
            raise
        finally:
            self.backpressure.leave(call.size)

    def settled(self, task: Task, outcome: Outcome | DeadLettered) -> None:
        """A task has its outcome: whoever waits for it goes on."""
        # Tasks behind a large one get a turn each as well, so that none overtakes another.
        if task.size > LONG or self._staggered.due:
            self._staggered.call(partial(self._go_on, task, outcome))
        else:
            self._go_on(task, outcome)

    def _go_on(self, task: Task, outcome: Outcome | DeadLettered) -> None:
        future = task.future
        if not future.done():
            future.set_result(outcome)
        if task.row[1] >= 0:  # an item: calls and callbacks have numbers below
            self.backpressure.leave(task.size)

    # What the workers tell

    def has_room(self, room: Room) -> None:
        """Let so many items be pending, unless the user has set a bound."""
        items = self.settings.pool.max_pending or room.items
        self.backpressure.resize(items, room.per_second)
