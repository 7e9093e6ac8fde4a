"""To look at the user's objects wakes no lazy proxy, and an error of one is no other error."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from scrapy_mpworkers.errors import UnpicklableError
from scrapy_mpworkers.wire.callbacks import is_like_its_copy
from scrapy_mpworkers.wire.effects import pack_record
from scrapy_mpworkers.wire.fingerprint import fingerprint
from scrapy_mpworkers.wire.worker_codec import WorkerCodec


class LazyProxy:
    """As Django's, which make their object when asked for their class, or werkzeug's."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("working outside of context")

    def __repr__(self) -> str:
        raise RuntimeError("working outside of context")


class HasProxy:
    app = LazyProxy()

    def process_item(self, item: Any, app: Any = app) -> Any:
        return item


def test_a_class_with_a_lazy_proxy_has_a_fingerprint() -> None:
    assert fingerprint(HasProxy) == fingerprint(HasProxy)


def test_a_lazy_proxy_is_not_asked_whether_it_is_like_its_copy() -> None:
    assert not is_like_its_copy([LazyProxy()])
    assert is_like_its_copy((1, LazyProxy())) == is_like_its_copy(LazyProxy())


@pytest.mark.parametrize(
    "around", [lambda one: one, lambda one: [one]], ids=["itself", "in a list"]
)
def test_what_cannot_be_pickled_is_one_error_whatever_looks_at_it_raise(around: Any) -> None:
    with pytest.raises(UnpicklableError, match="working outside of context"):
        WorkerCodec().dump(around(LazyProxy()))


def test_a_record_comes_though_its_extra_has_neither_pickle_nor_text() -> None:
    codec = WorkerCodec()
    record = logging.makeLogRecord({"msg": "heard", "app": LazyProxy()})

    wired = codec.load(codec.dump(pack_record(record, codec.dump)))

    assert wired.attributes["msg"] == "heard"
    assert wired.attributes["app"] == "<its __repr__ raised RuntimeError>"
