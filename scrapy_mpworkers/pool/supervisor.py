"""Keeps every slot filled with a worker. Everything here runs in the event loop's thread."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import util
from time import monotonic
from typing import Any

from scrapy_mpworkers.pool.group_state import GroupState
from scrapy_mpworkers.pool.postmortem import PostMortem
from scrapy_mpworkers.pool.recycling import Recycling
from scrapy_mpworkers.pool.report_listener import ReportListener
from scrapy_mpworkers.pool.restarts import SEE_IT, FailedStarts, RestartIntensity
from scrapy_mpworkers.pool.sharing import Openings, Sharing
from scrapy_mpworkers.pool.shortages import in_words, is_shortage, remedy
from scrapy_mpworkers.pool.start_methods import Processes
from scrapy_mpworkers.pool.starter_thread import Starter
from scrapy_mpworkers.pool.timeouts import Watchdog
from scrapy_mpworkers.pool.worker_handle import ProcessHandle
from scrapy_mpworkers.pool.worker_state import Departure, KilledFor
from scrapy_mpworkers.wire.messages import CrawlReport, Ending, Outcomes

logger = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL of a worker that does not end.
GRACE_SECONDS = 2.0
#: Seconds after SIGKILL in which a worker ends, if it ever does.
LAST_SECONDS = 10.0
#: Seconds after which the starter's last job is not waited for any more: its thread may hang in a
#: start that does not end.
RELEASE_SECONDS = 15.0

_SEE_THREAD = "Something in Scrapy's process ends its threads, or replaces how they wait"


class Supervisor:
    """Starts workers, replaces those that die, stops them all.

    Attributes:
        openings: where consumers are opened.
        sharing: passes on to crawls what workers report.
        watchdog: kills workers that are stuck.
    """

    def __init__(self, state: GroupState, processes: Processes) -> None:
        options = state.options
        self._state = state
        self._processes = processes
        self._listener = ReportListener(state, self._heard, self._ended)
        self.watchdog = Watchdog(state, self._listener, processes)
        self.openings = Openings(state, self.watchdog)
        self.sharing = Sharing(state, self.openings)
        self._recycling = Recycling(options)
        self._restarts = RestartIntensity(options.intensity, options.period)
        self._starter = Starter(state.loop, self._starter_died)
        self._failed_starts = FailedStarts(options.period)
        #: By vacant slot: the worker that the next one there is to replace.
        self._vacant: dict[int, ProcessHandle | None] = {}
        self._deaths = PostMortem(state, processes)
        self._generations: Counter[int] = Counter()
        self._stopped: Callable[[], None] | None = None
        self._exiting = self._releasing = False
        self._at_exit: util.Finalize[Any] | None = None

    def start_workers(self) -> None:
        self._processes.take_server()
        self._starter.start()
        # Before multiprocessing's own exit handler, which terminates and *joins*: a busy worker
        # would keep an interrupted crawl waiting.
        self._at_exit = util.Finalize(None, self._exit_now, exitpriority=100)
        for slot in range(self._state.options.workers):
            self._start(slot)

    def _heard(self, handle: ProcessHandle, report: CrawlReport) -> None:
        if isinstance(report, Outcomes):
            if handle.departure is Departure.LEAVING:
                handle.leave(self._state.has_parked(handle))
            elif (why := self._recycling.reason(handle)) is not None:
                self._recycle(handle, why)
            return
        self.sharing.heard(handle, report)
        if not handle.is_ready and handle.open_crawls and not handle.is_opening:
            replaced = handle.become_ready()
            if replaced in self._state.handles:
                replaced.leave(self._state.has_parked(replaced))
            self._recycling.weigh_new(handle)
            self.watchdog.watch()  # its first tasks come now

    def _recycle(self, handle: ProcessHandle, why: str) -> None:
        """Replace a worker that has served its time, as soon as its replacement is ready."""
        if self._state.is_ending or handle.departure is not Departure.NONE:
            return
        handle.retire()
        for executor in self._state.all_executors():
            executor.recycled(handle, why)
        logger.debug("Worker %s is recycled after %d items (%s)", handle.title, handle.settled, why)
        self._start(handle.slot, replaces=handle)

    def _ended(self, handle: ProcessHandle, exitcode: int | None) -> None:
        if self._exiting:
            return  # multiprocessing joins its processes now; they must not be closed under it
        if handle not in self._state.handles:
            handle.process.discard()  # it was left behind, and the starter with it
            return
        self._state.handles.remove(handle)
        death = self._deaths.note(handle, exitcode, self._state.is_ending)
        # Before outcomes in its outbox count: workers that each die after one item are no good.
        is_futile = not (handle.settled or death.is_explained)
        is_ones_own = self.sharing.lost(handle, death)
        self._starter.do(handle.process.discard)
        is_fruitless = (handle.is_hung or is_futile) and not is_ones_own
        self._replace(handle, is_fruitless, death.begun if death.suspect is None else death.suspect)

    def stop(self, timeout: float, stopped: Callable[[], None], ending: Ending) -> None:
        """Send pills and wait for the exits; after *timeout* seconds terminate, then kill."""
        self._stopped = stopped
        for handle in self._state.handles:
            handle.close(ending)
        self._state.later(timeout, self._terminate)
        self._finish_if_empty()

    def kill_all(self) -> None:
        """End every worker at once, for good: what they ran is nobody's fault."""
        self._state.end()
        self._processes.retire_server()
        for handle in self._state.handles:
            handle.kill_for(KilledFor.STOP)

    def _starter_died(self, error: BaseException) -> None:
        self._state.handles[:] = [
            handle for handle in self._state.handles if handle.pid is not None
        ]
        self._starter.do_the_rest()
        if not self._state.is_ending:
            self._exhausted(f"the thread that starts workers has ended: {error!r}", _SEE_THREAD)
        self._finish_if_empty()

    def _exit_now(self) -> None:
        """End all as the interpreter exits, while the loop may still run in another thread."""
        self._exiting = True
        self.kill_all()

    def _start(self, slot: int, replaces: ProcessHandle | None = None) -> None:
        generation = self._generations[slot]
        self._generations[slot] += 1
        handle = ProcessHandle(self._state.options.name, slot, generation, replaces)
        siblings = list(self._state.handles)
        self._state.handles.append(handle)
        self.watchdog.watch()
        is_fork = self._processes.method == "fork"
        # In the starter, also catch what would end its thread: the slot would wait for ever.
        failures = (Exception,) if is_fork else (BaseException,)

        def start() -> None:
            if handle not in self._state.handles:
                return  # given up meanwhile
            try:
                handle.start(self._processes, siblings)
            except failures as error:
                # Drop the frames: they hold what the start has opened, and would live as long as
                # the error.
                failure = error.with_traceback(None)
                self._starter.answer(lambda: self._start_failed(handle, failure))
            else:
                if handle in self._state.handles:
                    self._starter.answer(lambda: self._started(handle))
                else:
                    handle.undo()  # left behind, and the loop may never run again

        if is_fork:
            # A fork copies every lock as it is. Most are taken in the loop's thread (imports,
            # cloudpickle's class register), so it must be this thread that forks, now and not
            # in the middle of something. It lives as long as the pool, too.
            start()
        else:
            self._starter.do(start)

    def _started(self, handle: ProcessHandle) -> None:
        logger.debug("Worker %s started, pid %s", handle.name, handle.pid)
        if handle not in self._state.handles:
            self._starter.do(handle.undo)  # given up meanwhile
            return
        if self._failed_starts.succeeded():
            logger.info("Workers can be started again.")
        self._listener.add(handle)
        if handle.is_killed:
            handle.kill()  # its time was up before it had a pid
        elif self._state.is_ending:
            for metrics in self._state.all_metrics():
                metrics.started += 1
            handle.close()
        else:
            self.openings.boot(handle)

    def _start_failed(self, handle: ProcessHandle, error: BaseException) -> None:
        if handle not in self._state.handles:
            return  # given up meanwhile
        self._state.handles.remove(handle)
        if handle.is_hung:
            self._deaths.note_late_start(handle)
            self._replace(handle, is_fruitless=True)
        elif self._state.is_ending:
            self._finish_if_empty()
        else:
            self._try_later(handle, error)

    def _try_later(self, handle: ProcessHandle, error: BaseException) -> None:
        others = self._state.handles
        has_worker = any(other.pid is not None and not other.is_killed for other in others)
        pause = self._failed_starts.pause(monotonic(), has_worker, not is_shortage(error))
        why = in_words(error)
        if pause is None:
            self._exhausted(f"no worker can be started: {why}", remedy(error))
            return
        if self._failed_starts.is_first:
            logger.error("Worker %s could not be started, and is tried again: %s", handle.name, why)
        self._vacant[handle.slot] = handle.replaces
        self._state.loop.call_later(pause, lambda: self._start_again(handle.slot))

    def _start_again(self, slot: int) -> None:
        replaces = self._vacant.pop(slot)
        if not self._state.is_ending:
            self._start(slot, replaces)

    def _replace(self, handle: ProcessHandle, is_fruitless: bool, task: int | None = None) -> None:
        if self._state.is_ending:
            self._finish_if_empty()
        elif handle.is_closing or self._is_being_replaced(handle):
            return
        elif is_fruitless and handle.is_hung and not self._may_become_ready():
            self._exhausted(f"no worker became ready; the last: {self._deaths.last}", SEE_IT)
        elif not is_fruitless or self._restarts.allows(monotonic(), task, self._listener.reports):
            self._start(handle.slot, replaces=handle.replaces)
        else:
            self._exhausted(f"{self._restarts.history}; the last: {self._deaths.last}", SEE_IT)

    def _may_become_ready(self) -> bool:
        """Return whether a worker is open, or has yet to be allowed to open."""
        handles = self._state.handles
        return any(one.is_waiting or (one.is_ready and not one.is_closing) for one in handles)

    def _is_being_replaced(self, handle: ProcessHandle) -> bool:
        replaced = [other.replaces for other in self._state.handles]
        return handle in (*replaced, *self._vacant.values())

    def _exhausted(self, history: str, advice: str) -> None:
        """Tell all crawls that there are no workers any more, and why."""
        self._state.end()
        for executor in self._state.sound:
            executor.break_off(history, advice)
        self.kill_all()

    def _terminate(self) -> None:
        for handle in self._state.handles:
            told = partial(self._terminate_one, handle)
            self._state.stack_requests.last_words(handle, told)
        if self._state.handles:
            self._state.later(GRACE_SECONDS, self._kill_or_leave)

    def _terminate_one(self, handle: ProcessHandle, stack: str) -> None:
        if handle in self._state.handles:
            text = "Worker %s did not end in time and is terminated. It was here:\n%s"
            logger.warning(text, handle.title, stack)
            handle.kill_for(KilledFor.STOP, signal.SIGTERM)

    def _kill_or_leave(self) -> None:
        self.kill_all()
        self._state.later(LAST_SECONDS, self._leave_behind)

    def _leave_behind(self) -> None:
        """End without workers that not even SIGKILL has ended, or whose start hangs."""
        for handle in self._state.handles:
            logger.error("Worker %s cannot be ended and is left behind", handle.title)
        self._state.handles.clear()
        self._finish_if_empty()

    def _finish_if_empty(self) -> None:
        if not self._state.handles and self._stopped is not None and not self._releasing:
            self._releasing = True
            self._starter.do(self._release)
            self._starter.end()
            self._state.loop.call_later(RELEASE_SECONDS, self._released)

    def _release(self) -> None:
        """Let go of the start method, behind all that the starter has to do."""
        self._processes.close()
        if self._at_exit is not None:
            self._at_exit.cancel()
        self._starter.answer(self._released)

    def _released(self) -> None:
        assert self._stopped is not None
        stopped, self._stopped = self._stopped, lambda: None
        stopped()
