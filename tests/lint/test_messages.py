"""A line is given where it matters, and says what was seen, why it is wrong, and the ways out."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.lint import inspect
from scrapy_mpworkers.lint.findings import failure_lines, lines_for, suggestion, warnings
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.entries import as_pipeline

from .pipelines import collecting, reaching, severed, stateful, stateless, waiting

FOUR = Placement(workers=4)
ONE = Placement(workers=1)
NONE = Placement(workers=0)
KEYED = Placement(workers=4, keyed=True)


def lines(pipeline: type, placement: Placement) -> list[str]:
    return warnings([inspect(pipeline)], placement)


@pytest.mark.parametrize(
    ("pipeline", "parts"),
    [
        (stateful.DuplicatesBySet, ["self.ids_seen", "4 workers", '"workers": 1', '"key"']),
        (stateful.DumpsAtTheEnd, ["self.items", "until close_spider", "process_batch"]),
        (stateful.JsonWriter, ["self.file", "overwrite each other", '"workers": 1']),
        (stateful.CsvWriter, ["self.file", "get mixed", "os.getpid()"]),
        (waiting.Mongo, ["self.db[self.collection_name].insert_one", '"batch_size"', '"wait"']),
        (waiting.Webhook, ["requests.post", "more workers than CPUs", "async def"]),
        (waiting.AsyncMongo, ["self.table.insert_one", '"batch_size"', "await at the same time"]),
        (waiting.EnrichAiohttp, ["self.session.get", "many items await at the same time"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_one_line_says_what_was_seen_and_the_ways_out(pipeline: type, parts: list[str]) -> None:
    (line,) = lines(pipeline, FOUR)

    for part in [f"{pipeline.__module__}.{pipeline.__qualname__}", "ITEM_PIPELINES", *parts]:
        assert part in line
    assert "\n" not in line


@pytest.mark.parametrize("placement", [ONE, NONE, KEYED], ids=["one", "none", "keyed"])
def test_a_memory_is_right_with_one_worker_and_with_keys(placement: Placement) -> None:
    assert lines(stateful.DuplicatesBySet, placement) == []


def test_one_worker_still_loses_what_it_holds_when_it_dies() -> None:
    (line,) = lines(stateful.DumpsAtTheEnd, ONE)

    assert "A worker that dies takes what it holds along" in line
    assert '"workers": 1' not in line


def test_keys_do_not_keep_a_file_whole() -> None:
    assert len(lines(stateful.JsonWriter, KEYED)) == 1


def test_one_worker_that_appends_is_right_and_one_that_empties_is_not() -> None:
    assert lines(stateful.CsvWriter, ONE) == []
    assert "empties it" in lines(stateful.JsonWriter, ONE)[0]


@pytest.mark.parametrize("placement", [FOUR, ONE, KEYED], ids=["four", "one", "keyed"])
def test_what_the_script_reads_afterwards_is_lost_however_many_workers(
    placement: Placement,
) -> None:
    (line,) = lines(collecting.IntoAClassAttribute, placement)

    parts = "self.results", "never comes back", "with one worker too", "crawler.stats", "feed"
    assert all(part in line for part in parts)
    assert '"workers": 1' not in line
    assert "key" not in line


@pytest.mark.parametrize(
    ("pipeline", "parts"),
    [
        (waiting.PooledByTwisted, ["twisted.enterprise.adbapi", "plain driver", "waiting.py:"]),
        (waiting.ByThread, ["twisted.internet.threads", "a plain call", "waiting.py:"]),
        (reaching.ByReactor, ["twisted.internet.reactor", "asyncio", "reaching.py:"]),
        (reaching.InAThreadOfTheReactor, ["reactor.callInThread", "a plain call", "reaching.py:"]),
        (reaching.ByLoopingCall, ["twisted.internet.task", "asyncio", "reaching.py:"]),
        (reaching.BySignals, ["signals.spider_idle", "never sent", "reaching.py:"]),
        (reaching.Crawls, ["crawler.engine.crawl", "only Scrapy's own process", "reaching.py:"]),
        (severed.AsksForMeta, ["item['response'].meta", "without its request", "severed.py:"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_would_fail_is_said_once_with_its_line_and_the_way_out(
    pipeline: type, parts: list[str]
) -> None:
    report = inspect(pipeline)

    (line,) = failure_lines(report, ONE)

    for part in [f"{pipeline.__module__}.{pipeline.__qualname__}", "ITEM_PIPELINES", *parts]:
        assert part in line
    assert "\n" not in line
    assert line in lines_for([report], ONE)
    assert lines_for([report], NONE) == []


def test_an_inspection_that_was_lost_is_said_so() -> None:
    report = inspect(stateless.ExtractText)._replace(error="KeyError: 'x'")

    (line,) = lines_for([report], ONE)

    assert "could not be inspected (KeyError: 'x')" in line


def test_in_scrapys_own_process_everything_is_as_it_was() -> None:
    for pipeline in (
        stateful.DumpsAtTheEnd,
        stateful.JsonWriter,
        waiting.Mongo,
        collecting.IntoAGlobal,
    ):
        assert lines(pipeline, NONE) == []


@pytest.mark.parametrize(
    "placement", [Placement(workers=4, batches=True), Placement(workers=4, waits=False)]
)
def test_a_level_that_stores_in_batches_or_is_not_waited_for_is_right(placement: Placement) -> None:
    assert lines(waiting.Mongo, placement) == []


def test_a_level_that_only_stores_is_advised_to_use_batches() -> None:
    mixed = [inspect(one) for one in (stateless.ExtractText, waiting.Mongo)]

    (alone,) = lines(waiting.Mongo, FOUR)
    (beside,) = warnings(mixed, FOUR)

    assert 'Give its level "batch_size"' in alone
    assert "a level of its own" in beside


@pytest.mark.parametrize(
    ("pipeline", "placement", "where"),
    [
        (stateless.ExtractText, FOUR, "as it is"),
        (collecting.IntoAGlobal, ONE, "ITEM_PIPELINES"),
        (collecting.IntoAGlobal, NONE, "as it is"),
        (stateless.Slugs, FOUR, "as it is"),
        (stateful.DuplicatesBySet, FOUR, '"workers": 1 (or a "key")'),
        (stateful.DuplicatesBySet, KEYED, "as it is"),
        (stateful.JsonWriter, FOUR, '"workers": 1'),
        (waiting.Mongo, FOUR, '"batch_size"'),
        (waiting.EnrichHttpx, FOUR, "ITEM_PIPELINES"),
        (waiting.Screenshot, FOUR, "ITEM_PIPELINES"),
    ],
)
def test_a_place_is_suggested(pipeline: type, placement: Placement, where: str) -> None:
    assert where in suggestion(inspect(pipeline), placement)


def test_a_plain_function_is_called_by_its_own_name() -> None:
    (line,) = lines(as_pipeline(stateful.unique), FOUR)

    assert line.startswith(f"{stateful.__name__}.unique remembers in seen")
