"""What changes of the crawl's spider travels with callbacks, if it is small."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from scrapy import Spider

from scrapy_mpworkers.crawl.spider_attributes import SpiderAttributes
from scrapy_mpworkers.wire.codec import ParentCodec


class Counts:
    pickled = 0

    def __reduce__(self) -> tuple[type, tuple[bytes]]:
        Counts.pickled += 1
        return bytes, (Counts.pickled.to_bytes(100, "big"),)


@pytest.fixture
def spider() -> Any:
    Counts.pickled = 0
    return Spider("s")


def test_a_list_that_was_too_large_is_pickled_again_only_when_it_is_shorter_or_another(
    spider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spider.rows = []
    followed = SpiderAttributes(spider, ParentCodec({}))

    spider.rows += [Counts() for _ in range(300)]
    _, at_first = followed.changed()
    pickled_at_first = Counts.pickled
    for _ in range(5):
        spider.rows.append(Counts())
        followed.changed()
    pickled_as_it_grew = Counts.pickled
    del spider.rows[10:]
    version, shrunk = followed.changed()
    spider.rows = [*spider.rows, 1]
    later, other = followed.changed()

    assert "rows" not in at_first
    assert pickled_at_first == pickled_as_it_grew == 300
    assert "rows" in shrunk
    assert (version, later) == (1, 2)
    assert shrunk["rows"] != other["rows"]
    assert caplog.text.count("it is larger than 16 KiB") == 1


@pytest.mark.parametrize("kind", [list, set, tuple, frozenset])
def test_what_has_too_many_elements_is_never_pickled(
    spider: Any, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    followed = SpiderAttributes(spider, ParentCodec({}))

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            spider.seen = kind(Counts() for _ in range(20_000))
            _, changed = followed.changed()

    assert changed == {}
    assert Counts.pickled == 0
    assert caplog.text.count("spider.seen has changed") == 1


def test_an_object_of_a_class_that_workers_cannot_import_is_not_called_large(
    spider: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type("Token", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Token", made, raising=False)
    followed = SpiderAttributes(spider, ParentCodec({}))
    spider.token = made()

    assert followed.changed() == (0, {})
    assert "workers cannot import its class" in caplog.text
    assert "larger" not in caplog.text
