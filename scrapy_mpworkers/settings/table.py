"""The table of all MPWORKERS_ settings: name, default, check, type and meaning of each.

A field with ``setting`` is a setting of that name. The order is that of the docs. A meaning is
markdown, whose links are relative to the folder ``docs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrapy_mpworkers import validators
from scrapy_mpworkers.settings.setting import Setting, setting
from scrapy_mpworkers.wire.crawl import Placement
from scrapy_mpworkers.wire.entries import Pipelines


@dataclass(frozen=True)
class PoolSettings:
    """The settings of a level's pool. Times are in seconds.

    Attributes:
        workers_is_auto: the user has asked for no number of workers, so a backend may choose one.
        max_pending: ``None``: it follows the time that items take.
    """

    workers_is_auto: bool
    workers: int = setting(
        "auto",
        validators.workers,
        '"auto" | int',
        'How many worker processes run. `"auto"`: as many as there are usable CPUs, by affinity '
        "and cgroup quota. `0`: the same code runs in Scrapy's process, for debugging.",
    )
    nice: int = setting(
        5,
        validators.nice,
        "int",
        "Added niceness of the workers, 0 to 19, so that Scrapy's process gets its core.",
    )
    max_pending: int | None = setting(
        None,
        validators.or_none(validators.positive),
        "int | None",
        "How many items may be at workers without an outcome. At this bound `process_item` waits, "
        "Scrapy downloads no further pages, and `start()` makes no further items. `None`: [about a "
        "second of work](reference.md#how-many-items-are-pending) for all workers.",
    )
    max_pending_bytes: int = setting(
        64 << 20,
        validators.positive,
        "int",
        "How many bytes the pickles of pending items may have together; the default is 64 MiB. A "
        "larger item waits until it is the only one.",
    )
    item_timeout: float = setting(
        0,
        validators.seconds_or_off,
        "float",
        "Hard limit of an item, in seconds. Its worker is killed, even in a loop in C, and the "
        "item fails with `ItemTimeout`, which says [where it hung]"
        "(operators.md#where-does-it-hang). `0`: no limit.",
    )
    redeliver_times: int = setting(
        2,
        validators.count,
        "int",
        "How often an item runs again after its worker died. One more death makes it a dead "
        "letter.",
    )
    worker_max_items: int = setting(
        0,
        validators.count,
        "int",
        "Number of items after which a worker is recycled: a new one replaces it. It works on "
        "until that is ready, so some workers do a few items more. `0`: never.",
    )
    worker_memory_limit_mb: int = setting(
        0,
        validators.count,
        "int",
        "Resident memory in MiB above which a worker is recycled: a new one replaces it. The "
        "memory is read when the worker reports, at most once a second. Scrapy's "
        "`MEMUSAGE_LIMIT_MB` sees Scrapy's own process only, not workers. `0`: never.",
    )
    restart_intensity: int = setting(
        None,
        validators.or_none(validators.count),
        "int | None",
        "How many workers may die within `MPWORKERS_RESTART_PERIOD` before they have finished an "
        "item. One more [breaks the pool](reference.md#what-breaks-a-pool), and the spider closes "
        "with reason `mpworkers_broken`. `None`: 4 for each worker, at least 12.",
    )
    restart_period: float = setting(
        30,
        validators.seconds,
        "float",
        "The period of `MPWORKERS_RESTART_INTENSITY`, in seconds.",
    )


@dataclass(frozen=True)
class LevelSettings:
    """The settings of a level, whose pipelines share a pool.

    Attributes:
        name: empty for the one level that ``MPWORKERS_PIPELINES`` stands for.
        pipelines: (entry, order) in order, without those that are disabled by ``None``.
        key: a field's name, or a function or its import path: equal keys meet the same worker.
        batch_size: items that go through the pipelines together, at most; 0: each alone.
        batch_seconds: seconds that an item waits for its batch to fill, at most.
        wait: whether an item goes on only when this level has done with it.
    """

    name: str
    pool: PoolSettings
    pipelines: Pipelines = setting(
        {},
        validators.pipelines,
        "dict[str | type, int | None]",
        "The pipelines that run in workers, as in `ITEM_PIPELINES`: an import path or a class, and "
        "its order; `None` disables it. A function `item -> item` is accepted too. A pipeline that "
        "is in `ITEM_PIPELINES` as well is refused.",
    )
    key: Any = setting(
        None,
        validators.key,
        "str | Callable | None",
        "A field, or a function `item -> key` or its import path (with a dot): items with equal "
        "keys meet the same worker, in order.",
    )
    batch_size: int = setting(
        0,
        validators.count,
        "int",
        "How many items may go through the level together, in [a batch](levels.md#batches). `0`: "
        "each alone.",
    )
    batch_seconds: float = setting(
        1.0,
        validators.seconds,
        "float",
        "How long an item may wait for its batch to fill, in seconds.",
    )
    wait: bool = setting(
        True,
        validators.flag,
        "bool",
        "Whether an item goes on only when this level is done with it. `False`: [nobody waits]"
        "(levels.md#levels-that-nobody-waits-for) for the level.",
    )

    @property
    def placement(self) -> Placement:
        workers, batches = self.pool.workers, self.batch_size > 0
        return Placement(workers, self.key is not None, batches, self.wait)


@dataclass(frozen=True, kw_only=True)  # the order of the docs mixes both kinds of fields
class WorkerSettings:
    """The settings of one crawl, checked. Times are in seconds.

    ``pool``: the settings of a level's pool, as far as the level does not set its own.
    """

    enabled: bool = setting(
        True,
        validators.flag,
        "bool",
        "Whether the listed pipelines and callbacks run in workers. `False`: they run where Scrapy "
        "runs them, pipelines as if they were in `ITEM_PIPELINES`.",
    )
    levels: tuple[LevelSettings, ...]
    callbacks: tuple[str, ...] | bool = setting(
        None,
        validators.callbacks,
        "list[str] | bool | None",
        "[Callbacks](callbacks.md) of the spider that run in workers, by their names, alone or "
        "behind the path of the class. `True`: all that can. `None`: only those that are marked "
        "with `@in_worker`.",
    )
    callbacks_level: str | None = setting(
        None,
        validators.or_none(validators.level_name),
        "str | None",
        "Name of the level whose workers run callbacks. `None`: the first one that has no `key`, "
        "no `batch_size`, and is waited for.",
    )
    pool: PoolSettings
    backend: str = setting(
        "local",
        validators.backend,
        "str",
        'Who has the workers: `"local"`, processes of this machine; `"dask"`, [a Dask cluster]'
        "(dask.md); or the name of [one that you have registered](backends.md).",
    )
    start_method: str = setting(
        None,
        validators.start_method,
        '"forkserver" | "spawn" | "fork" | None',
        "How a worker process is started. `None`: by `forkserver` where it exists, else `spawn`; "
        "never by `fork`, which copies a process that has threads.",
    )
    initializer: str | None = setting(
        None,
        validators.initializer,
        "str | Callable | None",
        "Import path of a function without arguments, or the function, that each worker calls "
        "once, [after the settings module and before it imports pipelines]"
        "(reference.md#before-the-pipelines).",
    )
    close_timeout: float = setting(
        60,
        validators.seconds,
        "float",
        "While the spider closes: seconds without an outcome of any item before the rest is given "
        "up and its workers are killed. Pipelines have as long to close; then their workers are "
        "terminated and, 2 seconds later, killed.",
    )
    dead_letters: Path | None = setting(
        None,
        validators.path,
        "str | Path | None",
        "Path of a [JSON Lines file](dead-letters.md) of the items that were given up. `None`: "
        "each item is logged with its content; one that took too long by Scrapy's own error "
        "record, if the crawl waits for it.",
    )
    journal: bool = setting(
        False,
        validators.flag,
        "bool",
        "Needs `JOBDIR`. `True`: items that are at workers when the whole crawl is killed are "
        "[processed by the next run](dead-letters.md#the-journal).",
    )
    report: Path | None = setting(
        None,
        validators.report,
        "str | Path | None",
        "Path of an HTML file that the crawl writes at its end, also when it failed: [the page, "
        "with the whole history](monitoring.md#a-report-to-keep).",
    )
    page: tuple[int, int] | None = setting(
        False,
        validators.page,
        "bool | int | list[int]",
        "Shows the workers on [a page](monitoring.md), read-only, with a token. `True`: at any "
        "free port. Else a port, or the first and the last of a range.",
    )
    page_host: str = setting(
        "127.0.0.1",
        validators.host,
        "str",
        "Address of this machine, or its name, at which the page listens.",
    )

    @property
    def pipelines(self) -> Pipelines:
        """The pipelines of all levels, in order."""
        listed = [pair for level in self.levels for pair in level.pipelines]
        return tuple(sorted(listed, key=lambda pair: pair[1]))


#: Read one by one, as its values are levels, whose names are no settings of a crawl.
LEVELS = Setting(
    "LEVELS",
    None,
    validators.levels,
    "list[dict] | None",
    "Several pools: a list of [levels](levels.md), each with its own pipelines and workers. "
    "`MPWORKERS_PIPELINES` is the short form of one level, so both together are refused.",
)
LEVEL_NAME = Setting(
    "NAME",
    None,
    validators.level_name,
    "str",
    "A word, which every level must have. Stats of the level are under `mpworkers/<name>/`, and "
    "its workers are called `<name>-1`, …",
)
