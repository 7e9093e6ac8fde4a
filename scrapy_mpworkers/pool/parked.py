"""Tasks that have given a part of their results, and wait until somebody wants more. Pure."""

from __future__ import annotations

from collections.abc import Hashable

from scrapy_mpworkers.pool.task import Task


class ParkedTasks:
    """Holds tasks by the worker (any hashable) that can go on with each; ``None``: it is gone."""

    def __init__(self) -> None:
        self._by_worker: dict[Hashable, dict[int, Task]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_worker.values()))

    def add(self, handle: Hashable, task: Task) -> None:
        self._by_worker.setdefault(handle, {})[task.id] = task

    def take(self, task: Task) -> Hashable | None:
        """Take out a task, and return the worker that can go on with it.

        Raises:
            KeyError: it is not here.
        """
        for handle, tasks in self._by_worker.items():
            if tasks.pop(task.id, None) is not None:
                if not tasks:
                    del self._by_worker[handle]
                return handle
        raise KeyError(task.id)

    def are_at(self, handle: Hashable) -> bool:
        """Return whether a worker can go on with any."""
        return handle in self._by_worker

    def lose(self, handle: Hashable) -> None:
        """Note that a worker is gone. Its tasks stay, and begin again when somebody wants more."""
        if tasks := self._by_worker.pop(handle, None):
            self._by_worker.setdefault(None, {}).update(tasks)

    def end(self) -> None:
        """Note that nobody will want more."""
        for tasks in self._by_worker.values():
            for task in tasks.values():
                task.is_over = True

    def clear(self) -> list[Task]:
        """Give up all tasks, and return them."""
        tasks = [task for some in self._by_worker.values() for task in some.values()]
        self._by_worker.clear()
        return tasks
