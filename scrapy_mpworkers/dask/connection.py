"""The client of one crawl, in a thread with an asyncio loop of its own.

So it is the same under every reactor and without one, and nothing that Dask does blocks the crawl.
All public methods are called in the crawl's thread; what comes of them is called there, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from scrapy_mpworkers.dask.cluster import address_of, upload
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.wire.messages import Answer

logger = logging.getLogger(__name__)

#: Seconds that a client may take to say goodbye; a scheduler that is gone does not answer.
_GOODBYE_SECONDS = 5.0
#: Seconds after which a worker that was told to die is killed by its nanny.
_DEATH_SECONDS = 3.0

#: Told what has come of an order: an answer, ``None`` if the seat is gone, or an error.
Done = Callable[["Answer | BaseException | None"], None]


class Listener(Protocol):
    """A pool, as the connection needs it."""

    def worker_came(self, address: str) -> None: ...
    def worker_left(self, address: str, expected: bool) -> None: ...
    def connected(self) -> None: ...
    def lost(self, why: str) -> None: ...


class Connection:
    """What the pools of a crawl share.

    Args:
        address: of the scheduler; ``None``: a cluster on this machine.
        workers: processes that this has.
        folders: workers of this machine import from.
        uploads: sent to the workers.
        needs_nannies: whether workers may have to be killed; one that nobody would restart is then
            an error.
    """

    def __init__(
        self,
        address: str | None,
        workers: int,
        folders: Sequence[str],
        uploads: Sequence[Path],
        needs_nannies: bool,
    ) -> None:
        self.where = address or "a Dask cluster on this machine"
        self.workers: dict[str, bool] = {}  #: by address: whether it has a nanny
        self.seats: Counter[str] = Counter()  #: of all pools, by address
        self._address = address
        self._count = workers
        self._folders = folders
        self._uploads = uploads
        self._needs_nannies = needs_nannies
        self._listeners: list[Listener] = []
        self._is_connected = False
        self._why_lost = ""
        self._loop: Loop | None = None
        self._ended: list[Callable[[], None]] = []
        # Of the thread:
        self._tasks: set[asyncio.Task[None]] = set()
        self._seats: dict[str, Any] = {}

    # In the crawl's thread

    def import_early(self) -> None:
        """Let a thread import what takes a second."""
        threading.Thread(target=_import_dask, name="mpworkers-dask-import", daemon=True).start()

    def join(self, listener: Listener, loop: Loop) -> None:
        """Tell *listener* of the workers from now on. The first one makes the connection."""
        self._listeners.append(listener)
        if self._loop is None:
            self._loop = loop
            self._thread = threading.Thread(target=self._run, name="mpworkers-dask", daemon=True)
            self._dask_loop = asyncio.new_event_loop()
            self._closing = asyncio.Event()
            self._thread.start()
        elif self._why_lost:
            loop.call_soon(partial(listener.lost, self._why_lost))
        elif self._is_connected:
            loop.call_soon(partial(self._introduce, listener))

    def leave(self, listener: Listener, ended: Callable[[], None]) -> None:
        """Nothing more is told to *listener*. Behind the last one the connection is closed."""
        self._listeners.remove(listener)
        if self._listeners:
            ended()
            return
        self._ended.append(ended)
        if self._thread.is_alive():
            self._do(self._closing.set)
        else:
            self._thread_ended()

    def sit(self, address: str, key: str, order: bytes, done: Done) -> None:
        """Make the seat *key*, which lives until :meth:`release`."""
        self.seats[address] += 1
        self._do(lambda: self._spawn(self._sit(address, key, order, done)))

    def release(self, address: str, key: str) -> None:
        """End a seat."""
        self.seats[address] -= 1
        self._do(lambda: self._seats.pop(key, None))

    def send(
        self, address: str, key: str, order: tuple[str, int, bytes, dict[int, float]], done: Done
    ) -> None:
        """Send an order (seat, number, bytes, limits) as a task that is called *key*."""
        self._do(lambda: self._spawn(self._work(address, key, order, done)))

    def listen(self, address: str, seat: str, number: int, done: Done) -> None:
        """Ask for more of what comes of an order."""
        self._do(lambda: self._spawn(self._listen(address, seat, number, done)))

    def ask(self, address: str, seconds: float, answered: Callable[[bool], None]) -> None:
        """Ask a worker whether it hears."""
        self._do(lambda: self._spawn(self._ask(address, seconds, answered)))

    def end_worker(self, address: str) -> None:
        """Kill a worker process, if anybody would start it again."""
        if self.workers.get(address):
            self._do(lambda: self._spawn(self._end_worker(address)))
        else:
            logger.warning("The Dask worker %s has no nanny and is left alone", address)

    def _do(self, function: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self._dask_loop.call_soon_threadsafe(function)

    # Back in the crawl's thread

    def _tell(self, function: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the crawl is over
            self._loop.call_from_thread(function)

    def _connected(self, workers: dict[str, bool]) -> None:
        self._is_connected = True
        self.workers |= workers
        for listener in list(self._listeners):
            self._introduce(listener)

    def _introduce(self, listener: Listener) -> None:
        listener.connected()
        for address in list(self.workers):
            listener.worker_came(address)

    def _came(self, address: str, has_nanny: bool) -> None:
        self.workers[address] = has_nanny
        for listener in list(self._listeners):
            listener.worker_came(address)

    def _left(self, address: str, expected: bool) -> None:
        if self.workers.pop(address, None) is not None:
            for listener in list(self._listeners):
                listener.worker_left(address, expected)

    def _lost(self, why: str) -> None:
        self._why_lost = why
        for listener in list(self._listeners):
            listener.lost(why)

    def _thread_ended(self) -> None:
        while self._ended:
            self._ended.pop()()

    # In the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._dask_loop)
        try:
            self._dask_loop.run_until_complete(self._connect())
        except BaseException as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            logger.debug("The connection to Dask has ended", exc_info=True)
            self._tell(partial(self._lost, f"{self.where}: {why}"))
        finally:
            self._dask_loop.run_until_complete(_cancel_the_rest())
            self._dask_loop.run_until_complete(self._dask_loop.shutdown_default_executor())
            self._dask_loop.close()
            self._tell(self._thread_ended)

    async def _connect(self) -> None:
        _import_dask()
        from distributed import Client

        async with address_of(self._address, self._count, self._folders) as where:
            options: dict[str, Any] = {"asynchronous": True, "set_as_default": False}
            self._client: Any = await Client(**where, **options, name="scrapy-mpworkers")
            try:
                await self._serve()
            finally:
                await _in_time(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        self._seats.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def _serve(self) -> None:
        from distributed import Event

        from scrapy_mpworkers.dask.station import Station, die, hear, listen, sit, work

        self._functions = {"sit": sit, "work": work, "listen": listen, "hear": hear, "die": die}
        client = self._client
        await client.register_plugin(Station())
        await upload(client, self._uploads)
        client.subscribe_topic("all", self._on_event)
        self._tell(partial(self._connected, await self._present_workers()))
        # A request that the scheduler does not answer before we leave, unless it is gone itself.
        leaving = Event(f"mpworkers-leaves-{client.id}", client=client)
        gone = asyncio.ensure_future(leaving.wait())
        closing = asyncio.ensure_future(self._closing.wait())
        done, _ = await asyncio.wait({gone, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if closing not in done:
            await gone
            raise ConnectionError("the scheduler does not answer any more")
        client.unsubscribe_topic("all")
        await leaving.set()
        await gone
        await leaving.clear()

    async def _present_workers(self) -> dict[str, bool]:
        workers = (await self._client.scheduler.identity())["workers"]
        found = {address: bool(one.get("nanny")) for address, one in workers.items()}
        lonely = [address for address, has_nanny in found.items() if not has_nanny]
        if lonely and self._needs_nannies:
            raise ConnectionError(
                "MPWORKERS_ITEM_TIMEOUT kills the worker process of an item that takes too long, "
                f"but the Dask worker {lonely[0]} has no nanny that would start it again; start "
                "workers with one (dask worker does so unless told --no-nanny), or set no limit"
            )
        return found

    async def _on_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if not isinstance(message, dict):
            return
        if message.get("action") == "add-worker":
            address = message["worker"]
            has_nanny = (await self._present_workers()).get(address)
            if has_nanny is not None:
                self._tell(partial(self._came, address, has_nanny))
        elif message.get("action") == "remove-worker":
            expected = bool(message.get("expected"))
            self._tell(partial(self._left, message["worker"], expected))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._dask_loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sit(self, address: str, key: str, order: bytes, done: Done) -> None:
        future = self._submit("sit", key, address, key, order)
        self._seats[key] = future  # the seat ends when nobody holds it
        await self._answer(future, done)

    async def _work(
        self, address: str, key: str, order: tuple[str, int, bytes, dict[int, float]], done: Done
    ) -> None:
        await self._answer(self._submit("work", key, address, *order), done)

    def _submit(self, function: str, key: str, address: str, *arguments: Any) -> Any:
        return self._client.submit(
            self._functions[function],
            *arguments,
            key=key,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
            fifo_timeout=0,  # strictly one after the other
        )

    async def _listen(self, address: str, seat: str, number: int, done: Done) -> None:
        async def ask() -> Any:
            listen = self._functions["listen"]
            return (await self._client.run(listen, seat, number, workers=[address]))[address]

        await self._answer(ask(), done)

    async def _answer(self, coming: Any, done: Done) -> None:
        try:
            answer: Any = await coming
        except BaseException as error:
            if self._closing.is_set():
                return
            answer = error
        self._tell(partial(done, answer))

    async def _ask(self, address: str, seconds: float, answered: Callable[[bool], None]) -> None:
        asking = self._client.run(self._functions["hear"], workers=[address], on_error="ignore")
        try:
            hears = address in await asyncio.wait_for(asking, seconds)
        except Exception:
            hears = False
        self._tell(partial(answered, hears))

    async def _end_worker(self, address: str) -> None:
        die = self._client.run(self._functions["die"], workers=[address], on_error="ignore")
        try:
            await asyncio.wait_for(die, _DEATH_SECONDS)
        except asyncio.TimeoutError:
            # Code in C that never lets another thread run: the nanny is a process of its own.
            with contextlib.suppress(Exception):
                await self._client.restart_workers([address], timeout=_DEATH_SECONDS)


def _import_dask() -> None:
    import distributed  # noqa: F401

    # Its handlers have no level: its loggers have, and let nothing else through. Workers are told
    # the lowest level that any handler wants, and would send us every DEBUG record.
    dask = logging.getLogger("distributed")
    for handler in dask.handlers:
        if not handler.level:
            handler.setLevel(dask.getEffectiveLevel())


async def _in_time(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, _GOODBYE_SECONDS)


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
