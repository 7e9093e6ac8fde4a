"""The client of a crawl. All here runs in a thread of its own, in its asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from scrapy_mpworkers.backends.dask.cluster import address_of, upload
from scrapy_mpworkers.wire.messages import NO_PRELUDE, Answer, Prelude

logger = logging.getLogger(__name__)

#: Seconds that a client may take to say goodbye; a scheduler that is gone does not answer.
_GOODBYE_SECONDS = 8.0
#: Seconds after which a worker that was told to die is killed by its nanny.
_DEATH_SECONDS = 3.0

#: Seconds after which the workers are looked at once more.
_LOOK_AGAIN = 2.0

#: Told what has come of an order: an answer, ``None`` if the seat is gone, or an error.
Done = Callable[["Answer | BaseException | None"], None]


class Wanted(NamedTuple):
    """Where the cluster is, and what it must have.

    ``address``: of the scheduler, or the path of its file; ``None``: a cluster on this machine with
    so many ``workers``, which import from ``folders``. ``uploads``: sent to the workers.
    ``nannies``: whether workers may have to be killed, so that one without is no use.
    ``prelude``: what runs in each worker process before the pipelines.
    """

    address: str | None
    workers: int
    folders: Sequence[str]
    uploads: Sequence[Path]
    nannies: bool
    prelude: Prelude = NO_PRELUDE


class ConnectionEvents(Protocol):
    """Where a session tells what happens. ``tell`` calls a function in the crawl's thread."""

    def tell(self, function: Callable[[], None]) -> None: ...
    def connected(self, workers: Iterable[str]) -> None: ...
    def came(self, address: str) -> None: ...
    def left(self, address: str, expected: bool) -> None: ...
    def lost(self, why: str) -> None: ...
    def ended(self) -> None: ...


