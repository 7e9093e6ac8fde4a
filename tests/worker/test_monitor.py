"""What the source does not tell is seen in the first items; then nothing of the watch is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scrapy.exceptions import DropItem
from scrapy.utils.test import get_crawler

from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.worker.monitor import SHAPED, TIMED, warn_and_watch
from scrapy_mpworkers.worker.pipelines import HopPipelines, hop_pipelines

FOUR = Placement(workers=4)


def remember(place: Any, value: Any) -> None:
    place.append(value) if isinstance(place, list) else place.add(value)


def fill_in(place: dict[Any, Any], key: Any) -> None:
    place[key] = key


class ByAHelper:
    def __init__(self) -> None:
        self.seen: set[Any] = set()
        self.filled: dict[Any, Any] = {}

    def process_item(self, item: Any) -> Any:
        remember(self.seen, item["n"])
        fill_in(self.filled, item["n"] % 3)
        return item


class OfItsClass:
    known: list[Any] = []

    def process_item(self, item: Any) -> Any:
        remember(self.known, item["n"])
        raise DropItem("each of them")


class KnownByItsSource:
    def __init__(self) -> None:
        self.cache: dict[Any, Any] = {}
        self.counts: Counter[Any] = Counter()

    def process_item(self, item: Any) -> Any:
        if item["n"] not in self.cache:
            self.cache[item["n"]] = str(item["n"])
        self.counts[item["n"]] += 1
        return item


class Sleeps:
    def process_item(self, item: Any) -> Any:
        time.sleep(0.002)
        return item


class SleepsAsync:
    async def process_item(self, item: Any) -> Any:
        await asyncio.sleep(0.002)
        return item


class Computes:
    def process_item(self, item: Any) -> Any:
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass
        return item


class Uncountable(list[Any]):
    def __len__(self) -> int:
        raise RuntimeError("ask later")


class HoldsUncountable:
    def __init__(self) -> None:
        self.rows = Uncountable()

    def process_item(self, item: Any) -> Any:
        return item


class LazyProxy:
    """As of werkzeug outside of a context; Django's makes its object instead of raising."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("working outside of context")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of context")


class HasProxy:
    app = LazyProxy()

    def process_item(self, item: Any) -> Any:
        return item


class HidesItsAttributes:
    @property
    def __dict__(self) -> Any:
        raise SystemExit("nothing to see")

    def process_item(self, item: Any) -> Any:
        return item


class DoesNothing:
    def process_item(self, item: Any) -> Any:
        return item


def without_source() -> type:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec(
        "class Exec:\n"
        " def __init__(self): self.rows = []\n"
        " def process_item(self, item):\n"
        "  self.rows.append(item)\n"
        "  return item",
        namespace,
    )
    cls: type = namespace["Exec"]
    return cls


async def process(pipelines: list[type], placement: Placement, count: int) -> HopPipelines:
    hop = hop_pipelines(pipelines, get_crawler())
    warn_and_watch([hop], placement, {})
    for n in range(count):
        with contextlib.suppress(DropItem):
            await hop.process({"n": n}, lambda awaitable: awaitable)
    return hop


def run(*arguments: Any) -> HopPipelines:
    """In a thread, as the tests' own loop is running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, process(*arguments)).result()


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Any:
    def lines(pipeline: type, placement: Placement = FOUR, count: int = TIMED) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            run([pipeline], placement, count)
        return [record.getMessage() for record in caplog.records]

    return lines


@pytest.mark.parametrize(
    ("pipeline", "attribute"),
    [(ByAHelper, "self.seen"), (OfItsClass, "self.known"), (without_source(), "self.rows")],
)
def test_a_container_that_grows_with_the_items_is_named_once(
    warned: Any, pipeline: type, attribute: str
) -> None:
    (line,) = warned(pipeline, count=3 * SHAPED)

    assert pipeline.__qualname__ in line
    assert attribute in line
    assert "4 workers" in line


def test_a_container_that_cannot_be_counted_costs_no_item(warned: Any) -> None:
    assert warned(HoldsUncountable, count=SHAPED) == []


@pytest.mark.parametrize("pipeline", [HasProxy, HidesItsAttributes])
def test_a_pipeline_that_lets_nobody_look_costs_no_item(warned: Any, pipeline: type) -> None:
    assert warned(pipeline, count=SHAPED) == []


def test_growth_is_seen_in_batches_too(caplog: pytest.LogCaptureFixture) -> None:
    async def batches() -> None:
        hop = hop_pipelines([ByAHelper], get_crawler())
        warn_and_watch([hop], Placement(4, batches=True), {})
        for n in range(SHAPED):
            await hop.process_batched([{"n": 2 * n}, {"n": 2 * n + 1}], lambda one: one, int)

    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, batches()).result()

    assert "self.seen" in caplog.text


@pytest.mark.parametrize("placement", [Placement(1), Placement(4, keyed=True)])
def test_growth_is_right_with_one_worker_and_with_keys(warned: Any, placement: Placement) -> None:
    assert warned(ByAHelper, placement) == []


def test_what_the_source_tells_is_not_told_again(warned: Any) -> None:
    assert warned(KnownByItsSource) == []


@pytest.mark.parametrize("pipeline", [Sleeps, SleepsAsync])
def test_a_hop_that_mostly_waits_is_told_with_its_share_of_cpu(warned: Any, pipeline: type) -> None:
    (line,) = warned(pipeline)

    assert f"{pipeline.__qualname__}: the first {TIMED} items took" in line
    assert "on the CPU" in line


@pytest.mark.parametrize("pipeline", [Computes, DoesNothing])
def test_a_hop_that_computes_or_is_quick_is_left_in_peace(warned: Any, pipeline: type) -> None:
    assert warned(pipeline) == []


@pytest.mark.parametrize("placement", [Placement(4, batches=True), Placement(4, waits=False)])
def test_waiting_is_right_where_the_level_is_made_for_it(warned: Any, placement: Placement) -> None:
    assert warned(Sleeps, placement) == []


def test_the_watch_takes_itself_off() -> None:
    for count, is_on in ((TIMED - 1, True), (TIMED, False)):
        hop = run([DoesNothing], FOUR, count)

        assert ("process" in vars(hop)) is is_on


def test_where_nothing_is_to_be_seen_no_watch_stands() -> None:
    hop = run([DoesNothing], Placement(1, batches=True), 0)

    assert "process" not in vars(hop)
