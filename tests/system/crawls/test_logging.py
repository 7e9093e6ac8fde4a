"""Logging that modules of the user set up: each record is filtered and handled once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plain import plain_first

from .harness import crawl_project as crawl

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Launcher


ITEMS = [f"item {n}" for n in range(8)]
SHARED = {
    "shop/log.py": """
        import logging

        class Mark(logging.Filter):
            def filter(self, record):
                record.msg = "<" + record.msg + ">"
                return True

        def drop(record):
            return "secret" not in record.msg

        def with_file(name, handler, propagates):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            logger.propagate = propagates
            return logger

        loggers = [
            with_file("shop.seen", logging.FileHandler("seen.txt"), True),
            with_file("shop.alone", logging.FileHandler("alone.txt"), False),
        ]
        marked = logging.getLogger("shop.marked")
        marked.addFilter(Mark())
        marked.addFilter(drop)
    """,
    "+shop/spiders.py": "from shop import log\n",
    "shop/pipelines.py": """
        from shop import log

        class Price:
            def process_item(self, item):
                for logger in [*log.loggers, log.marked]:
                    logger.warning(f"item {item['n']}")
                log.marked.warning("secret")
                return item
    """,
}


@pytest.mark.parametrize("method", plain_first(["forkserver", "fork", "spawn"], 2))
def test_a_module_of_spider_and_pipelines_logs_each_record_once(
    launch: Launcher, tmp_path: Path, method: str
) -> None:
    folder = tmp_path / "project"

    ended = crawl(launch, folder, SHARED, method)

    for name in ("seen", "alone"):
        assert sorted((folder / f"{name}.txt").read_text().splitlines()) == ITEMS, name
    shown = [line.text for line in ended.lines if "[shop." in line.text]
    assert sorted(text.rpartition(": ")[2] for text in shown if "shop.seen" in text) == ITEMS
    marked = [text.rpartition(": ")[2] for text in shown if "shop.marked" in text]
    assert sorted(marked) == [f"<{item}>" for item in ITEMS]
    assert len(shown) == 16


CONFIGURES = {
    "shop/pipelines.py": """
        import logging, logging.config, os

        EARLY = logging.getLogger("shop.early")
        OF_SCRAPY = logging.getLogger("scrapy.core.scraper")
        if os.environ["HOW"] == "dict":
            logging.config.dictConfig({
                "version": 1,
                "handlers": {"file": {"class": "logging.FileHandler", "filename": "root.txt"}},
                "root": {"handlers": ["file"], "level": "INFO"},
            })
        else:
            logging.basicConfig(force=True, level="INFO", filename="root.txt")
        own = logging.getLogger("shop.own")
        own.addHandler(logging.FileHandler("own.txt"))

        class Price:
            def open_spider(self):
                if os.environ["HOW"] == "late":
                    logging.basicConfig(force=True, filename="late.txt")

            def process_item(self, item):
                own.error(f"item {item['n']}")
                OF_SCRAPY.error("told")
                return item
    """,
}


@pytest.mark.parametrize("how", plain_first(["dict", "basic", "late"], 3))
def test_a_pipelines_module_that_configures_logging_keeps_no_record_from_the_crawl(
    launch: Launcher, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOW", how)
    folder = tmp_path / "project"

    ended = crawl(launch, folder, CONFIGURES, "forkserver")

    assert ended.stats["log_count/ERROR"] == 16, ended.log
    shown = [line.text.rpartition(": ")[2] for line in ended.lines if "[shop.own]" in line.text]
    assert sorted(shown) == ITEMS
    # Handlers of which Scrapy's process has none go on in the worker.
    assert sorted((folder / "own.txt").read_text().splitlines()) == ITEMS
    last = folder / ("late.txt" if how == "late" else "root.txt")
    assert all(item in last.read_text() for item in ITEMS)
