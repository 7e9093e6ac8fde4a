"""WORKER SIDE of the pool's tests: consumers that run whatever callable a frame holds."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from scrapy_mpworkers.wire.messages import MORE, Definition, Ending, Outcome, TaskStatus, WireTask


@dataclass(frozen=True)
class Behaviour:
    """What a worker does beside its tasks: each is called with no argument, or not at all."""

    open: Callable[[], Any] | None = None
    close: Callable[[], Any] | None = None
    hear: Callable[[str], Any] | None = None  # why the spider closes
    define: Callable[[], Any] | None = None


def build(payload: bytes, definitions: Sequence[Definition]) -> Consumers:
    return Consumers(pickle.loads(payload), definitions)


def describe(error: BaseException) -> bytes:
    return pickle.dumps(f"{type(error).__name__}: {error}")


class Consumers:
    def __init__(self, behaviour: Behaviour, definitions: Sequence[Definition]) -> None:
        self._behaviour = behaviour
        self._defined = list(definitions)
        self._generators: dict[int, tuple[Generator[Any, None, None], int]] = {}

    def activate(self) -> None: ...

    async def open(self) -> None:
        _call(self._behaviour.open)

    async def close(self, ending: Ending) -> None:
        if self._behaviour.hear is not None:
            self._behaviour.hear(ending.reason)
        _call(self._behaviour.close)

    def define(self, definitions: Sequence[Definition]) -> None:
        if definitions:
            self._defined += definitions
            _call(self._behaviour.define)

    def effects(self) -> bytes | None:
        return None

    async def consume(self, task: WireTask) -> Outcome:
        started = perf_counter()
        if not task.frame:
            return self._next(task, *self._generators.pop(task.id))
        try:
            returned = pickle.loads(task.frame)()
            if inspect.isawaitable(returned):
                returned = await returned
            if inspect.isgenerator(returned):
                count = int(task.results[0]) if task.results else 0
                for _ in range(count):
                    next(returned)
                return self._next(task._replace(results=()), returned, count)
            status, result = TaskStatus.DONE, pickle.dumps(returned)
        except Exception as error:
            status, result = TaskStatus.FAILED, pickle.dumps(f"{type(error).__name__}: {error}")
        return Outcome(task.id, int(status), result, None, perf_counter() - started)

    def _next(self, task: WireTask, generator: Generator[Any, None, None], count: int) -> Outcome:
        """What a generator yields is a part; it goes on, or is closed, when it is told to."""
        if task.results:
            generator.close()
        try:
            part = pickle.dumps(next(generator))
        except StopIteration:
            return Outcome(task.id, int(TaskStatus.DONE), pickle.dumps(None), None, 0.0)
        self._generators[task.id] = generator, count + 1
        return Outcome(task.id, MORE, part, None, 0.0, (b"%d" % (count + 1),))

    async def consume_batched(
        self, tasks: Sequence[WireTask], begins: Callable[[], object]
    ) -> list[Outcome]:
        begins()
        company.append(len(tasks))
        return [await self.consume(task) for task in tasks]


#: How many tasks each message had that ran as one.
company: list[int] = []


def _call(function: Callable[[], Any] | None) -> None:
    if function is not None:
        function()
