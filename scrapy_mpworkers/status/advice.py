"""One sentence says what the crawl waits for, and whether other workers would help. Pure: it is
drawn from figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Parent CPU for shipping one small item, measured at about 0.1 ms: cheaper items gain nothing.
#: A callback's page crosses, and its results come back.
_SHIPPING_SECONDS, _SHIPPING_SECONDS_OF_CALLBACKS, _ENOUGH_ITEMS = 0.0002, 0.001, 20
#: Seconds of all workers together, below which their start alone decides the shares.
ENOUGH_SECONDS = 4.0
#: How a user brings tasks of a kind back into Scrapy's process.
_INLINE = {"items": " (ITEM_PIPELINES)", "callbacks": " (out of MPWORKERS_CALLBACKS)"}
#: Busy shares from which on somebody has no time left, and below which workers idle.
_FULL, _IDLE = 0.85, 0.3
#: Share of their busy time from which on workers mostly wait for others.
_WAITING = 0.7
#: Share of the machine's memory that workers should leave alone.
_MEMORY = 0.75
#: An item at a worker hangs when it takes longer than so many others, and than so many seconds.
_HANGS_TIMES, _HANGS_SECONDS = 20, 30.0


@dataclass(frozen=True)
class LevelFigures:
    """A level's part.

    Attributes:
        workers: how many processes; 0: the pipelines ran in Scrapy's own.
        lived: seconds of all ready workers together.
        busy: seconds that they were at tasks, whatever became of those; ``running`` not included.
        service: seconds of the tasks that came back, so many ``done`` ones.
        running: seconds of each task that a worker is at now.
        deaths: of workers, by their ends.
        waited: share of the busy time in which workers waited for others than a CPU; ``None`` if
            that is not known.
        memory: bytes of the largest worker, 0 if not known.
        has_batches: items went through together, so what one takes is no measure.
        of: what its tasks were: "items", "callbacks", or "tasks" of several kinds.
    """

    name: str = ""
    workers: int = 1
    submitted: int = 0
    lived: float = 0.0
    busy: float = 0.0
    service: float = 0.0
    done: int = 0
    running: Sequence[float] = ()
    deaths: Counter[str] = field(default_factory=Counter)
    waited: float | None = None
    memory: int = 0
    has_batches: bool = False
    of: str = "items"

    @property
    def share(self) -> float:
        """Return the busy share of the workers, 0 to 1."""
        return min(1.0, (self.busy + sum(self.running)) / self.lived) if self.lived else 0.0

    @property
    def mean(self) -> float:
        """Return the seconds that a task takes."""
        return self.service / self.done if self.done else 0.0

    @property
    def lost(self) -> float:
        """Return the busy seconds that led to nothing."""
        limit = max(_HANGS_SECONDS, _HANGS_TIMES * self.mean)
        return self.busy - self.service + sum(one for one in self.running if one > limit)

    @property
    def is_cheap(self) -> bool:
        """Return whether shipping an item costs more than its work."""
        is_known = not self.has_batches and self.done >= _ENOUGH_ITEMS
        shipping = _SHIPPING_SECONDS_OF_CALLBACKS if self.of == "callbacks" else _SHIPPING_SECONDS
        return is_known and self.mean < shipping

    @property
    def work(self) -> str:
        """Return what did its tasks."""
        return {"items": "pipelines", "callbacks": "callbacks"}.get(self.of, "tasks")

    @property
    def who(self) -> str:
        return f"workers of the level {self.name}" if self.name else "workers"


@dataclass(frozen=True)
class CrawlFigures:
    """The whole crawl.

    Attributes:
        cpus: those that it may use.
        is_over: no worker is there any more.
        scrapy: busy share of Scrapy's thread, 0 to 1.
        downloads: those under way, on average; at most ``max_downloads``, 0 if nobody counts them.
        memory: bytes that it may use with all that runs beside it.
    """

    levels: Sequence[LevelFigures]
    cpus: int = 1
    is_over: bool = True
    scrapy: float = 0.0
    downloads: float = 0.0
    max_downloads: int = 0
    memory: int = 0

    @property
    def workers(self) -> int:
        return sum(level.workers for level in self.levels)

    @property
    def occupied(self) -> float:
        """Return how many CPUs the workers use, as far as that is known."""
        return sum(one.share * one.workers * (1 - (one.waited or 0.0)) for one in self.levels)

    @property
    def worker_memory(self) -> int:
        return sum(level.workers * level.memory for level in self.levels)


def verdict(crawl: CrawlFigures) -> str:
    """Return the sentence; empty while there is too little to go by."""
    if not any(level.submitted for level in crawl.levels):
        return "nothing came to the workers." if crawl.is_over else ""
    fullest = max(crawl.levels, key=lambda level: level.share)
    said = _lost(crawl) or _nothing_done(crawl)
    is_young = sum(level.lived for level in crawl.levels) < ENOUGH_SECONDS
    if said or is_young or not any(level.done for level in crawl.levels):
        return said
    if not fullest.workers:
        return (
            f"the {fullest.work} took {fullest.share:.0%} of the time in Scrapy's own process: "
            "workers would free it (MPWORKERS_WORKERS=0 is for debugging)."
        )
    said = (
        _full(crawl, fullest)
        or _cheap(crawl)
        or _scrapy_is_busy(crawl, fullest)
        or _idle(crawl, fullest)
        or f"{fullest.who} were busy {fullest.share:.0%} of the time: a good fit."
    )
    return said + _memory(crawl, said)


def _lost(crawl: CrawlFigures) -> str:
    level = max(crawl.levels, key=lambda level: level.lost)
    busy = level.busy + sum(level.running)
    if level.lost < 1 or level.lost < busy / 2 or level.lost < level.lived * _IDLE:
        return ""
    return (
        f"{level.who} spent {level.lost:.0f} s of {busy:.0f} s with {level.of} that came to "
        "nothing, as they hang or kill their worker: "
        "MPWORKERS_ITEM_TIMEOUT ends what takes too long."
    )


def _nothing_done(crawl: CrawlFigures) -> str:
    if any(level.done for level in crawl.levels):
        return ""
    deaths = sum((level.deaths for level in crawl.levels), Counter[str]())
    first = next(level for level in crawl.levels if level.submitted)
    nothing = f"no worker got any of the {first.of} done"
    if deaths:
        ways = ", ".join(f"{count} × {way}" for way, count in deaths.most_common())
        return (
            f"{nothing}, {deaths.total()} died ({ways}): run the {first.work} in Scrapy's own "
            "process to see why, -s MPWORKERS_WORKERS=0."
        )
    return f"{nothing}: the errors above say why." if crawl.is_over else ""


def _full(crawl: CrawlFigures, level: LevelFigures) -> str:
    if level.share <= _FULL or level.is_cheap:
        return ""
    busy = f"{level.who} were busy {level.share:.0%} of the time"
    if level.waited is not None and level.waited > _WAITING:
        return (
            f"{busy}, and waited for {level.waited:.0%} of that (network, a database, a lock): "
            f"more would help, also more than CPUs ({crawl.cpus})."
        )
    if crawl.occupied > crawl.cpus - 0.5:
        more = f"there are more workers ({crawl.workers}) than CPUs ({crawl.cpus})"
        if crawl.workers <= crawl.cpus:
            more = f"every CPU ({crawl.cpus}) has one"
        only = f"more would help only if the {level.work} wait for something rather than compute."
        return f"{busy}, and {more}: {only}"
    if crawl.memory and crawl.worker_memory + level.memory > crawl.memory * _MEMORY:
        return f"{busy}: more workers would help, but there is no memory for them."
    return f"{busy}: more {level.who} would help."


def _cheap(crawl: CrawlFigures) -> str:
    for level in crawl.levels:
        if level.is_cheap:
            at = f" at the level {level.name}" if level.name else ""
            how = _INLINE.get(level.of, "")
            return (
                f"{level.of} take {level.mean * 1e6:.0f} µs on average{at}, less than their "
                f"shipping: inline{how} would be faster."
            )
    return ""


def _scrapy_is_busy(crawl: CrawlFigures, fullest: LevelFigures) -> str:
    if crawl.scrapy <= _FULL:
        return ""
    return (
        f"Scrapy's own process was busy {crawl.scrapy:.0%} of the time, {fullest.who} "
        f"{fullest.share:.0%}: its callbacks, and the pipelines that it has kept, are the limit, "
        "and more workers would not help."
    )


def _idle(crawl: CrawlFigures, fullest: LevelFigures) -> str:
    if fullest.share >= _IDLE:
        return ""
    bound = "the crawl is bound elsewhere (network, delays, the spider's own callbacks)"
    if crawl.max_downloads and crawl.downloads > _WAITING * crawl.max_downloads:
        bound = (
            f"the crawl waits for its downloads, {crawl.downloads:.0f} at a time "
            f"(CONCURRENT_REQUESTS is {crawl.max_downloads})"
        )
    fewer = ", fewer workers would do" if crawl.workers > len(crawl.levels) else ""
    return f"{fullest.who} idled {1 - fullest.share:.0%} of the time: {bound}{fewer}."


def _memory(crawl: CrawlFigures, said: str) -> str:
    if not crawl.memory or crawl.worker_memory <= crawl.memory * _MEMORY or "no memory" in said:
        return ""
    return (
        f" The workers take {crawl.worker_memory / crawl.memory:.0%} of the memory there is, "
        f"{crawl.worker_memory / crawl.workers / 2**20:.0f} MiB each: with fewer, or with "
        "MPWORKERS_WORKER_MEMORY_LIMIT_MB, it does not run out."
    )
