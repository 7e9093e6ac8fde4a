"""Runs the CPU-heavy item pipelines of a Scrapy crawl in supervised worker processes.

|====================== parent side (Scrapy's process) ======================|== worker side ==|

 spider → WorkerPipeline ──submit──▶ PoolExecutor ──lease──▶ TaskQueue                 ║
              (await)                    └── Batch ──▶ ProcessHandle ═══ JoinableQueue ╬═▶ main loop
                                                                              ║      │
 next pipeline ◀── outcome ── PoolExecutor ◀──settle── TaskQueue                       ║      ▼
                                ▲                                             ║   Consumer
                    in the loop └── Pool ◀── Watcher ◀═ pipe ═ Report ════════╬═══   │
                                                                              ║
                Supervisor: exit handle fired → new ProcessHandle → leases redelivered ║

A lane is one worker with its own queue, pipe and dial, so a worker that dies takes nothing else
along. A pool has the lanes; a tenant is one crawl there, for crawls of one process can share it.
The folders say which process runs a line: ``worker/`` runs in workers, ``pool/`` and the modules
beside this one in Scrapy's process, ``wire/`` is what crosses between them; ``lint/`` only
reads source, on either side. All that is of this machine is one backend (``backends/local.py``);
``backends/dask/`` is another, whose lanes are seats in the workers of a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_mpworkers.errors import (
    BatchError,
    CallTimeout,
    CloseTimeout,
    HopGoneError,
    ItemTimeout,
    JournalError,
    KeyMissingError,
    MPWorkersError,
    NoRequestError,
    NotInWorkerError,
    NotPrivateError,
    NotReplayedError,
    PoolBroken,
    PoolClosed,
    RemoteError,
    SettingError,
    StuckError,
    UnpicklableError,
    UnreadableError,
    WorkerDied,
    WorkerStartError,
)

if TYPE_CHECKING:
    from scrapy_mpworkers.addon import Addon
    from scrapy_mpworkers.batches import BatchMixin
    from scrapy_mpworkers.extension import WorkerExtension
    from scrapy_mpworkers.pipelines import WorkerPipeline

__all__ = [
    "Addon",
    "BatchError",
    "BatchMixin",
    "CallTimeout",
    "CloseTimeout",
    "HopGoneError",
    "ItemTimeout",
    "JournalError",
    "KeyMissingError",
    "MPWorkersError",
    "NoRequestError",
    "NotInWorkerError",
    "NotPrivateError",
    "NotReplayedError",
    "PoolBroken",
    "PoolClosed",
    "RemoteError",
    "SettingError",
    "StuckError",
    "UnpicklableError",
    "UnreadableError",
    "WorkerDied",
    "WorkerExtension",
    "WorkerPipeline",
    "WorkerStartError",
]

_COMPONENTS = {
    "Addon": "addon",
    "BatchMixin": "batches",
    "WorkerExtension": "extension",
    "WorkerPipeline": "pipelines",
}


def __getattr__(name: str) -> Any:
    # Late, because workers import this package too and need none of the parent side.
    if name not in _COMPONENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_COMPONENTS[name]}"), name)
