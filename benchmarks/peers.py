"""The same work by what a competent user would write instead, each as a short honest pipeline.

Every class is an item pipeline for ``ITEM_PIPELINES``. Work and number of workers come from the
settings ``BENCH_WORK`` (a name of :data:`benchmarks.work.WORK`) and ``BENCH_WORKERS``.

Items come as a stream, one by one. ``imap`` of a generator with a ``chunksize``, which some of
these libraries advise for speed, would wait for a chunk to fill: the last items of a crawl, which
closes when it has them back, would wait for ever.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from scrapy.crawler import Crawler

from benchmarks.work import WORK


class Peer:
    """What they share."""

    def __init__(self, work: str, workers: int) -> None:
        self.work = WORK[work]
        self.workers = workers

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Peer:
        """Built from the crawl's settings."""
        return cls(crawler.settings["BENCH_WORK"], crawler.settings.getint("BENCH_WORKERS"))


class Inline(Peer):
    """On the reactor thread: plain Scrapy."""

    def process_item(self, item: Any) -> Any:
        return self.work(item)


class OurWork(Inline):
    """The same class, listed in ``MPWORKERS_PIPELINES``."""


class OneCopy(Peer):
    """No peer but a limit: an item is pickled, copied once and unpickled, here and at once. Only
    then has the loop a turn, or nobody could tell how late it is."""

    def open_spider(self) -> None:
        self.memory = memoryview(bytearray())

    async def process_item(self, item: Any) -> Any:
        data = pickle.dumps(item, protocol=5)
        if len(data) > len(self.memory):
            self.memory = memoryview(bytearray(len(data)))
        self.memory[: len(data)] = data
        returned = self.work(pickle.loads(self.memory[: len(data)]))
        await asyncio.sleep(0)
        return returned


class Threads(Peer):
    """``asyncio.to_thread``."""

    async def process_item(self, item: Any) -> Any:
        return await asyncio.to_thread(self.work, item)


class Executor(Peer):
    """``concurrent.futures.ProcessPoolExecutor``."""

    def open_spider(self) -> None:
        self.pool = ProcessPoolExecutor(self.workers)

    async def process_item(self, item: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.work, item)

    def close_spider(self) -> None:
        self.pool.shutdown()


class Loky(Executor):
    """``loky``'s reusable executor."""

    def open_spider(self) -> None:
        from loky import get_reusable_executor

        self.pool = get_reusable_executor(self.workers)


class MultiprocessingPool(Peer):
    """``multiprocessing.Pool.apply_async`` with callbacks."""

    def open_spider(self) -> None:
        self.pool = multiprocessing.Pool(self.workers)

    def process_item(self, item: Any) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.pool.apply_async(
            self.work,
            (item,),
            callback=lambda result: loop.call_soon_threadsafe(future.set_result, result),
            error_callback=lambda error: loop.call_soon_threadsafe(future.set_exception, error),
        )
        return future

    def close_spider(self) -> None:
        self.pool.close()
        self.pool.join()


class Mpire(MultiprocessingPool):
    """``mpire.WorkerPool.apply_async``."""

    def open_spider(self) -> None:
        from mpire import WorkerPool

        self.pool = WorkerPool(self.workers)

    def close_spider(self) -> None:
        self.pool.stop_and_join()


class Pebble(Peer):
    """``pebble.ProcessPool.schedule``."""

    def open_spider(self) -> None:
        from pebble import ProcessPool

        self.pool = ProcessPool(self.workers)

    async def process_item(self, item: Any) -> Any:
        return await asyncio.wrap_future(self.pool.schedule(self.work, args=[item]))

    def close_spider(self) -> None:
        self.pool.close()
        self.pool.join()


class Dask(Peer):
    """A ``dask.distributed.LocalCluster`` of one thread a worker, on Scrapy's own loop."""

    async def open_spider(self) -> None:
        from dask.distributed import Client, LocalCluster

        self.cluster = await LocalCluster(
            n_workers=self.workers, threads_per_worker=1, asynchronous=True, dashboard_address=None
        )
        self.client = await Client(self.cluster, asynchronous=True)

    async def process_item(self, item: Any) -> Any:
        return await self.client.submit(self.work, item, pure=False)

    async def close_spider(self) -> None:
        await self.client.close()
        await self.cluster.close()


class Naive(Peer):
    """Consumers over one ``JoinableQueue``, ended by poison pills, and a thread for the results."""

    def open_spider(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.futures: dict[int, asyncio.Future[Any]] = {}
        self.tasks: Any = multiprocessing.JoinableQueue()
        self.results: Any = multiprocessing.Queue()
        self.processes = [
            multiprocessing.Process(target=_consume, args=(self.work, self.tasks, self.results))
            for _ in range(self.workers)
        ]
        for process in self.processes:
            process.start()
        self.reader = threading.Thread(target=self.read_results)
        self.reader.start()
        self.count = 0

    def read_results(self) -> None:
        while (answer := self.results.get()) is not None:
            self.loop.call_soon_threadsafe(self.settle, *answer)

    def settle(self, number: int, result: Any) -> None:
        self.futures.pop(number).set_result(result)

    def process_item(self, item: Any) -> Any:
        self.count += 1
        future = self.futures[self.count] = self.loop.create_future()
        self.tasks.put((self.count, item))
        return future

    def close_spider(self) -> None:
        for _ in self.processes:
            self.tasks.put(None)
        self.tasks.join()
        for process in self.processes:
            process.join()
        self.results.put(None)
        self.reader.join()


def _consume(work: Any, tasks: Any, results: Any) -> None:
    while (task := tasks.get()) is not None:
        number, item = task
        results.put((number, work(item)))
        tasks.task_done()
    tasks.task_done()


#: In the order of the tables. ``ours`` is not a pipeline of this module: see ``drive.settings_of``.
PEERS: dict[str, type[Peer]] = {
    "naive queue": Naive,
    "ProcessPoolExecutor": Executor,
    "multiprocessing.Pool": MultiprocessingPool,
    "loky": Loky,
    "Pebble": Pebble,
    "mpire": Mpire,
    "Dask local": Dask,
    "to_thread": Threads,
    "inline": Inline,
    "pickle, copy, unpickle": OneCopy,
}
OURS = "scrapy_mpworkers"
