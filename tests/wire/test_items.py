"""Items over the process boundary and back, here in one process: what travels, and the outcome."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pydantic
import pytest
import scrapy
from bs4 import BeautifulSoup
from scrapy.http import HtmlResponse

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.changes import Snapshot
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import Definition
from scrapy_mpworkers.wire.pickling import has_tokens
from scrapy_mpworkers.wire.worker_codec import WorkerCodec


class PlainItem(scrapy.Item):
    a = scrapy.Field()
    b = scrapy.Field()


class CountingItem(PlainItem):
    writes = 0

    def __setitem__(self, key: str, value: Any) -> None:
        type(self).writes += 1
        super().__setitem__(key, value)


@dataclasses.dataclass
class Data:
    a: Any = None
    b: Any = None


@dataclasses.dataclass(frozen=True)
class FrozenData:
    a: Any = None
    b: Any = None


@dataclasses.dataclass(slots=True)
class SlotsData:
    a: Any = None
    b: Any = None


@attrs.define
class Attrs:
    a: Any = None
    b: Any = None


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_assignment=True)
    a: Any = None
    b: Any = None


KINDS = [dict, PlainItem, Data, FrozenData, SlotsData, Attrs, Model]


class Trip:
    """One item's way: shipped at once, worked on, and its outcome when asked for."""

    def __init__(self, item: Any, work: Callable[[Any], Any]) -> None:
        self.parent, worker = ParentCodec({}), WorkerCodec()
        self.frame = self.parent.dump(item)
        self.snapshot = Snapshot(item)
        blobs = self.parent.definitions.blobs
        worker.define(Definition(number, blobs[number]) for number in self.frame.needs)
        arrived = Snapshot(worker.load(bytes(self.frame.data)))
        self.back = worker.dump(arrived.result(work(arrived.item)))

    def outcome(self) -> Any:
        return self.snapshot.outcome(self.parent.load(self.back, self.frame.handles))


def put(name: str, value: Any) -> Callable[[Any], Any]:
    def work(item: Any) -> Any:
        if isinstance(item, (dict, scrapy.Item)):
            item[name] = value
        else:
            object.__setattr__(item, name, value)
        return item

    return work