class Session:
    """One connection to a scheduler, from the first greeting to the goodbye.

    Args:
        loop: of the thread, not running yet. From other threads nothing but its
            ``call_soon_threadsafe`` may be used.
    """

    def __init__(
        self, wanted: Wanted, news: ConnectionEvents, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.closing = asyncio.Event()  #: set to say goodbye
        self._wanted = wanted
        self._crawl = uuid.uuid4().hex
        self._news = news
        self._loop = loop
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}  # by seat
        self._seats: dict[str, Any] = {}
        self._known: set[str] = set()  # addresses of workers

    def run(self) -> None:
        """The thread."""
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_note)
        try:
            self._loop.run_until_complete(self._connect())
        except BaseException as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            logger.debug("The connection to Dask has ended", exc_info=True)
            self._news.lost(why)
        finally:
            self._loop.run_until_complete(_cancel_the_rest())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            self._news.ended()

    async def _connect(self) -> None:
        import_dask()
        from distributed import Client

        wanted = self._wanted

        async with address_of(wanted.address, wanted.workers, wanted.folders) as where:
            options: dict[str, Any] = {"asynchronous": True, "set_as_default": False}
            if wanted.address is None:
                options["direct_to_workers"] = True  # elsewhere they may be out of reach
            self._client: Any = await Client(**where, **options, name="scrapy-mpworkers")
            try:
                await self._serve()
            finally:
                await _in_time(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        # Workers are still being killed, perhaps.
        await asyncio.gather(*self._tasks.pop("", ()), return_exceptions=True)
        for seat in list(self._tasks):
            self.release(seat)
        await self._client.close()

    async def _serve(self) -> None:
        from distributed import Event

        from scrapy_mpworkers.backends.dask.plugin import (
            MPWorkersPlugin,
            die,
            hear,
            listen,
            sit,
            work,
        )

        self._functions = {"sit": sit, "work": work, "listen": listen, "hear": hear, "die": die}
        client = self._client
        await client.register_plugin(MPWorkersPlugin())
        await upload(client, self._wanted.uploads)
        client.subscribe_topic("all", self._on_event)
        self._known |= set(await self._present_workers())
        self._news.connected(self._known)
        # Whoever came or went before the scheduler had our subscription has told nobody.
        self._loop.call_later(_LOOK_AGAIN, lambda: self.start("", self._look_again()))
        # A request that the scheduler does not answer before we leave, unless it is gone itself.
        leaving = Event(f"mpworkers-leaves-{client.id}", client=client)
        gone = asyncio.ensure_future(leaving.wait())
        closing = asyncio.ensure_future(self.closing.wait())
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
        if lonely and self._wanted.nannies:
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
            await self._came(message["worker"])
        elif message.get("action") == "remove-worker":
            self._left(message["worker"], bool(message.get("expected")))

    async def _came(self, address: str) -> None:
        if address not in self._known:
            self._known.add(address)
            if not self._wanted.nannies or await self._has_nanny(address):
                self._news.came(address)
            else:
                logger.warning(
                    "The Dask worker %s is not used: it has no nanny, and MPWORKERS_ITEM_TIMEOUT "
                    "may have to kill it",
                    address,
                )

    def _left(self, address: str, expected: bool) -> None:
        self._known.discard(address)
        self._news.left(address, expected)

    async def _look_again(self) -> None:
        with contextlib.suppress(Exception):  # the scheduler is gone, which is heard otherwise
            present = (await self._client.scheduler.identity())["workers"]
            for address in present.keys() - self._known:
                await self._came(address)
            for address in self._known - present.keys():
                self._left(address, expected=False)

    def start(self, seat: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin *work*, which ends at last with its seat."""
        task = self._loop.create_task(work)
        self._tasks.setdefault(seat, set()).add(task)
        task.add_done_callback(self._tasks[seat].discard)

    def release(self, seat: str) -> None:
        """Forget a seat and what waits for it: a scheduler keeps what is wanted, and it would wait
        for ever for a worker of that address."""
        self._seats.pop(seat, None)
        for task in self._tasks.pop(seat, ()):
            task.cancel()

    async def sit(self, address: str, key: str, order: bytes, done: Done) -> None:
        """Make a seat, and send it its first order."""
        future = self._submit("sit", key, address, key, order, self._wanted.prelude, self._crawl)
        self._seats[key] = future  # the seat ends when nobody holds it
        await self._answer(future, done)

    async def work(
        self, address: str, key: str, order: tuple[str, int, bytes, dict[int, float]], done: Done
    ) -> None:
        """Send an order, as a task."""
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

    async def listen(self, address: str, seat: str, number: int, done: Done) -> None:
        """Ask for more of what comes of an order."""

        async def ask() -> Any:
            listen = self._functions["listen"]
            return (await self._client.run(listen, seat, number, workers=[address]))[address]

        await self._answer(ask(), done)

    async def _answer(self, coming: Any, done: Done) -> None:
        try:
            answer: Any = await coming
        except BaseException as error:
            # Of a scheduler that is gone we hear otherwise.
            is_lost = getattr(error, "reason", "") == "scheduler-connection-lost"
            if self.closing.is_set() or is_lost:
                return
            answer = error
        self._news.tell(partial(done, answer))

    async def ask(self, address: str, seconds: float, answered: Callable[[bool], None]) -> None:
        """Ask a worker whether it hears, within some seconds."""
        asking = self._client.run(self._functions["hear"], workers=[address], on_error="ignore")
        try:
            hears = address in await asyncio.wait_for(asking, seconds)
        except Exception:
            hears = False
        self._news.tell(partial(answered, hears))

    async def end_worker(self, address: str) -> None:
        """Kill a worker process that somebody starts again."""
        with contextlib.suppress(Exception):  # it is gone, or the scheduler is
            if not await self._has_nanny(address):
                logger.warning("The Dask worker %s has no nanny and is left alone", address)
                return
            die = self._client.run(self._functions["die"], workers=[address], on_error="ignore")
            try:
                await asyncio.wait_for(die, _DEATH_SECONDS)
            except asyncio.TimeoutError:
                # Code in C that never lets another thread run: the nanny is a process of its own.
                await self._client.restart_workers([address], timeout=_DEATH_SECONDS)


def import_dask() -> None:
    """Import it, which takes a second, and make it fit."""
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


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What Dask's client leaves behind, such as a timeout that nobody awaited any more: found by
    the garbage collector, in the middle of another crawl perhaps."""
    logger.debug("In Dask's client: %s", context["message"], exc_info=context.get("exception"))


async def _in_time(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, _GOODBYE_SECONDS)


async def _cancel_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
