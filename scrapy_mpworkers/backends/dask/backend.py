"""The Dask backend of one crawl: its settings, its connection, the workers of each level."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from math import inf
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

from scrapy.crawler import Crawler

from scrapy_mpworkers.backends.base import LevelPlan, count_workers, make_setup
from scrapy_mpworkers.backends.dask.cluster import ClusterSpec, cluster_python, import_dask
from scrapy_mpworkers.backends.dask.connection import Connection
from scrapy_mpworkers.backends.dask.group import DaskWorkerGroup
from scrapy_mpworkers.backends.preloading import folders_to_import_from, imported_settings_module
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.pool.batching import Pace
from scrapy_mpworkers.pool.cpus import usable_cpus
from scrapy_mpworkers.pool.executor import PoolExecutor
from scrapy_mpworkers.pool.interface import PoolEvents
from scrapy_mpworkers.settings import Setting, WorkerSettings, read_declared
from scrapy_mpworkers.validators import Invalid, is_path, levels
from scrapy_mpworkers.wire.codec import Frame, ParentCodec
from scrapy_mpworkers.wire.entries import import_path
from scrapy_mpworkers.wire.messages import CALL, CALLBACK, Prelude

#: A message costs Scrapy's process some 2.5 ms and is under way for ten: so each carries more work
#: than here, and more of them are with a worker. (Measured: docs/dask.md.)
PACE = Pace(seconds=0.2, largest=256, ahead=3, pending=512, bytes=inf)

_FACTORY = "scrapy_mpworkers.backends.dask.worker_logs"

#: The settings for which Dask has its own, and where to find these.
_NOT_HERE = {
    "START_METHOD": "Dask starts its workers: see distributed.worker.multiprocessing-method",
    "NICE": "start the cluster's workers with nice, or set their CPU shares",
    "WORKER_MAX_ITEMS": "dask worker has --lifetime and --lifetime-restart",
    "WORKER_MEMORY_LIMIT_MB": "dask worker has --memory-limit",
}


def _address(value: Any) -> str | None:
    if value is None:
        return None
    if is_path(value):
        text = str(os.fspath(value))
        if re.fullmatch(r"(\w+://)?[^/\s]+:\d+|inproc://\S+", text) or isfile(text):
            return text
    raise Invalid(
        "None (a cluster on this machine), an address such as tcp://scheduler:8786, or the path of "
        "a scheduler file"
    )


def _uploads(value: Any) -> tuple[Path, ...]:
    listed = (value,) if isinstance(value, (str, os.PathLike)) else value or ()
    if isinstance(listed, (list, tuple, set, frozenset)) and all(map(is_path, listed)):
        found = tuple(Path(one).absolute() for one in listed)
        if all(isdir(one) or (one.suffix == ".py" and isfile(one)) for one in found):
            return found
    raise Invalid("the folder of a package, a .py file, or a list of them")


class DaskBackend:
    """Worker processes of a Dask cluster.

    ``settings``: those that only this backend has.
    """

    settings = (
        Setting(
            "DASK_ADDRESS",
            None,
            _address,
            "str | Path | None",
            "The Dask scheduler: an address such as `tcp://scheduler:8786` or `tls://…`, or the "
            "path of a scheduler file. `None`: [a cluster of its own](dask.md) on this machine, "
            "for the time of the crawl.",
        ),
        Setting(
            "DASK_UPLOAD",
            None,
            _uploads,
            "str | Path | list[str | Path] | None",
            "The folder of a package, a `.py` file, or a list of them: they are sent to the "
            "workers of the cluster.",
        ),
    )

    def __init__(
        self, crawler: Crawler, options: WorkerSettings, plans: Sequence[LevelPlan]
    ) -> None:
        if find_spec("distributed") is None:
            raise SettingError(
                "MPWORKERS_BACKEND is 'dask', but dask.distributed is not installed: "
                "pip install 'scrapy-mpworkers[dask]'."
            )
        _refuse(crawler.settings)
        self._plans = plans
        own = read_declared(crawler.settings, self.settings)
        self._is_local = own["DASK_ADDRESS"] is None
        with_workers = [plan for plan in plans if plan.settings.pool.workers]
        for plan in with_workers:
            self._refuse_level(plan)
        if self._is_local and with_workers:
            cluster_python()  # refused now rather than when the crawl has begun
        self._connection = Connection(
            ClusterSpec(
                own["DASK_ADDRESS"],
                count_workers(options, plans),
                folders_to_import_from(crawler.spidercls),
                own["DASK_UPLOAD"],
                nannies=any(plan.settings.pool.item_timeout for plan in with_workers),
                prelude=Prelude(imported_settings_module(), options.initializer),
            )
        )

    @property
    def cpus(self) -> int:
        """The CPUs of this machine, or no bound, as a cluster can always have more."""
        return usable_cpus() if self._is_local else sys.maxsize

    def check(self) -> None:
        """Find out, without a connection, whether there could be one.

        Raises:
            SettingError: the certificates that Dask's configuration names cannot be used.
        """
        if self._connection.where.startswith("tls:"):
            from distributed.security import Security  # late: it takes a second

            try:
                if Security().get_connection_args("client")["ssl_context"] is None:
                    raise ValueError("it names none")
            except Exception as error:
                raise SettingError(
                    f"MPWORKERS_DASK_ADDRESS is {self._connection.where!r}, but the certificates "
                    "of Dask's configuration (distributed.comm.tls) cannot be used: "
                    f"{type(error).__name__}: {error}"
                ) from None

    def prepare(self) -> None:
        """Import Dask, which takes a second, beside Scrapy's own start."""
        threading.Thread(target=import_dask, name="mpworkers-dask-import", daemon=True).start()

    def pool(
        self,
        number: int,
        make_state: Callable[[], Frame],
        codec: ParentCodec,
        events: PoolEvents,
        loop: EventLoop,
    ) -> PoolExecutor:
        plan = self._plans[number]
        options = plan.options(workers=self._places(plan), pace=PACE, blind=True)

        make_pool = partial(DaskWorkerGroup, options, self._connection, _names(plan), loop)
        setup = partial(make_setup, make_state, codec, _FACTORY)
        return PoolExecutor(make_pool, options, setup, codec.definitions.blobs, events, loop)

    def _places(self, plan: LevelPlan) -> int:
        # How many workers a level has at most; 0: all that the cluster has.
        pool = plan.settings.pool
        return 0 if pool.workers_is_auto and not self._is_local else pool.workers

    def _refuse_level(self, plan: LevelPlan) -> None:
        if plan.settings.key is not None and not self._places(plan):
            raise SettingError(
                f"MPWORKERS_LEVELS: the level {plan.settings.name!r} has a key, so on a cluster "
                'it needs "workers": over how many of its workers the keys are spread for good.'
            )


def _names(plan: LevelPlan) -> Mapping[int, str]:
    # What the tasks of each hop are called on Dask's dashboard.
    names = {CALL: "run", CALLBACK: "callback"}
    for hop in plan.hops:
        names[hop.number] = "+".join(import_path(one).rpartition(".")[2] for one in hop.entries)
    return names


def _refuse(settings: Mapping[str, Any]) -> None:
    written = levels(settings.get("MPWORKERS_LEVELS"))
    for name, instead in _NOT_HERE.items():
        values = [settings.get(f"MPWORKERS_{name}"), *(one.get(name.lower()) for one in written)]
        for value in values:
            if value not in (None, "", 0, "0"):
                raise SettingError(
                    f"MPWORKERS_{name} is {value!r}, but the Dask backend cannot do that: "
                    f"{instead}."
                )
