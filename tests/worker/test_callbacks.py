"""Parts of callbacks, as a worker makes them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from scrapy import Request, Spider
from scrapy.http import HtmlResponse

from scrapy_mpworkers.wire.callback_pickler import dump_callback
from scrapy_mpworkers.wire.callbacks import CallbackTask, How, Part, Progress, as_part
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import CALLBACK, WireTask
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.callbacks import Callbacks


class Exits:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return sys.exit, ("bye",)


class Many(Spider):
    name = "many"

    def parse(self, response: Any, **given: Any) -> Iterator[dict[str, int]]:
        for n in range(1000):
            yield {"n": n}


class Callers:
    """The callbacks of one worker, and tasks for them."""

    def __init__(self) -> None:
        self._parent = ParentCodec({"spider": (spider := Many())})
        self._spider = spider
        codec = WorkerCodec()
        codec.share(spider=Many())
        crawler: Any = SimpleNamespace(update=lambda *attributes: None)
        self.callbacks = Callbacks(crawler, codec, _awaited)

    async def part(self, number: int, *earlier: bytes, **given: Any) -> Part:
        """Begin a callback, and return its first part."""
        response = HtmlResponse("http://site.test/")
        response.request = request = Request("http://site.test/", cb_kwargs=given)
        task = CallbackTask("parse", request, response, None, ())
        frame = dump_callback(self._parent, self._spider, task)
        return await self._part(WireTask(number, CALLBACK, bytes(frame.data), earlier))

    async def end(self, number: int) -> Part:
        """Tell a callback that nobody wants the rest."""
        return await self._part(WireTask(number, CALLBACK, b"", (b"",)))

    async def _part(self, task: WireTask) -> Part:
        _, part, _ = await self.callbacks.part(task)
        return as_part(self._parent.load(part))


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.fixture
def callers() -> Callers:
    return Callers()


async def test_a_callback_that_is_given_what_ends_the_process_runs_at_home(
    callers: Callers,
) -> None:
    part = await callers.part(1, page=Exits())

    assert part.how == How.AT_HOME
    assert "cannot be loaded in a worker (SystemExit: bye)" in part.why


async def test_the_end_of_one_is_no_repetition_though_the_one_before_it_was(
    callers: Callers,
) -> None:
    had = Progress()
    for n in range(300):
        had.add(callers.callbacks._codec.dump_result({"n": n}))
    await callers.part(2)
    await callers.part(1, had.packed())
    repeated = callers.callbacks.is_repeating

    ended = await callers.end(2)

    assert ended.how == How.DONE
    assert (repeated, callers.callbacks.is_repeating) == (True, False)
