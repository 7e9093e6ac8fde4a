"""The seam between a crawl and whatever runs its tasks: processes of this machine, a Dask cluster,
or what a third party registers as an entry point in the group ``scrapy_mpworkers.backends``.

A backend is made once for each crawl that has workers, and gives each level its pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from scrapy import Spider
from scrapy.crawler import Crawler

from scrapy_mpworkers.callbacks import has_marks
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.eventloop import EventLoop
from scrapy_mpworkers.hops import Hop
from scrapy_mpworkers.pool.batching import Batched
from scrapy_mpworkers.pool.interface import Executor, PoolEvents, PoolOptions
from scrapy_mpworkers.settings import LevelSettings, WorkerSettings, level_of
from scrapy_mpworkers.validators import backends
from scrapy_mpworkers.wire.entries import PipelineEntry
from scrapy_mpworkers.wire.messages import Definition, OpenCrawl
from scrapy_mpworkers.wire.texts import named

if TYPE_CHECKING:
    from scrapy_mpworkers.wire.codec import Frame, ParentCodec

#: Builds a crawl's consumers in a process of ours.
IN_OUR_PROCESS = "scrapy_mpworkers.worker.consumer"


class LevelPlan(NamedTuple):
    """A level and its hops, as a backend has to know them."""

    settings: LevelSettings
    hops: tuple[Hop, ...]
    has_callbacks: bool = False

    @property
    def starts_with_crawl(self) -> bool:
        """Return whether there are workers from the beginning, and not with the first call."""
        return bool(self.settings.pool.workers and (self.hops or self.has_callbacks))

    @property
    def entries(self) -> list[PipelineEntry]:
        return [entry for hop in self.hops for entry in hop.entries]

    def options(self, **changes: Any) -> PoolOptions:
        """Return sizes and limits of its pool, with the *changes* that the backend knows better."""
        level, pool = self.settings, self.settings.pool
        options = PoolOptions(
            workers=pool.workers,
            redeliver_times=pool.redeliver_times,
            intensity=pool.restart_intensity,
            period=pool.restart_period,
            item_timeout=pool.item_timeout,
            max_items=pool.worker_max_items,
            memory_limit=pool.worker_memory_limit_mb << 20,
            keyed=level.key is not None,
            batched=Batched(level.batch_size, level.batch_seconds) if level.batch_size else None,
            name=level.name or "worker",
        )
        return replace(options, **changes)


def count_workers(options: WorkerSettings, plans: Sequence[LevelPlan]) -> int:
    """Return how many workers a crawl begins with; if with none, how many calls will have."""
    listed = [plan.settings.pool.workers for plan in plans if plan.starts_with_crawl]
    return sum(listed) or options.pool.workers


class Plans(NamedTuple):
    """The plans of a crawl's levels, and the indexes of those that take calls and callbacks;
    ``callbacks_at`` is ``None`` if there are none."""

    levels: list[LevelPlan]
    calls_at: int
    callbacks_at: int | None


def plans_of(options: WorkerSettings, hops: Sequence[Hop], has_callbacks: bool) -> Plans:
    """Return the plans of a crawl.

    Raises:
        SettingError: the level for callbacks is not there, or not fit for them.
    """
    levels, calls_at = _levels_with_calls(options, bool(hops), has_callbacks)
    callbacks_at = _for_callbacks(options, levels, calls_at) if has_callbacks else None
    plans = [
        LevelPlan(level, tuple(hop for hop in hops if hop.level == number), number == callbacks_at)
        for number, level in enumerate(levels)
    ]
    return Plans(plans, calls_at, callbacks_at)


def _for_callbacks(options: WorkerSettings, levels: Sequence[LevelSettings], calls_at: int) -> int:
    wanted = options.callbacks_level
    if wanted is None:
        return calls_at
    names = [level.name for level in levels]
    if wanted not in names:
        why = "MPWORKERS_LEVELS has no such level"
    elif not _takes_calls(levels[names.index(wanted)]):
        why = "callbacks cannot run in a level with key, batch_size or wait=False"
    else:
        return names.index(wanted)
    raise SettingError(f"MPWORKERS_CALLBACKS_LEVEL is {wanted!r}, but {why}.")


def _takes_calls(level: LevelSettings) -> bool:
    return level.wait and level.key is None and not level.batch_size


def _levels_with_calls(
    options: WorkerSettings, has_hops: bool, has_callbacks: bool
) -> tuple[tuple[LevelSettings, ...], int]:
    """Return the levels of a crawl, and the index of the one that takes calls of functions.

    The user's first level that is fit for calls takes them. If none is, one more level does, which
    starts with the first call; if workers are switched off, it has none and runs calls right here.
    """
    levels = options.levels
    if not has_hops:
        levels = tuple(level for level in levels if level.name == options.callbacks_level)
    for number, level in enumerate(levels):
        # One for callbacks alone has no workers where no callback wants any.
        if _takes_calls(level) and (level.pipelines or has_callbacks):
            return levels, number
    pool = options.pool if options.enabled else replace(options.pool, workers=0)
    return (*levels, level_of("calls" if levels else "", (), pool)), len(levels)


class Backend(Protocol):
    """Has the workers of one crawl.

    ``cpus``: that they can use.
    """

    @property
    def cpus(self) -> int: ...

    def prepare(self) -> None:
        """Begin what takes long, because the crawl will start, but do not wait for it."""

    def pool(
        self,
        number: int,
        make_state: Callable[[], Frame],
        codec: ParentCodec,
        events: PoolEvents,
        loop: EventLoop,
    ) -> Executor:
        """Make the pool of a level. It is not started yet, and may never be.

        Args:
            number: of the level, among the plans.
            make_state: the crawl as a worker has to know it.
            codec: knows the definitions that frames refer to.
            events: told what is not the business of a single task.
        """


#: Makes a backend; raises a SettingError that names what it cannot do. Levels without workers run
#: in Scrapy's process, and are not asked for. Its attribute ``settings``, if it has one, declares
#: settings of its own: a sequence of ``settings.Setting``.
MakeBackend = Callable[[Crawler, WorkerSettings, Sequence[LevelPlan]], Backend]


def find_backend(name: str) -> MakeBackend:
    """Return the backend that is registered under *name*.

    Raises:
        SettingError: it cannot be imported, or cannot work here.
    """
    try:
        make: MakeBackend = backends()[name].load()
    except SettingError:
        raise
    except Exception as error:
        why = f"that backend cannot be imported: {named(error)}"
        raise SettingError(f"MPWORKERS_BACKEND is {name!r}, but {why}") from error
    return make


def warm_up(options: WorkerSettings, hops: Sequence[Hop], spidercls: type[Spider]) -> None:
    """Let the backend begin what takes long, while Scrapy has hardly begun to build the crawl: call
    its function ``warm_up(options, plans, spidercls)``, if it has one."""
    plans = plans_of(options, hops, wants_callbacks(options, spidercls)).levels
    if any(plan.starts_with_crawl for plan in plans):
        begin = getattr(find_backend(options.backend), "warm_up", None)
        if begin is not None:
            begin(options, plans, spidercls)


def wants_callbacks(options: WorkerSettings, spidercls: type[Spider]) -> bool:
    """Return whether callbacks of this spider are to run in workers."""
    return options.enabled and (bool(options.callbacks) or has_marks(spidercls))


def make_setup(
    make_state: Callable[[], Frame], codec: ParentCodec, factory: str, crawl: int
) -> OpenCrawl:
    """Return the command that opens a crawl in a worker.

    Args:
        make_state: the crawl as it is at the moment.
        factory: the module that builds its consumer in a worker.
        crawl: its number in its pool.
    """
    frame, blobs = make_state(), codec.definitions.blobs
    definitions = tuple(Definition(number, blobs[number]) for number in frame.needs)
    return OpenCrawl(crawl, definitions, factory, bytes(frame.data))
