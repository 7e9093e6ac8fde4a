"""Each of many pipelines, written as public projects write them, is told rightly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scrapy_mpworkers.lint import Kind, inspect
from scrapy_mpworkers.wire.entries import as_pipeline

from .pipelines import (
    buffers,
    collecting,
    modern,
    more,
    peaceful,
    severed,
    stateful,
    stateless,
    waiting,
)

STATELESS = [
    value
    for module in (stateless, peaceful)
    for value in vars(module).values()
    if getattr(value, "__module__", "") == module.__name__ and hasattr(value, "process_item")
]
#: class → kind → what is named. A cache is told too, so that nothing else warns of it.
CACHES = {
    "CachesResults": ("self.results",),
    "Slugs": ("self.cache",),
    "MemoByException": ("self.known",),
    "MemoThatReturnsEarly": ("self._brands",),
}
STATEFUL: dict[Any, dict[str, tuple[str, ...]]] = {
    stateful.DuplicatesBySet: {"state": ("self.ids_seen",)},
    stateful.DuplicatesByAnotherName: {"state": ("self.urls",)},
    stateful.DuplicatesByClassAttribute: {"state": ("self.fingerprints",)},
    stateful.DuplicatesByDict: {"state": ("self.seen",)},
    stateful.DuplicatesByGlobal: {"state": ("SEEN_URLS",)},
    stateful.DuplicatesByLength: {"state": ("self.titles",)},
    stateful.DuplicatesByBloomFilter: {"state": ("self.filter",)},
    stateful.DuplicatesFromArgument: {"state": ("self.seen",)},
    stateful.DuplicatesByBase: {"state": ("self.known",)},
    stateful.Recent: {"state": ("self.last",)},
    stateful.LimitPerSite: {"state": ("self.per_site",)},
    stateful.GlobalCount: {"state": ("total",)},
    stateful.CountsOnSelf: {"state": ("self.count",)},
    stateful.StopsAfterMany: {"state": ("self.n",)},
    stateful.RunningAverage: {"state": ("self.n", "self.total")},
    stateful.PriceChange: {"state": ("self.prices",)},
    stateful.FirstSeen: {"state": ("self.first",)},
    stateful.NumbersCategories: {"state": ("self.numbers",)},
    stateful.SerialNumbers: {"state": ("self.ids",)},
    stateful.ComparesWithLast: {"state": ("self.last",)},
    stateful.RateLimit: {"state": ("self.last_call",)},
    stateful.unique: {"state": ("seen",)},
    stateful.unique_by_name: {"state": ("seen",)},
    stateful.BatchOfHundred: {"buffer": ("self.rows",)},
    stateful.BatchThatIsNeverClosed: {"buffer": ("self.rows",)},
    stateful.DumpsAtTheEnd: {"buffer": ("self.items",)},
    stateful.GroupsAtTheEnd: {"buffer": ("self.groups",)},
    stateful.CountsWords: {"buffer": ("self.words",)},
    stateful.EndsByASignal: {"buffer": ("self.rows",)},
    stateful.CountsOnTheSpider: {"state": ("spider.total",)},
    stateful.SeenOnTheSpider: {"state": ("spider.seen",)},
    stateful.NumbersOfIts: {"state": ("self.next_id",)},
    stateful.CommitsAtTheEnd: {"buffer": ("self.connection",)},
    stateful.FileForEachShop: {"file": ("self.files",)},
    stateful.FillsWhatItNeverMakes: {"buffer": ("self.by_site",)},
    stateful.Inherits: {"buffer": ("self.items",)},
    stateful.AsyncBatch: {"buffer": ("self.batch",)},
    stateful.RemembersAndWrites: {"state": ("self.seen",), "file": ("self.file",)},
    stateful.Excel: {"buffer": ("self.ws",)},
    stateful.ExcelByRow: {"buffer": ("self.sheet",), "state": ("self.row",)},
    stateful.Frame: {"buffer": ("self.df",)},
    stateful.FrameByRow: {"buffer": ("self.df",)},
    stateful.JsonWriter: {"file": ("self.file",)},
    stateful.CsvWriter: {"file": ("self.file",)},
    stateful.CsvByLocal: {"file": ("self.writer",)},
    stateful.JsonLinesExporter: {"file": ("self.file",)},
    stateful.ExportsEachYear: {"file": ("self.exporters",)},
    stateful.AppendsEachTime: {"file": ("open('items.txt', 'a')",)},
    stateful.EmptiesAtOpen: {"file": ("open('urls.txt', 'w')",)},
}
WAITING: dict[Any, tuple[str, bool]] = {
    waiting.Mongo: ("stores", False),
    waiting.OldMongo: ("stores", False),
    waiting.AsyncMongo: ("stores", True),
    waiting.MySQL: ("stores", False),
    waiting.Postgres: ("stores", False),
    waiting.Alchemy: ("stores", False),
    waiting.AlchemySession: ("stores", False),
    waiting.AsyncPostgres: ("stores", True),
    waiting.Elastic: ("stores", False),
    waiting.RedisDuplicates: ("stores", False),
    waiting.Kafka: ("stores", False),
    waiting.S3: ("stores", False),
    waiting.Webhook: ("waits", False),
    waiting.EnrichAiohttp: ("waits", True),
    waiting.EnrichHttpx: ("waits", True),
    waiting.Geocode: ("waits", False),
}
FAILING = {
    waiting.PooledByTwisted: "twisted.enterprise.adbapi",
    waiting.ByThread: "twisted.internet.threads",
    waiting.Screenshot: "crawler.engine.download",
}


def found(pipeline: Any) -> dict[str, tuple[str, ...]]:
    report = inspect(as_pipeline(pipeline))
    return {finding.kind.value: finding.names for finding in report.findings}


def name(value: Any) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("pipeline", [*STATELESS, stateless.first_words], ids=name)
def test_a_stateless_pipeline_is_left_in_peace(pipeline: Any) -> None:
    cache = CACHES.get(pipeline.__name__)

    assert found(pipeline) == ({"cache": cache} if cache else {})


@pytest.mark.parametrize(("pipeline", "verdict"), STATEFUL.items(), ids=name)
def test_what_is_kept_between_items_is_named(pipeline: Any, verdict: dict[str, Any]) -> None:
    assert found(pipeline) == verdict


@pytest.mark.parametrize(("pipeline", "verdict"), WAITING.items(), ids=name)
def test_what_mostly_waits_is_told(pipeline: Any, verdict: tuple[str, bool]) -> None:
    report = inspect(pipeline)

    (waits,) = [one for one in report.findings if one.kind is not Kind.CACHE]
    assert (waits.kind.value, waits.is_async) == verdict


def test_what_fetches_and_parses_may_be_worth_a_worker() -> None:
    assert found(waiting.FetchesAndParses) == {}


@pytest.mark.parametrize(("pipeline", "what"), FAILING.items(), ids=name)
def test_what_cannot_work_in_a_worker_is_named(pipeline: Any, what: str) -> None:
    assert what in [failure.what for failure in inspect(pipeline).failures]


@pytest.mark.parametrize(
    "pipeline", [*STATELESS, *STATEFUL, *WAITING, waiting.FetchesAndParses], ids=name
)
def test_what_works_in_a_worker_is_not_said_to_fail(pipeline: Any) -> None:
    assert inspect(as_pipeline(pipeline)).failures == ()


def test_a_class_without_source_is_not_judged() -> None:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec("class P:\n def process_item(self, item): self.x.append(item); return item", namespace)

    report = inspect(namespace["P"])

    assert (report.findings, report.unread) == ((), ("P",))


def test_a_builtin_is_not_judged() -> None:
    assert inspect(int).findings == ()


MORE = [
    value
    for module in (more, modern, collecting, buffers)
    for value in vars(module).values()
    if hasattr(value, "verdict") and hasattr(value, "process_item")
]


@pytest.mark.parametrize("pipeline", MORE, ids=name)
def test_what_is_easily_taken_for_another_is_told_apart(pipeline: Any) -> None:
    expected = getattr(pipeline, "verdict", {})

    if isinstance(expected, str):
        assert list(found(pipeline)) == [expected]
    else:
        assert found(pipeline) == expected
    assert inspect(pipeline).failures == ()


SEVERED = [value for value in vars(severed).values() if hasattr(value, "failing")]


@pytest.mark.parametrize("pipeline", SEVERED, ids=name)
def test_a_response_of_the_item_is_not_asked_for_its_request(pipeline: Any) -> None:
    assert [one.what for one in inspect(pipeline).failures] == pipeline.failing


def test_a_failure_names_the_line_and_what_does_the_same_in_a_worker() -> None:
    (adbapi,) = inspect(waiting.PooledByTwisted).failures

    file, _, line = adbapi.where.rpartition(":")
    source = Path(file).read_text().splitlines()
    assert "ConnectionPool" in source[int(line) - 1]
    assert "plain driver" in adbapi.instead


def test_a_class_that_cannot_be_inspected_is_not_judged() -> None:
    class Odd:
        __module__ = property(lambda self: "odd")  # type: ignore[assignment]

        def process_item(self, item: Any) -> Any:
            return item

    assert inspect(Odd).findings == ()
    assert inspect(Odd).unread
    assert inspect(Odd).error


def test_no_inspection_is_lost_to_a_strict_interpreter_or_to_where_the_source_lies() -> None:
    command = [sys.executable, "-bb", "-X", "dev", "-OO", Path(__file__).with_name("strict.py")]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    opens = 'open("out", "w")'
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "bare": [[], "", ["Pipeline"], [], []],
    } | {
        name: [["self.seen", "requests.post"], "", [], [opens], [f"{name}.pipelines.LIMIT"]]
        for name in ("loose", "zipped")
    }


class OutOfContext:
    """Stands for an object that is not there at the moment, as request-bound proxies do."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("working outside of the context")