def get(item: Any, name: str) -> Any:
    return item[name] if isinstance(item, (dict, scrapy.Item)) else getattr(item, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_very_object_that_was_yielded_gets_the_change(kind: type) -> None:
    item = kind(a="x", b=None)

    outcome = Trip(item, put("b", [1])).outcome()

    assert outcome is item
    assert (get(item, "a"), get(item, "b")) == ("x", [1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not FrozenData])
def test_an_item_that_was_changed_meanwhile_is_left_alone(kind: type) -> None:
    item = kind(a="first", b=None)
    trip = Trip(item, put("b", "worked"))

    put("a", "second")(item)
    outcome = trip.outcome()

    assert outcome is not item
    assert type(outcome) is kind
    assert (get(outcome, "a"), get(outcome, "b")) == ("first", "worked")
    assert (get(item, "a"), get(item, "b")) == ("second", None)


def test_unchanged_fields_do_not_travel_back() -> None:
    trip = Trip({"html": "x" * 1_000_000}, put("text", "short"))

    assert len(trip.back) < 500
    assert trip.outcome() == {"html": "x" * 1_000_000, "text": "short"}


def test_a_returned_copy_sends_only_what_changed() -> None:
    item = {"html": "x" * 1_000_000}
    trip = Trip(item, lambda item: {**item, "text": "short"})

    outcome = trip.outcome()

    assert len(trip.back) < 500
    assert outcome is not item
    assert outcome == {**item, "text": "short"}


def test_deleted_renamed_and_reordered_keys_arrive_in_order() -> None:
    def work(item: dict[str, Any]) -> dict[str, Any]:
        item["c"] = item.pop("a")
        item["b"] = item.pop("b")
        return item

    outcome = Trip({"a": 1, "b": 2}, work).outcome()

    assert list(outcome.items()) == [("c", 1), ("b", 2)]


def test_fields_that_share_a_list_still_share_it() -> None:
    def work(item: dict[str, Any]) -> dict[str, Any]:
        item["a"] = item["b"] = [1]
        return item

    outcome = Trip({}, work).outcome()

    assert outcome["a"] is outcome["b"]


def test_own_setters_run_once_where_the_pipeline_assigns() -> None:
    item = CountingItem(a=1)
    CountingItem.writes = 0

    Trip(item, put("b", 2)).outcome()

    assert CountingItem.writes == 1


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_response_comes_back_as_the_very_same_object(size: int) -> None:
    body = b"p" * size
    response = HtmlResponse("http://a.b", body=body, request=scrapy.Request("http://a.b"))
    seen = []

    outcome = Trip({"r": response}, lambda item: seen.append(item["r"]) or item).outcome()

    assert outcome["r"] is response
    assert (seen[0].url, seen[0].body, seen[0].request) == ("http://a.b", body, None)


def test_only_a_frame_that_stands_for_something_is_marked() -> None:
    response, codec = HtmlResponse("http://a.b"), ParentCodec({})

    frames = [codec.dump(item).data for item in ({"a": "#"}, {"r": response}, {"a": b"#"})]

    assert [has_tokens(frame) for frame in frames] == [False, True, False]
    assert [pickle.loads(frames[n]) for n in (0, 2)] == [{"a": "#"}, {"a": b"#"}]


def test_soup_strings_become_plain_strings() -> None:
    text = BeautifulSoup("<p>word</p>", "html.parser").p.string  # type: ignore[union-attr]
    seen: list[Any] = []

    Trip({"t": text}, lambda item: seen.append(item["t"]) or item)

    assert type(seen[0]) is str


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"a": 1, "f": lambda: 1}, "'f'"),
        ({"a": {"deep": [0, scrapy.Selector(text="<p>")]}}, "'a'['deep'][1]"),
        (Data(b=lambda: 1), "'b'"),
    ],
)
def test_what_cannot_be_pickled_is_named_with_its_field(item: Any, path: str) -> None:
    with pytest.raises(UnpicklableError, match="cannot be sent") as refused:
        ParentCodec({}).dump(item)

    assert f"its field {path} holds" in str(refused.value)


def test_a_class_local_to_a_function_comes_back_as_the_very_same_class() -> None:
    @dataclasses.dataclass
    class Local:
        a: int
        b: Any = None

    outcome = Trip({"it": Local(1)}, lambda item: item).outcome()

    assert type(outcome["it"]) is Local


class Picture:
    """Pickles as an array of numpy does: its buffer as it is."""

    def __init__(self, pixels: bytearray) -> None:
        self.pixels = pixels

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Picture, (pickle.PickleBuffer(self.pixels),)


LARGE_BUFFERS = [bytearray, Picture]


@pytest.mark.parametrize("cls", LARGE_BUFFERS)
def test_a_large_buffer_comes_back_from_a_worker(cls: Any) -> None:
    def work(item: Any) -> Any:
        item["buffer"] = cls(bytearray(b"x" * 200_000))
        return item

    (buffer,) = Trip({}, work).outcome().values()

    assert bytes(getattr(buffer, "pixels", buffer)) == b"x" * 200_000


@pytest.mark.parametrize("cls", LARGE_BUFFERS)
def test_a_large_buffer_crosses_as_it_was_when_it_was_sent(cls: Any) -> None:
    buffer = bytearray(b"x" * 200_000)
    frame = ParentCodec({}).dump({"buffer": cls(buffer), "n": 1})

    buffer[:] = b"another, and shorter"

    item = WorkerCodec().load(bytes(frame.data))
    assert bytes(getattr(item["buffer"], "pixels", item["buffer"])) == b"x" * 200_000
    assert item["n"] == 1
