"""A class or function that only has the name of another is not taken for it."""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.fingerprint import fingerprint
from scrapy_mpworkers.wire.importing import imported

SOURCE = """
import collections, dataclasses, enum, functools, threading
import attrs, pydantic, scrapy

def make(v):
    class Row:
        VERSION = v
        def __init__(self, n): self.n = n
    return Row

def counting(f):
    cache = {}
    @functools.wraps(f)
    def wrapper(x):
        if x in {"a", "b", "c", "d"}:
            return cache.setdefault(x, f(x))
        return f(x)
    return wrapper

def plain(x, y=1, *, z={"k": 1}): return [one for one in x if one]
shout = counting(plain)
CURRENT = make(1)
LOCK = threading.Lock()
B = ("b", "list[int]", dataclasses.field(default=3))
Data = dataclasses.make_dataclass("Made", [("a", int), B])
Named = collections.namedtuple("Pair", "x y", defaults=[1])
Model = pydantic.create_model("Created", a=(int, 1), b=(dict[str, int] | None, None))
Kinds = enum.Flag("Kind", "A B C")
Thing = type("Item", (scrapy.Item,), {"a": scrapy.Field(output={"x", "y"})})
Attrs = attrs.make_class("Attr", {"a": attrs.field(default=1)})
ALL = [plain, shout, CURRENT, Data, Named, Model, Kinds, Thing, Attrs]
"""

READ = """
import pickle, sys
from scrapy_mpworkers.wire.fingerprint import fingerprint
import versions
print([fingerprint(one) for one in versions.ALL])
print([getattr(pickle.loads(bytes.fromhex(blob)), "VERSION") for blob in sys.argv[1:]])
"""


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "versions.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("versions")
    del sys.modules["versions"]


def read_elsewhere(versions: ModuleType, *blobs: bytes) -> tuple[Any, Any]:
    assert versions.__file__ is not None
    paths = [str(Path(versions.__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", READ, *(blob.hex() for blob in blobs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = done.stdout.splitlines()
    return eval(first), eval(second)


def test_another_process_makes_the_class_that_was_bound_there_at_run_time(
    versions: ModuleType,
) -> None:
    codec = ParentCodec({})
    used = [fingerprint(one) for one in versions.ALL]
    versions.Kinds.A | versions.Kinds.B  # an enum notes in itself what it has made
    versions.shout("a")
    copy.copy(versions.CURRENT(1))  # notes the names of its slots
    (same,) = codec.dump(versions.CURRENT(7)).needs
    versions.CURRENT = versions.make(2)
    (other,) = codec.dump(versions.CURRENT(7)).needs

    blobs = [codec.definitions.blobs[number] for number in (same, other)]
    prints, found = read_elsewhere(versions, *blobs)

    assert prints == used
    assert [fingerprint(one) for one in versions.ALL] == used
    assert found == [1, 2]


def test_another_that_cannot_be_made_by_value_is_an_error(versions: ModuleType) -> None:
    mark = fingerprint(versions.make(2))
    place = ("versions", "CURRENT", "make.<locals>.Row")

    with pytest.raises(ImportError, match=r"versions\.CURRENT is another object here"):
        imported(*place, None, mark)

    assert imported(*place, None, fingerprint(versions.make(1))) is versions.CURRENT


def test_what_was_stored_comes_back_as_the_class_of_today(versions: ModuleType) -> None:
    codec = ParentCodec({})
    stored = codec.stored(codec.dump(versions.CURRENT(7)))
    versions.CURRENT = versions.make(2)

    assert type(ParentCodec({}).open(stored)) is versions.CURRENT


def closing(over: Any) -> Any:
    def same() -> Any:
        return over

    return same


def having(default: Any) -> Any:
    def same(one: Any = default) -> Any:
        return one

    return same


def wrapping(function: Any) -> Any:
    @wraps(closing)
    def wrapper() -> Any:
        return function()

    return wrapper


def method(made: Any) -> Any:
    return type("Same", (), {"method": made})


def first() -> int:
    return 1


def second() -> int:
    return 2


class Recursive:
    def again(self) -> Any:
        return super().__init__()


DIFFERENT = {
    "constant": (method(closing(1)), method(closing(True))),
    "default": (having(1), having(2)),
    "wrapped": (wrapping(first), wrapping(second)),
    "static": (method(staticmethod(first)), method(staticmethod(second))),
    "property": (method(property(first)), method(property(second))),
    "list": (type("Same", (), {"fields": ["a"]}), type("Same", (), {"fields": ["b"]})),
    "names": (type("Same", (), {"a": 1}), type("Same", (), {"b": 1})),
    "bases": (type("Same", (int,), {}), type("Same", (str,), {})),
    "annotations": (
        type("Same", (), {"__annotations__": {"a": int}}),
        type("Same", (), {"__annotations__": {"a": str}}),
    ),
    "kind": (first, Recursive),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_two_that_differ_have_two_fingerprints(pair: tuple[Any, Any]) -> None:
    one, other = pair

    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)