proxy = OutOfContext()


class HasAProxy:
    current = proxy
    seen: ClassVar[set[Any]] = set()

    def process_item(self, item: Any) -> Any:
        if proxy.user == item or item["url"] in self.seen:
            raise ValueError(proxy())
        self.seen.add(item["url"])
        return item


def test_objects_that_raise_when_they_are_looked_at_are_not_touched() -> None:
    assert found(HasAProxy) == {"state": ("self.seen",)}
    assert not inspect(HasAProxy).error


def test_code_too_deep_to_be_walked_is_read_or_said_to_be_lost(tmp_path: Path) -> None:
    lines = [
        "class Deep:",
        "    seen = set()",
        "    def process_item(self, item):",
        "        if item['n'] in self.seen: raise ValueError",
        "        self.seen.add(item['n'])",
        f"        return {' + '.join(['item'] * 2000)}",
    ]
    file = tmp_path / "deep.py"
    file.write_text("\n".join(lines))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # for the compiler; that of CPython 3.12.1 gives up before 3,000
    namespace: dict[str, Any] = {"__name__": "deep"}
    try:
        exec(compile(file.read_text(), str(file), "exec"), namespace)
    finally:
        sys.setrecursionlimit(limit)

    report = inspect(namespace["Deep"])

    assert report.findings or report.error or report.unread


def test_a_name_that_is_bound_from_itself_again_and_again_takes_no_time() -> None:
    report = inspect(more.ReplacesManyTimes)

    assert (report.findings, report.unread) == ((), ())
