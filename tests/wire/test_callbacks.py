"""Callbacks on their way to a worker and back, without one."""

from __future__ import annotations

import datetime
import inspect
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from scrapy import Request, Spider
from scrapy.http import HtmlResponse

from scrapy_mpworkers.errors import NotInWorkerError
from scrapy_mpworkers.wire.callback_pickler import dump_callback, dump_request
from scrapy_mpworkers.wire.callbacks import CallbackTask, How, Part, as_task, is_like_its_copy
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.worker_codec import WorkerCodec
from scrapy_mpworkers.worker.callback_run import RunningCallback

LOCK = threading.Lock()


class Uses(Spider):
    name = "uses"
    use: Callable[[Any], Any]

    def parse(self, response: Any) -> Any:
        type(self).use(response.meta["page"])
        yield {"used": True}

    def late(self, response: Any) -> Any:
        yield {"used": False}
        yield from self.parse(response)


class Yields(Spider):
    name = "yields"

    def closure(self, response: Any) -> Any:
        def inner(response: Any) -> Any:
            yield {"word": word}

        word = "ant"
        yield Request("http://site.test/a", inner)

    def by_class(self, response: Any) -> Any:
        yield Request("http://site.test/a", self.made)

    @classmethod
    def made(cls, response: Any) -> Any:
        yield {"class": cls.__name__}

    def passes_on(self, response: Any) -> Any:
        yield Request("http://site.test/a", meta=response.meta)

    def selector(self, response: Any) -> Any:
        yield Request("http://site.test/a", meta={"title": response.css("title")})

    def encoding(self, response: Any) -> Any:
        yield {"detected": response._cached_benc, "declared": response._declared_encoding()}


class Rendered(HtmlResponse):
    took: float


class Crossing:
    """A callback of a spider, and what comes back of it."""

    def __init__(self, spider: Spider, name: str, **meta: Any) -> None:
        self.response = HtmlResponse("http://site.test/", body=b"<title>caf\xe9</title>")
        self.response.request = Request("http://site.test/", meta=meta)
        self._spider, self._name = spider, name
        self._parent = ParentCodec({"spider": spider})

    async def part(self) -> Part:
        return await self.running().part(1.0)

    def running(self) -> RunningCallback:
        task = CallbackTask(self._name, self.response.request, self.response, None, ())
        self._frame = dump_callback(self._parent, self._spider, task)
        worker = WorkerCodec()
        worker.share(spider=type(self._spider)())
        arrived = as_task(worker.load(bytes(self._frame.data)))
        return RunningCallback(arrived, b"", worker, _awaited)

    async def results(self) -> list[Any]:
        part = await self.part()
        assert part.how == How.DONE, part.why
        return [self._parent.load(result, self._frame.handles) for result in part.results]


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda page: page.__enter__(), id="with"),
        pytest.param(lambda page: page.title, id="attribute"),
        pytest.param(lambda page: page["title"], id="key"),
        pytest.param(lambda page: page(), id="call"),
        pytest.param(lambda page: bool(page), id="truth"),
        pytest.param(lambda page: list(page), id="iteration"),
        pytest.param(lambda page: f"{page}", id="text"),
    ],
)
async def test_who_uses_what_stayed_at_home_goes_there_and_names_the_key(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Uses, "use", staticmethod(use), raising=False)

    part = await Crossing(Uses(), "parse", page=LOCK).part()

    assert part.how == How.AT_HOME
    assert part.why == (
        "meta['page'] has stayed in Scrapy's own process, as it cannot be pickled (TypeError: "
        "cannot pickle '_thread.lock' object). A callback in a worker may pass it on and not use "
        "it: put plain data there, or take that callback out of MPWORKERS_CALLBACKS."
    )


async def test_who_has_given_results_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uses, "use", staticmethod(bool), raising=False)
    running = Crossing(Uses(), "late", page=LOCK).running()

    parts = [await running.part(0.0), await running.part(0.0)]

    assert [part.how for part in parts] == [How.GOES_ON, How.FAILED]
    assert isinstance(parts[1].why, NotInWorkerError)


async def test_what_stayed_at_home_comes_back_as_itself() -> None:
    [request] = await Crossing(Yields(), "passes_on", page=LOCK, note=[1]).results()

    assert request.meta["page"] is LOCK
    assert request.meta["note"] == [1]


async def test_the_source_of_a_closure_is_found_where_it_goes() -> None:
    [request] = await Crossing(Yields(), "closure").results()

    assert 'yield {"word": word}' in inspect.getsource(request.callback)
    assert list(request.callback(None)) == [{"word": "ant"}]


async def test_a_class_method_comes_back_as_itself() -> None:
    [request] = await Crossing(Yields(), "by_class").results()

    assert request.callback == Yields.made


async def test_an_encoding_that_was_detected_is_not_detected_again_and_not_declared() -> None:
    crossing = Crossing(Yields(), "encoding")
    detected = crossing.response.encoding

    assert await crossing.results() == [{"detected": detected, "declared": None}]


def test_a_kept_request_has_its_page_again_with_what_was_found_out_about_it() -> None:
    page = Rendered("http://site.test/", body=b"<title>caf\xe9</title>")
    page.took = 0.5  # as a downloader middleware sets it
    detected = page.encoding
    codec = ParentCodec({"spider": Yields()})
    request = Request("http://site.test/a", meta={"page": page})

    kept = codec.open(codec.stored(dump_request(codec, Yields(), request))).meta["page"]

    assert (kept.took, kept._cached_benc, kept.text) == (0.5, detected, page.text)


async def test_a_request_that_cannot_be_pickled_is_told_by_its_field() -> None:
    part = await Crossing(Yields(), "selector").part()

    assert part.how == How.AT_HOME
    assert "its field 'meta'['title'][0] holds a scrapy.selector" in part.why
    assert part.why.endswith(
        "Put plain data there, or take the callback out of MPWORKERS_CALLBACKS."
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (("a", 1, b"b"), True),
        (datetime.date(2024, 2, 29), True),
        (("a", Path("b")), True),
        (Request, True),
        (len, True),
        (inspect, True),
        ([], False),
        (("a", []), False),
        (Request("http://site.test/"), False),
    ],
)
def test_a_copy_that_nobody_can_tell_from_its_original(value: Any, expected: bool) -> None:
    assert is_like_its_copy(value) is expected
