"""What a pipeline uses of crawler and spider, by whichever way it gets there."""

from __future__ import annotations

import pytest

from scrapy_mpworkers.inspection import inspect_pipeline

from .pipelines import reaching, stateless, waiting


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
    ],
)
def test_what_is_touched_is_named(pipeline: type, touched: list[str]) -> None:
    assert list(inspect_pipeline(pipeline).touches) == touched


@pytest.mark.parametrize(
    ("pipeline", "failing"),
    [
        (reaching.ByTheSpider, []),
        (reaching.ByLocals, []),
        (reaching.BySignals, ["signals.spider_idle"]),
        (reaching.ByExtensions, ["crawler.extensions", "crawler.request_fingerprinter"]),
        (reaching.ByReactor, ["twisted.internet.reactor"]),
        (reaching.InEitherLoop, []),
        (reaching.ByLoopingCall, ["twisted.internet.task"]),
        (reaching.Crawls, ["crawler.engine.crawl"]),
        (reaching.InlineCallbacks, []),
    ],
)
def test_what_no_worker_has_is_named(pipeline: type, failing: list[str]) -> None:
    assert [failure.what for failure in inspect_pipeline(pipeline).failures] == failing
