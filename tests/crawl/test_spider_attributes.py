"""What changes of the crawl's spider travels with callbacks, if it is small."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from scrapy import Spider

from scrapy_mpworkers.crawl.spider_attributes import SpiderAttributes
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.messages import Attributes


class Counts:
    pickled = 0

    def __reduce__(self) -> tuple[type, tuple[bytes]]:
        Counts.pickled += 1
        return bytes, (Counts.pickled.to_bytes(100, "big"),)


@pytest.fixture
def spider() -> Any:
    Counts.pickled = 0
    return Spider("s")


def names(changes: Attributes | None) -> set[str]:
    """Return the attributes that cross."""
    _, changed = changes or (0, {})
    return {name for name, carried in changed.items() if isinstance(carried, bytes)}


def reason(changes: Attributes | None, name: str) -> str | bytes:
    """Return why an attribute does not cross."""
    assert changes is not None
    return changes[1][name]


def is_seen(followed: SpiderAttributes) -> bool:
    """Return whether a look at each item, as the router takes it, would see a change."""
    return [*followed.live, *map(len, followed.containers)] != followed.seen


def test_a_list_that_was_too_large_is_pickled_again_only_when_it_is_shorter_or_another(
    spider: Any,
) -> None:
    spider.rows = []
    followed = SpiderAttributes(spider, ParentCodec({}))

    spider.rows += [Counts() for _ in range(300)]
    at_first = followed.changed()
    pickled_at_first = Counts.pickled
    for _ in range(5):
        spider.rows.append(Counts())
        as_it_grew = followed.changed()
    pickled_as_it_grew = Counts.pickled
    del spider.rows[10:]
    shrunk = followed.changed()
    spider.rows = [*spider.rows, 1]
    other = followed.changed()

    assert "larger than 16 KiB" in str(reason(at_first, "rows"))
    assert pickled_at_first == pickled_as_it_grew == 300
    assert as_it_grew == at_first  # so that workers have nothing to learn
    assert names(shrunk) == names(other) == {"rows"}
    assert [changes and changes[0] for changes in (at_first, shrunk, other)] == [1, 2, 3]
    assert reason(shrunk, "rows") != reason(other, "rows")


@pytest.mark.parametrize("kind", [list, set, tuple, frozenset])
def test_what_has_too_many_elements_is_never_pickled(spider: Any, kind: Any) -> None:
    followed = SpiderAttributes(spider, ParentCodec({}))

    for _ in range(3):
        spider.seen = kind(Counts() for _ in range(20_000))
        changes = followed.changed()

    assert names(changes) == set()
    assert Counts.pickled == 0


def test_an_object_of_a_class_that_workers_cannot_import_is_not_called_large(
    spider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type("Token", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Token", made, raising=False)
    followed = SpiderAttributes(spider, ParentCodec({}))
    spider.token = made()

    assert "workers cannot import its class" in str(reason(followed.changed(), "token"))


def test_a_look_at_each_item_sees_what_was_set_added_or_removed(spider: Any) -> None:
    spider.page, spider.words = 1, []
    followed = SpiderAttributes(spider, ParentCodec({}))

    def changes() -> bool:
        found = is_seen(followed)
        followed.changed()
        return found

    seen = [changes()]
    spider.page = 2
    seen += [changes(), changes()]
    spider.words.append("ant")
    seen += [changes(), changes()]
    spider.state = {}
    seen += [changes(), changes()]
    spider.state["done"] = 1
    seen += [changes(), changes()]
    del spider.page
    seen += [changes(), changes()]

    assert seen == [False, *[True, False] * 5]
    assert names(followed.changes) == {"page", "words", "state"}
