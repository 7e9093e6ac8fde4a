"""The workers of a level on a cluster, without one: the connection is a fake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from scrapy_mpworkers.backends.dask.group import DaskWorkerGroup
from scrapy_mpworkers.pool.interface import PoolOptions
from scrapy_mpworkers.pool.metrics import Metrics
from scrapy_mpworkers.wire.frames import encode_report
from scrapy_mpworkers.wire.messages import Answer, OpenCrawl, Opened

OPENED = Answer((encode_report(Opened(0, None)),), is_last=True)


class Connection:
    """A cluster that does nothing."""

    where = "nowhere"

    def __init__(self) -> None:
        self.workers = {"tcp://one": None}
        self.threads: Counter[str] = Counter()

    def subscribe(self, *args: Any) -> None: ...

    open_thread = call = release = unsubscribe = subscribe


class Executor:
    """A crawl without tasks."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.errors: list[str] = []

    def setup(self) -> OpenCrawl:
        return OpenCrawl(0, (), "", b"")

    def leases(self, handle: Any) -> Iterator[Any]:
        return iter(())

    def break_off(self, history: str, advice: str) -> None:
        self.errors.append(history)

    def opened(self, *args: Any) -> None: ...

    workers_changed = handle_lost = not_ready = died = opened


class Loop:
    """A loop whose timers never run out."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None: ...

    def call_soon(self, function: Callable[[], None]) -> None: ...


def test_a_level_breaks_once_when_a_process_takes_several_of_its_workers_along() -> None:
    options = PoolOptions(workers=2, redeliver_times=0, intensity=0, period=30.0, keyed=True)
    connection: Any = Connection()
    loop: Any = Loop()
    executor: Any = Executor()
    group = DaskWorkerGroup(options, connection, {}, loop)
    group.admit(0, executor)
    group.connected(connection.workers)
    [first] = group.handles
    group.answered(first, 0, OPENED)
    assert len(group.handles) == 2

    group.worker_left("tcp://one", expected=False)

    assert len(executor.errors) == 1
    assert group.handles == []
