"""The Dask client of a crawl, in a thread with an asyncio loop of its own.

So Dask is the same under every reactor and without one, and nothing that it does blocks the crawl.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from scrapy_mpworkers.backends.dask.cluster import (
    ClusterSpec,
    ConnectionEvents,
    address_of,
    import_dask,
    in_words,
    upload,
)
from scrapy_mpworkers.pool.interface import Loop
from scrapy_mpworkers.wire.messages import Answer
from scrapy_mpworkers.worker.loop import cancel_the_rest

logger = logging.getLogger(__name__)

#: Seconds that a client may take to say goodbye; a scheduler that is gone does not answer.
_GOODBYE_SECONDS = 8.0
#: Seconds after which a worker that was told to die is killed by its nanny.
_DEATH_SECONDS = 3.0
#: Seconds after which the workers are looked at once more.
_LOOK_AGAIN = 2.0

#: Is told in the crawl's thread what has come of a command, by its number; ``None``: the worker
#: thread has ended; or there was an error.
Answered: TypeAlias = Callable[[int, "Answer | BaseException | None"], None]


class Session:
    """One connection to a scheduler, from the first greeting to the goodbye.

    Args:
        events: told what happens.
        crawl_loop: in whose thread they are told.
    """

    def __init__(self, spec: ClusterSpec, events: ConnectionEvents, crawl_loop: Loop) -> None:
        self.loop = asyncio.new_event_loop()  #: others use only its call_soon_threadsafe
        self._spec = spec
        self._events = events
        self._crawl_loop = crawl_loop
        self._crawl = uuid.uuid4().hex
        self._closing = asyncio.Event()
        self._client: Any = None
        self._plugin: Any = None  # the module, which imports Dask
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}  # by worker thread
        self._threads: dict[str, Any] = {}  # the future that keeps each of them alive
        self._known: set[str] = set()  # addresses of workers

    def _tell(self, event: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the crawl is over
            self._crawl_loop.call_from_thread(partial(event, *args))

    def close(self) -> None:
        """Say goodbye, and end."""
        self._closing.set()

    def start(self, thread: str, work: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
        """Run *work* until it ends, or the worker thread that it is for is released."""
        task = self.loop.create_task(work(self))
        self._tasks.setdefault(thread, set()).add(task)
        task.add_done_callback(self._tasks[thread].discard)

    def release(self, thread: str) -> None:
        """Let a worker thread end, and forget all that waits for it: the scheduler keeps work that
        somebody wants, and would wait for ever for a worker of that address."""
        self._threads.pop(thread, None)
        for task in self._tasks.pop(thread, ()):
            task.cancel()

    def run(self) -> None:
        """Connect, serve, and say goodbye."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(_note)
        try:
            self.loop.run_until_complete(self._connect())
        except BaseException as error:
            logger.debug("The connection to Dask has ended", exc_info=True)
            self._tell(self._events.lost, in_words(error))
        finally:
            self.loop.run_until_complete(cancel_the_rest())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self._tell(self._events.closed)

    async def _connect(self) -> None:
        import_dask()
        from distributed import Client

        spec = self._spec
        async with address_of(spec) as where:
            options: dict[str, Any] = {"asynchronous": True, "set_as_default": False}
            if spec.address is None:
                options["direct_to_workers"] = True  # elsewhere they may be out of reach
            self._client = await Client(**where, **options, name="scrapy-mpworkers")
            try:
                await self._serve()
            finally:
                await _in_time(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        # Workers are still being killed, perhaps.
        await asyncio.gather(*self._tasks.pop("", ()), return_exceptions=True)
        for thread in list(self._tasks):
            self.release(thread)
        await self._client.close()

    async def _serve(self) -> None:
        from distributed import Event

        from scrapy_mpworkers.backends.dask import plugin

        self._plugin, client = plugin, self._client
        await client.register_plugin(plugin.MPWorkersPlugin())
        await upload(client, self._spec.uploads)
        client.subscribe_topic("all", self._on_event)
        self._known |= set(await self._present_workers())
        self._tell(self._events.connected, list(self._known))
        # We do not hear of workers that came or went before the scheduler had our subscription.
        self.loop.call_later(_LOOK_AGAIN, self.start, "", Session._look_again)
        # The scheduler answers this request only when we leave; if it is gone, the request fails.
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
        # Not to leave an open request and an event behind.
        await leaving.set()
        await gone
        await leaving.clear()

    async def _workers(self) -> dict[str, dict[str, Any]]:
        workers: dict[str, dict[str, Any]] = (await self._client.scheduler.identity())["workers"]
        return workers

    async def _has_nanny(self, address: str) -> bool:
        return bool((await self._workers()).get(address, {}).get("nanny"))

    async def _present_workers(self) -> list[str]:
        workers = await self._workers()
        lonely = [address for address, one in workers.items() if not one.get("nanny")]
        if lonely and self._spec.nannies:
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
            if not self._spec.nannies or await self._has_nanny(address):
                self._tell(self._events.worker_came, address)
            else:
                logger.warning(
                    "The Dask worker %s is not used: it has no nanny, and MPWORKERS_ITEM_TIMEOUT "
                    "may have to kill it",
                    address,
                )

    def _left(self, address: str, expected: bool) -> None:
        self._known.discard(address)
        self._tell(self._events.worker_left, address, expected)

    async def _look_again(self) -> None:
        with contextlib.suppress(Exception):  # the scheduler is gone, which is heard otherwise
            present = await self._workers()
            for address in present.keys() - self._known:
                await self._came(address)
            for address in self._known - present.keys():
                self._left(address, expected=False)

    # Coroutine functions to call

    async def open_thread(
        self, thread: str, address: str, command: bytes, answered: Answered
    ) -> None:
        """Make a thread in a worker process, and send it its first command."""
        arguments = thread, command, self._spec.prelude, self._crawl
        future = self._submit(self._plugin.open_thread, address, thread, *arguments)
        self._threads[thread] = future  # the thread ends when nobody holds it
        await self._answer(answered, 0, future)

    async def run_command(
        self,
        thread: str,
        address: str,
        key: str,
        number: int,
        command: bytes,
        limits: dict[int, float],
        answered: Answered,
    ) -> None:
        """Send a command as a task that Dask calls *key*; *limits* are seconds by ids of tasks."""
        arguments = thread, number, command, limits
        coming = self._submit(self._plugin.run_command, address, key, *arguments)
        await self._answer(answered, number, coming)

    def _submit(self, function: Callable[..., Any], address: str, key: str, *args: Any) -> Any:
        return self._client.submit(
            function,
            *args,
            key=key,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
            fifo_timeout=0,  # strictly one after the other
        )

    async def listen(self, thread: str, address: str, number: int, answered: Answered) -> None:
        """Ask for more of what comes of a command."""

        async def ask() -> Any:
            listen = self._plugin.listen
            return (await self._client.run(listen, thread, number, workers=[address]))[address]

        await self._answer(answered, number, ask())

    async def _answer(self, answered: Answered, number: int, coming: Awaitable[Any]) -> None:
        try:
            answer: Any = await coming
        except BaseException as error:
            # If the scheduler is gone, we hear of it otherwise.
            is_lost = getattr(error, "reason", "") == "scheduler-connection-lost"
            if self._closing.is_set() or is_lost:
                return
            answer = error
        self._tell(answered, number, answer)

    async def ask(
        self, address: str, thread: str, seconds: float, told: Callable[[str | None], None]
    ) -> None:
        """Ask a worker where a thread of it is; ``None``: no answer within some seconds."""
        stack_of, options = self._plugin.stack_of, {"workers": [address], "on_error": "ignore"}
        text = None
        with contextlib.suppress(Exception):
            asking = self._client.run(stack_of, thread, **options)
            text = (await asyncio.wait_for(asking, seconds)).get(address)
        self._tell(told, text)

    async def kill_worker(self, address: str) -> None:
        """Kill a worker process, if there is a nanny that starts it again."""
        with contextlib.suppress(Exception):  # it is gone, or the scheduler is
            if not await self._has_nanny(address):
                logger.warning("The Dask worker %s has no nanny and is left alone", address)
                return
            kill = self._client.run(self._plugin.kill_worker, workers=[address], on_error="ignore")
            try:
                await asyncio.wait_for(kill, _DEATH_SECONDS)
            except asyncio.TimeoutError:
                # Code in C that never lets another thread run: the nanny is a process of its own.
                await self._client.restart_workers([address], timeout=_DEATH_SECONDS)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Dask's client leaves things behind, such as a timeout that nobody awaited any more. The
    # garbage collector finds them, in the middle of another crawl perhaps.
    logger.debug("In Dask's client: %s", context["message"], exc_info=context.get("exception"))


async def _in_time(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, _GOODBYE_SECONDS)
