"""Which classes cross by import, which by value, and what it costs to know."""

from __future__ import annotations

import collections
import dataclasses
import enum
import importlib.util
import pickle
import pickletools
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire import definitions
from scrapy_mpworkers.wire.changes import Change, Result, ResultKind, Snapshot, shrinks
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.importing import Importing, imported


@dataclasses.dataclass
class Item:
    a: int = 0


Bound = dataclasses.make_dataclass("Made", ["a"])


class Outer:
    class Inner(enum.Enum):
        A = 1


@pytest.mark.parametrize("cls", [Item, Outer.Inner, dict, type(None), collections.OrderedDict])
def test_what_a_worker_finds_under_its_name_crosses_by_import(cls: type) -> None:
    codec = ParentCodec({})

    frame = codec.dump({"cls": cls})

    assert frame.needs == ()
    assert pickle.loads(frame.data) == {"cls": cls}


def test_a_class_bound_to_another_name_is_imported_from_there() -> None:
    codec = ParentCodec({})

    (number,) = codec.dump(Bound(1)).needs

    strings = [arg for _, arg, _ in pickletools.genops(codec.definitions.blobs[number])]
    assert {__name__, "Bound"} <= {arg for arg in strings if isinstance(arg, str)}
    assert pickle.loads(codec.definitions.blobs[number]) is Bound


def test_what_is_not_there_any_more_is_made_by_value() -> None:
    blob = pickle.dumps(Item)

    assert imported(__name__, "Gone", "Made", blob) is Item
    assert imported("no.such.module", "Item", "Item", blob) is Item
    assert imported(__name__, "Outer", "Item", blob) is Item
    with pytest.raises(AttributeError):
        imported(__name__, "Gone", "Made", None)


def test_a_name_that_is_bound_anew_while_items_cross_costs_no_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec, first = ParentCodec({}), Item
    assert codec.dump(first(1)).needs == ()

    monkeypatch.setattr(sys.modules[__name__], "Item", None)

    assert len(codec.dump(first(1)).needs) == 1


def loaded(name: str, folder: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / "found.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["found", "another", "wave", "wire.plugin"])
def test_a_module_that_was_loaded_from_a_path_is_nobody_elses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found.py").write_text("class Found: ...")
    monkeypatch.setitem(sys.modules, name, loaded(name, tmp_path))
    cls = sys.modules[name].Found

    assert not Importing().finds(cls)
    # Unless its folder is one of those where workers look, and its name that of the file.
    assert Importing([str(tmp_path)]).finds(cls) == (name == "found")


def test_what_was_found_out_of_a_class_is_not_found_out_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec = ParentCodec({})
    items = [Item(1), Bound(1)]
    for item in items:
        codec.dump(item)

    monkeypatch.setattr(Importing, "finds", None)
    monkeypatch.setattr(Importing, "elsewhere", None)

    for item in items:
        codec.dump(item)


def test_a_class_is_looked_for_in_milliseconds() -> None:
    cls = type("Nowhere", (), {})
    started = time.perf_counter()

    assert Importing().elsewhere(cls) is None

    assert time.perf_counter() - started < 1.0


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            {"p": Point(1, {"f": lambda: 1})},
            "a dict cannot be sent to another process: its field 'p'['y']['f'] holds the function",
        ),
        ({"p": Point(lambda: 1, 2)}, "its field 'p'['x'] holds the function"),
        (
            Point(1, lambda: 1),
            f"a {__name__}.Point cannot be sent to another process: its field 'y' holds",
        ),
        (types.MappingProxyType({}), "a mappingproxy cannot be sent to another process (TypeError"),
    ],
)
def test_a_named_tuple_of_the_users_is_named_and_looked_into(item: Any, words: str) -> None:
    with pytest.raises(UnpicklableError) as refused:
        ParentCodec({}).dump(item)

    assert words in str(refused.value)


BIG = "x" * 100_000
PAIR = (BIG, BIG)


@pytest.mark.parametrize(
    ("before", "after", "result", "is_smaller"),
    [
        ({"a": BIG, "b": 1}, {"b": 1}, 50, True),
        ({"a": BIG, "b": 1}, {"a": "short", "b": 1}, 60, True),
        ({"a": BIG, "b": BIG}, {"b": BIG}, 50, False),
        ({"a": BIG, "b": PAIR}, {"a": 1, "b": PAIR}, 50, False),
        ({"a": BIG}, {"a": BIG, "b": 1}, 50, False),
        ({"a": [BIG]}, {"a": [BIG]}, 100_000, False),
        ({"a": BIG[:10_000]}, {}, 50, False),
    ],
)
def test_an_item_is_sent_on_alone_only_if_it_has_lost_most(
    before: dict[str, Any], after: dict[str, Any], result: int, is_smaller: bool
) -> None:
    snapshot = Snapshot(before)
    before.clear()
    before.update(after)
    shipped = sum(map(len, map(str, snapshot.fields.values())))  # type: ignore[union-attr]

    assert shrinks(snapshot, snapshot.result(before), result, shipped) is is_smaller


def test_what_was_replaced_as_a_whole_is_sent_on_alone_if_it_is_small() -> None:
    snapshot, whole = Snapshot({"a": BIG}), Result(ResultKind.WHOLE, [1])

    assert shrinks(snapshot, whole, 100, len(BIG))
    assert not shrinks(snapshot, whole, 99_000, len(BIG))
    assert not shrinks(snapshot, Result(ResultKind.SAME, Change({}, (), None)), 50, len(BIG))


def test_a_class_that_is_made_anew_again_and_again_is_warned_of_once_by_its_name(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 20
    monkeypatch.setattr(definitions, "MANY", many)
    codec = ParentCodec({})
    said = []

    for number in range(2 * many + 1):
        codec.dump(collections.namedtuple("Anew", "a", module=__name__)(number))
        codec.dump(Bound(number))
        said.append(len(caplog.messages))

    assert said == [0] * (many - 1) + [1] * (many + 2)
    assert caplog.messages[0].startswith(f"{__name__}.Anew has been made {many} times")
