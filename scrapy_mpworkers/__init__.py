"""Run the CPU-heavy item pipelines of a Scrapy crawl in supervised worker processes.

|=================== parent (Scrapy's process) ====================|======= worker ========|

 item ─▶ pipelines ─▶ crawl/router ─▶ crawl/pool ─▶ pool/executor  ║
                                                         │         ║
                                                   pool/channel ═ queue ═▶ worker/main
                                                                   ║            │
                                                                   ║      worker/consumer
                                                                   ║            │
                                                   pool/report_listener ◀ pipe ══ a report
                                                         │         ║
 item ◀─ pipelines ◀─ crawl/router ◀─── Future ◀─── pool/executor  ║

      pool/supervisor: a worker's exit handle fires ─▶ a new worker ─▶ its tasks run again

Each worker has its own queue, pipe and scoreboard, so one that dies takes nothing else along.
Folders say which process runs a line: ``worker/`` runs in workers, ``lint/`` and ``wire/`` on both
sides, all else in Scrapy's process, except for a few modules that ``docs/design.md`` lists.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from scrapy_mpworkers import errors
from scrapy_mpworkers.errors import *  # noqa: F403 - errors.__all__ is the list of them

if TYPE_CHECKING:
    from scrapy_mpworkers.addon import Addon
    from scrapy_mpworkers.batches import BatchMixin
    from scrapy_mpworkers.callbacks import in_worker
    from scrapy_mpworkers.extension import WorkerExtension
    from scrapy_mpworkers.levels import LevelDict
    from scrapy_mpworkers.pipelines import WorkerPipeline

__all__ = ["Addon", "BatchMixin", "LevelDict", "WorkerExtension", "WorkerPipeline", "in_worker"]
__all__ += errors.__all__

_COMPONENTS = {
    "Addon": "addon",
    "BatchMixin": "batches",
    "LevelDict": "levels",
    "WorkerExtension": "extension",
    "WorkerPipeline": "pipelines",
    "in_worker": "callbacks",
}


def __getattr__(name: str) -> Any:
    # Late, because workers import this package too and need none of the parent side.
    if name not in _COMPONENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_COMPONENTS[name]}"), name)
    _hear_crawls()
    return found


def _on_spider_opened(sender: Any, **kwargs: Any) -> None:
    """Speak for a crawl in which nothing of ours is active, though it has our settings."""
    from scrapy.crawler import Crawler

    # A worker sends the signal as well, to its own pipelines.
    is_crawl = isinstance(sender, Crawler)
    if is_crawl and any(str(name).startswith("MPWORKERS_") for name in sender.settings):
        from scrapy_mpworkers.crawl.silence import speak

        speak(sender)


def _hear_crawls() -> None:
    from pydispatch import dispatcher
    from scrapy import signals

    dispatcher.connect(_on_spider_opened, signal=signals.spider_opened)


# Scrapy imports us for any of its commands. Where it is not imported yet, as in a new worker, it
# would cost half a second.
if "scrapy" in sys.modules:
    _hear_crawls()
