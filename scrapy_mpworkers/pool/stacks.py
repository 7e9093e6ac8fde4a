"""Asks workers where they are. All here runs in the event loop's thread, and nothing waits.

A thread of the worker answers, so its pipelines may be busy or hang, unless code in C keeps the
interpreter to itself. It sleeps until it is asked: nobody pays for questions that nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from scrapy_mpworkers.pool.dumps import dump
from scrapy_mpworkers.pool.interface import Loop, resolve
from scrapy_mpworkers.pool.task import Future
from scrapy_mpworkers.pool.worker_handle import ProcessHandle

#: Is told the stacks of a worker; ``None``: it has not answered in time.
Told: TypeAlias = Callable[["str | None"], None]

#: Seconds that a worker has for its last words, before it is killed.
LAST_SECONDS = 0.2

_SILENT = "no answer within %g s: code in C keeps the interpreter, or the process is stopped"
_IDLE = "idle"


class StackRequests:
    """Questions to the workers of a group, and their answers."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._open: WeakKeyDictionary[ProcessHandle, list[Told]] = WeakKeyDictionary()
        self._dying: WeakSet[ProcessHandle] = WeakSet()  # that are asked for the last time

    def ask(self, handle: ProcessHandle, seconds: float, told: Told) -> None:
        """Call *told* once, within so many seconds."""
        handle.ask_for_stacks()
        waiting = self._open.setdefault(handle, [])
        waiting.append(told)
        self._loop.call_later(seconds, partial(_give_up, waiting, told))

    def ask_all(self, handles: Sequence[ProcessHandle], seconds: float) -> Future:
        """Ask all *handles*; the future gets a text for each, by its name."""
        answers = Answers(self._loop, [handle.name for handle in handles], seconds)
        for handle in handles:
            self.ask(handle, seconds, partial(answers.add, handle.name))
        return answers.future

    def last_words(
        self, handle: ProcessHandle, told: Callable[[str], None], seconds: float | None = None
    ) -> None:
        """Ask a worker that is to be killed, and call *told* once with its stacks, or with why
        there are none; not for a second request meanwhile.

        Pipelines go on: what it is to be killed for may be over by then.

        Args:
            seconds: within which a thread of it may answer; by default half of ``LAST_SECONDS``.
        """
        if handle not in self._dying:
            self._dying.add(handle)
            seconds = LAST_SECONDS / 2 if seconds is None else seconds
            self.ask(handle, seconds, partial(self._answered_last, handle, told))

    def _answered_last(
        self, handle: ProcessHandle, told: Callable[[str], None], text: str | None
    ) -> None:
        def end(text: str) -> None:
            self._dying.discard(handle)
            told(text)

        if text is not None:
            end(text or _IDLE)
        elif handle.pid is None or handle.is_killed:
            end("no stack, because the process is not there")
        else:
            dump(self._loop, handle.pid, LAST_SECONDS / 2, end)

    def answered(self, handle: ProcessHandle, text: str) -> None:
        waiting = self._open.pop(handle, [])
        while waiting:
            waiting.pop(0)(text)


def _give_up(waiting: list[Told], told: Told) -> None:
    if told in waiting:
        waiting.remove(told)
        told(None)


class Answers:
    """Collects what workers answer; ``future`` gets the texts, by the names of the workers."""

    def __init__(self, loop: Loop, names: Sequence[str], seconds: float) -> None:
        self._names = names
        self._seconds = seconds
        self._texts: dict[str, str] = {}
        self.future: Future = loop.create_future()
        self._end_if_complete()

    def add(self, name: str, text: str | None) -> None:
        """Take the stacks of a worker; ``None``: it is silent."""
        self._texts[name] = _SILENT % self._seconds if text is None else text or _IDLE
        self._end_if_complete()

    def end(self) -> None:
        """Wait for nobody any more."""
        for name in self._names:
            if name not in self._texts:
                self.add(name, None)

    def _end_if_complete(self) -> None:
        if len(self._texts) == len(self._names):
            resolve(self.future, {name: self._texts[name] for name in self._names})
