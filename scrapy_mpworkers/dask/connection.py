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
from collections.abc import Callable, Coroutine, Iterable, Sequence
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
        self.workers: dict[str, None] = {}  #: addresses, in the order in which they came
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
        self._has_ended = False
        # Of the thread:
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}  # by seat
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
        if self._has_ended:
            self._thread_ended()
        else:
            self._do(self._closing.set)

    def sit(self, address: str, key: str, order: bytes, done: Done) -> None:
        """Make the seat *key*, which lives until :meth:`release`."""
        self.seats[address] += 1
        self._do(lambda: self._spawn(self._sit(address, key, order, done), key))

    def release(self, address: str, key: str) -> None:
        """End a seat."""
        self.seats[address] -= 1
        self._do(lambda: self._release(key))

    def send(
        self, address: str, key: str, order: tuple[str, int, bytes, dict[int, float]], done: Done
    ) -> None:
        """Send an order (seat, number, bytes, limits) as a task that is called *key*."""
        self._do(lambda: self._spawn(self._work(address, key, order, done), order[0]))

    def listen(self, address: str, seat: str, number: int, done: Done) -> None:
        """Ask for more of what comes of an order."""
        self._do(lambda: self._spawn(self._listen(address, seat, number, done), seat))

    def ask(self, address: str, seconds: float, answered: Callable[[bool], None]) -> None:
        """Ask a worker whether it hears."""
        self._do(lambda: self._spawn(self._ask(address, seconds, answered)))

    def end_worker(self, address: str) -> None:
        """Kill a worker process, if anybody would start it again."""
        self._do(lambda: self._spawn(self._end_worker(address)))

    def _do(self, function: Callable[[], Any]) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self._dask_loop.call_soon_threadsafe(function)

    # Back in the crawl's thread

    def _tell(self, function: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the crawl is over
            self._loop.call_from_thread(function)

    def _connected(self, workers: Iterable[str]) -> None:
        self._is_connected = True
        self.workers |= dict.fromkeys(workers)
        for listener in list(self._listeners):
            self._introduce(listener)

    def _introduce(self, listener: Listener) -> None:
        listener.connected()
        for address in list(self.workers):
            listener.worker_came(address)

    def _came(self, address: str) -> None:
        self.workers[address] = None
        for listener in list(self._listeners):
            listener.worker_came(address)

    def _left(self, address: str, expected: bool) -> None:
        if address in self.workers:
            del self.workers[address]
            for listener in list(self._listeners):
                listener.worker_left(address, expected)

    def _lost(self, why: str) -> None:
        self._why_lost = why
        for listener in list(self._listeners):
            listener.lost(why)

    def _thread_ended(self) -> None:
        self._has_ended = True
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
        for seat in list(self._tasks):
            self._release(seat)
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
        await _in_time(self._answer_request(leaving, gone))

    async def _answer_request(self, leaving: Any, gone: asyncio.Future[Any]) -> None:
        """Not to leave an open request and an event behind."""
        await leaving.set()
        await gone
        await leaving.clear()

    async def _has_nanny(self, address: str) -> bool:
        workers = (await self._client.scheduler.identity())["workers"]
        return bool(workers.get(address, {}).get("nanny"))

    async def _present_workers(self) -> list[str]:
        workers = (await self._client.scheduler.identity())["workers"]
        lonely = [address for address, one in workers.items() if not one.get("nanny")]
        if lonely and self._needs_nannies:
            raise ConnectionError(
                "MPWORKERS_ITEM_TIMEOUT kills the worker process of an item that takes too long, "
                f"but the Dask worker {lonely[0]} has no nanny that would start it again; start "
                "workers with one (dask worker does so unless told --no-nanny), or set no limit"
            )
        return list(workers)

    async def _on_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if not isinstance(message, dict):
            return
        if message.get("action") == "add-worker":
            address = message["worker"]
            if not self._needs_nannies or await self._has_nanny(address):
                self._tell(partial(self._came, address))
            else:
                logger.warning(
                    "The Dask worker %s is not used: it has no nanny, and MPWORKERS_ITEM_TIMEOUT "
                    "may have to kill it",
                    address,
                )
        elif message.get("action") == "remove-worker":
            expected = bool(message.get("expected"))
            self._tell(partial(self._left, message["worker"], expected))

    def _spawn(self, work: Coroutine[Any, Any, None], seat: str = "") -> None:
        task = self._dask_loop.create_task(work)
        self._tasks.setdefault(seat, set()).add(task)
        task.add_done_callback(self._tasks[seat].discard)

    def _release(self, seat: str) -> None:
        """Forget a seat and what waits for it: a scheduler keeps what is wanted, and it would wait
        for ever for a worker of that address."""
        self._seats.pop(seat, None)
        for task in self._tasks.pop(seat, ()):
            task.cancel()

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
        if not await self._has_nanny(address):
            logger.warning("The Dask worker %s has no nanny and is left alone", address)
            return
        die = self._client.run(self._functions["die"], workers=[address], on_error="ignore")
        try:
            await asyncio.wait_for(die, _DEATH_SECONDS)
        except asyncio.TimeoutError:
            # Code in C that never lets another thread run: the nanny is a process of its own.
            with contextlib.suppress(Exception):
                await self._client.restart_workers([address], timeout=_DEATH_SECONDS)


def _import_dask() -> None:
    import dask.config
    import distributed  # noqa: F401

    # Its handlers have no level: its loggers have, and let nothing else through. Workers are told
    # the lowest level that any handler wants, and would send us every DEBUG record.
    # An item may be large, which is what it warns of.
    dask.config.update_defaults(
        {"distributed": {"admin": {"large-graph-warning-threshold": "1TiB"}}}
    )
    of_dask = logging.getLogger("distributed")
    for handler in of_dask.handlers:
        if not handler.level:
            handler.setLevel(of_dask.getEffectiveLevel())


async def _in_time(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, _GOODBYE_SECONDS)


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
