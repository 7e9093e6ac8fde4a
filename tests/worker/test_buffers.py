"""Pipelines that hold items until they are closed are found, and others are left in peace."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from scrapy_mpworkers.worker.buffers import (
    held_until_close,
    opened_for_writing,
    warn_of_buffers,
)


class AppendsAndWrites:
    def open_spider(self) -> None:
        self.rows: list[Any] = []

    def process_item(self, item: Any) -> Any:
        self.rows.append(dict(item))
        return item

    def close_spider(self) -> None:
        print(json.dumps(self.rows))


class FlushesByAMethod:
    def __init__(self) -> None:
        self.batch: list[Any] = []
        self.size = 10

    async def process_item(self, item: Any) -> Any:
        self.batch += [item]
        if len(self.batch) >= self.size:
            await self.flush()
        return item

    async def flush(self) -> None:
        self.batch.clear()

    async def close_spider(self) -> None:
        await self.flush()


class FillsADict:
    def process_item(self, item: Any, spider: Any) -> Any:
        self.count(item)
        return item

    def count(self, item: Any) -> None:
        self.by_site[item["site"]] = item

    def close_spider(self, spider: Any) -> None:
        for site in self.by_site:
            print(site)


class Inherits(AppendsAndWrites):
    def process_item(self, item: Any) -> Any:
        item["more"] = True
        return super().process_item(item)


class Base:
    def process_item(self, item: Any) -> Any:
        self.held.append(item)
        return item


class ClosesItsBase(Base):
    def close_spider(self) -> None:
        print(self.held)


class KeepsNothing:
    def process_item(self, item: Any) -> Any:
        item["tags"].append("seen")
        return item

    def close_spider(self) -> None:
        print("closed")


class RemembersAndClosesAFile:
    """What it has seen is of no use to its closing."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def open_spider(self) -> None:
        self.file = open("/dev/null", "w")  # noqa: SIM115 - as pipelines do

    def process_item(self, item: Any) -> Any:
        self.seen.add(item["n"])
        self.file.write(str(item))
        return item

    def close_spider(self) -> None:
        self.file.close()


class NeverCloses:
    def process_item(self, item: Any) -> Any:
        self.rows.append(item)
        return item


@pytest.mark.parametrize(
    ("pipeline", "held"),
    [
        (AppendsAndWrites, ["rows"]),
        (FlushesByAMethod, ["batch"]),
        (FillsADict, ["by_site"]),
        (ClosesItsBase, ["held"]),
        (KeepsNothing, []),
        (RemembersAndClosesAFile, []),
        (NeverCloses, []),
        (int, []),
    ],
)
def test_what_is_held_until_close_is_named(pipeline: type, held: list[str]) -> None:
    assert held_until_close(pipeline) == held


def test_a_method_that_overrides_hides_the_one_that_collects() -> None:
    # super() is not followed: rather no warning than a wrong one.
    assert held_until_close(Inherits) == []


def test_a_class_without_source_is_left_in_peace() -> None:
    namespace: dict[str, Any] = {}
    exec("class P:\n def process_item(self, item): self.x.append(item)", namespace)

    assert held_until_close(namespace["P"]) == []


def test_the_warning_names_class_and_attribute_and_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_buffers([KeepsNothing(), AppendsAndWrites()])

    (text,) = [record.getMessage() for record in caplog.records]
    for part in ("AppendsAndWrites", "self.rows", "close_spider", "ITEM_PIPELINES"):
        assert part in text


class WritesAFile:
    def open_spider(self, spider: Any) -> None:
        self.file = open("items.jsonl", "w")  # noqa: SIM115

    def process_item(self, item: Any) -> Any:
        self.file.write(json.dumps(item))
        return item


class ReadsAFile:
    def __init__(self) -> None:
        self.file = open("words.txt")  # noqa: SIM115

    def process_item(self, item: Any) -> Any:
        return item


@pytest.mark.parametrize(
    ("pipeline", "files"), [(WritesAFile, ["file"]), (ReadsAFile, []), (int, [])]
)
def test_what_is_open_for_writing_is_named(pipeline: type, files: list[str]) -> None:
    assert opened_for_writing(pipeline) == files
