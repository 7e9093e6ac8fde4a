"""What a pipeline uses of crawler and spider, by whichever way it gets there."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from scrapy_mpworkers.lint import inspect

from .pipelines import names, reaching, stateless, waiting


@pytest.mark.parametrize(
    ("pipeline", "touched"),
    [
        (stateless.PriceToEuro, []),
        (stateless.CountsInStats, ["stats"]),
        (stateless.Entities, ["settings['SPACY_MODEL']"]),
        (stateless.Classifier, ["settings['MODEL_PATH']"]),
        (stateless.LogsOnly, ["spider.logger"]),
        (stateless.OnlyWithSetting, ["settings['LIMIT']", "settings['LIMIT_ENABLED']"]),
        (waiting.Mongo, ["settings['MONGO_DATABASE']", "settings['MONGO_URI']"]),
        (waiting.Screenshot, ["engine.download"]),
        (reaching.ByTheSpider, ["settings['LIMIT']", "spider.name", "stats"]),
        (reaching.ByGetattr, ["spider.start_date", "spider.tags"]),
        (reaching.ByLocals, ["engine.close_spider", "settings['A']", "settings['B']", "stats"]),
        (reaching.BySignals, ["signals.spider_closed", "signals.spider_idle"]),
        (reaching.ByExtensions, ["crawler.extensions", "crawler.request_fingerprinter"]),
        (
            names.GivesThemToAHelper,
            ["engine", "engine.download", "settings", "settings['A']", "spider.name"],
        ),
    ],
)
def test_what_is_touched_is_named(pipeline: type, touched: list[str]) -> None:
    assert list(inspect(pipeline).capabilities) == touched


@pytest.mark.parametrize(
    ("pipeline", "failing"),
    [
        (reaching.ByTheSpider, []),
        (reaching.ByLocals, []),
        (reaching.ByItsOwnCollector, ["stats.timing"]),
        (reaching.BySignals, ["signals.spider_idle"]),
        (reaching.ByItsOwnSignal, []),
        (
            reaching.BySendingSignals,
            [
                "signals.send_catch_log(item_priced)",
                "signals.send_catch_log_async(headers_received)",
            ],
        ),
        (reaching.ByExtensions, ["crawler.extensions", "crawler.request_fingerprinter"]),
        (reaching.ByReactor, ["twisted.internet.reactor"]),
        (reaching.InEitherLoop, []),
        (reaching.ByLoopingCall, ["twisted.internet.task"]),
        (reaching.Crawls, ["crawler.engine.crawl"]),
        (reaching.InlineCallbacks, []),
    ],
)
def test_what_no_worker_has_is_named(pipeline: type, failing: list[str]) -> None:
    assert [failure.what for failure in inspect(pipeline).failures] == failing


OTHERS = [
    value
    for value in vars(names).values()
    if hasattr(value, "process_item") and value is not names.GivesThemToAHelper
]


@pytest.mark.parametrize("pipeline", OTHERS, ids=lambda one: one.__name__)
def test_a_name_means_what_it_means_where_it_stands(pipeline: type) -> None:
    report = inspect(pipeline)

    assert (report.failures, report.error) == ((), "")
    assert set(report.capabilities) <= {"settings['WORD']"}


PIPELINE = """
import {package}.words as alias
import {package}.words
from {package} import words
from {package}.words import connect, extensions, client

class Pipeline:
    def open_spider(self):
        self.client = client()
        connect(extensions)

    def process_item(self, item):
        item["a"] = {package}.words.extensions(item["text"])
        item["b"] = alias.client(item["a"]).engine.download(item["url"])
        item["c"] = words.fetch(item["b"])
        return self.client.insert_one(item)
"""


@pytest.mark.parametrize(
    "package",
    [
        *("crawler", "spider", "settings", "stats", "engine", "item", "reactor", "signals"),
        *("treq", "txmongo", "pymongo", "redis", "requests"),
    ],
)
def test_a_project_may_be_called_like_anything(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    functions = "connect", "client", "fetch"
    lines = [f"def {name}(*given):\n    return len(given)" for name in functions]
    (tmp_path / package / "words.py").write_text("\n".join([*lines, "extensions = len"]))
    (tmp_path / package / "pipelines.py").write_text(PIPELINE.format(package=package))
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    report = inspect(import_module(f"{package}.pipelines").Pipeline)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    assert (report.failures, report.capabilities, report.findings) == ((), (), ())
    assert not report.unread
