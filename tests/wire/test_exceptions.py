"""Exceptions taken apart and rebuilt."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from scrapy.exceptions import DropItem

from scrapy_mpworkers.errors import RemoteError
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.exceptions import RemoteDropItem, pack_exception, unpack_exception
from scrapy_mpworkers.wire.worker_codec import WorkerCodec


class Needy(DropItem):
    def __init__(self, price: float, limit: float) -> None:
        super().__init__(f"{price} is over {limit}")
        self.limit = limit


class Moody(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def crossed(error: BaseException) -> Exception:
    worker, parent = WorkerCodec(), ParentCodec({})
    try:
        raise error
    except BaseException as raised:
        return unpack_exception(pack_exception(raised, worker.dump), parent.load)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("four"),
        KeyError("field"),
        Needy(3, 2),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        AttributeError("no such thing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_type_text_and_attributes_arrive(error: Exception) -> None:
    rebuilt = crossed(error)

    assert (type(rebuilt), str(rebuilt), rebuilt.args) == (type(error), str(error), error.args)
    assert rebuilt.__dict__.items() >= error.__dict__.items()


def test_the_cause_is_the_traceback_of_the_worker() -> None:
    assert "raise error\nValueError: four" in str(crossed(ValueError("four")).__cause__)


def test_a_drop_carries_no_traceback() -> None:
    assert crossed(DropItem("no")).__cause__ is None


def test_an_unpicklable_attribute_costs_the_attribute_only() -> None:
    error = ValueError("four")
    error.lock = lambda: 1  # type: ignore[attr-defined]

    rebuilt = crossed(error)

    assert type(rebuilt) is ValueError
    assert not hasattr(rebuilt, "lock")


class Unleveled(DropItem):
    def __getattribute__(self, name: str) -> Any:
        if name == "log_level":
            raise RuntimeError("ask later")
        return super().__getattribute__(name)


def leveled() -> DropItem:
    error = DropItem("odd")
    error.log_level = threading.Lock()  # type: ignore[assignment]
    return error


@pytest.mark.parametrize("error", [leveled(), Unleveled("odd")], ids=["lock", "raises"])
def test_a_drop_whose_level_cannot_cross_stays_a_drop(error: DropItem) -> None:
    worker = WorkerCodec()

    failure = pack_exception(error, worker.dump)

    assert "odd" in repr(worker.load(worker.dump(failure)))


def test_a_drop_whose_type_cannot_be_rebuilt_stays_a_drop_with_its_level() -> None:
    local: Any = type("Local", (DropItem,), {"__module__": "nowhere", "lock": threading.Lock()})
    error = local("gone")
    error.log_level = "ERROR"

    rebuilt = crossed(error)

    assert type(rebuilt) is RemoteDropItem
    assert (str(rebuilt), rebuilt.log_level) == ("gone", "ERROR")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_would_end_the_crawl_becomes_a_plain_error(error: BaseException) -> None:
    assert type(crossed(error)) is RemoteError


def test_an_exception_without_a_text_arrives() -> None:
    assert isinstance(crossed(Moody()), Exception)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ExceptionGroup came with 3.11")
def test_exception_groups_arrive() -> None:
    rebuilt: Any = crossed(ExceptionGroup("both", [ValueError("a"), KeyError("b")]))  # noqa: F821

    assert [type(error) for error in rebuilt.exceptions] == [ValueError, KeyError]
