"""The meta of requests and responses, which later callbacks and middlewares see."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from scrapy import Request, signals
from scrapy.crawler import Crawler

from .callbacks import case
from .pages import SITE, SiteSpider


class Passing(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield {"note": response.meta["note"]}
        yield response.follow("/a", self.page, meta=response.meta)
        yield response.follow("/b", self.page, meta={**response.meta, "more": {"deep": [1]}})

    def page(self, response: Any) -> Iterator[Any]:
        yield {"note": response.meta["note"], "more": response.meta.get("more")}


class Changing(SiteSpider):
    """Its requests carry the meta of their response, as it is when they are yielded."""

    def parse(self, response: Any) -> Any:
        response.meta["new"] = {"a": 1}
        response.meta["note"].append(2)
        yield {"step": 1, "meta": _own(response.meta)}
        del response.meta["note"]
        yield response.follow("/a", self.page, meta=response.meta)
        response.meta["late"] = True
        yield {"step": 2, "meta": _own(response.meta)}

    def page(self, response: Any) -> Iterator[Any]:
        yield {"meta": _own(response.meta)}


def _own(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name != "download_latency"}


class SeeMeta:
    """Notes what the callback has changed, when all of its results have come."""

    def __init__(self, crawler: Crawler) -> None:
        self._stats = crawler.stats

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> SeeMeta:
        return cls(crawler)

    async def process_spider_output(
        self, response: Any, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        response.meta["before"] = "set by a middleware"
        async for one in result:
            yield one
        seen = sorted((name, str(value)) for name, value in _own(response.meta).items())
        self._stats.set_value(f"seen/{response.url}", seen)


class SeenByMiddleware(Changing):
    def parse(self, response: Any) -> Any:
        yield {"before": response.meta["before"]}
        yield from super().parse(response)


class Homely(SiteSpider):
    """Puts into ``meta`` what no process can be sent."""

    async def start(self) -> AsyncIterator[Any]:
        self.kept = {
            "lock": threading.Lock(),
            "file": open(__file__, encoding="utf-8"),  # noqa: SIM115
            "generator": (n for n in range(3)),
        }
        self.crawler.signals.connect(self.shut, signals.spider_closed)
        yield Request(f"{SITE}/", self.parse, meta={**self.kept, "note": (1,)})

    def shut(self) -> None:
        self.kept["file"].close()

    def parse(self, response: Any) -> Any:
        yield {"note": response.meta["note"]}

    def at_home(self, response: Any) -> Iterator[Any]:
        yield {
            name: response.meta.get(name) is self.kept[name]
            for name in ("lock", "file", "generator")
        }


class Untouched(Homely):
    pass


class PassedOn(Homely):
    def parse(self, response: Any) -> Any:
        yield {"names": sorted(_own(response.meta)), "note": response.meta["note"]}
        yield response.follow("/a", self.at_home, meta=response.meta)
        yield response.request.replace(url=f"{SITE}/b", callback=self.at_home)
        yield response.follow("/c", self.at_home, meta={"lock": response.meta["lock"]})
        yield response.follow("/d", self.again, meta=response.meta.copy())

    def again(self, response: Any) -> Iterator[Any]:
        yield response.follow("/e", self.at_home, meta=response.meta)


class Dropped(Homely):
    def parse(self, response: Any) -> Any:
        response.meta.pop("file")
        yield {"names": sorted(_own(response.meta))}
        yield response.follow("/a", self.at_home, meta=response.meta)


class HomelyArguments(SiteSpider):
    async def start(self) -> AsyncIterator[Any]:
        self.lock = threading.Lock()
        yield Request(f"{SITE}/", self.parse, cb_kwargs={"lock": self.lock, "n": 1})

    def parse(self, response: Any, lock: Any = None, n: int = 0) -> Any:
        yield {"n": n}
        yield response.follow("/a", self.page, cb_kwargs={"lock": lock})

    def page(self, response: Any, lock: Any) -> Iterator[Any]:
        yield {"same": lock is self.lock}


class PutsALock(SiteSpider):
    """Leaves in ``meta`` what cannot be pickled."""

    def parse(self, response: Any) -> Any:
        yield {"n": 1}
        response.meta["lock"] = threading.Lock()
        yield response.follow("/a", self.page)


class OnlyHere:
    """Can be pickled, and loaded in the process that has made it."""

    def __init__(self) -> None:
        self.made_in = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["made_in"] != os.getpid():
            raise RuntimeError("made elsewhere")
        self.__dict__.update(state)


class GivenOnlyHere(SiteSpider):
    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.page, cb_kwargs={"given": OnlyHere()})

    def page(self, response: Any, given: Any) -> Iterator[Any]:  # type: ignore[override]
        yield {"given": type(given).__name__}


class Counted(SiteSpider):
    """A later callback at home reads what a callback in a worker has left on the response."""

    def parse(self, response: Any) -> Any:
        yield response.follow("/a", self.counting, meta={"count": {"n": 1}})

    def counting(self, response: Any) -> Iterator[Any]:
        response.meta["count"]["n"] += 1
        response.meta["seen"] = [response.url]
        yield response.follow("/b", self.page, meta=response.meta)

    def page(self, response: Any) -> Iterator[Any]:
        response.meta["count"]["n"] += 1
        yield {"count": response.meta["count"], "seen": response.meta["seen"]}


CASES = [
    case("meta_passed_on", Passing, 3, 3, stays=1),
    case("meta_changed", Changing, 3, 2),
    case(
        "meta_changes_seen_by_a_middleware",
        SeenByMiddleware,
        4,
        2,
        spider_middlewares={SeeMeta: 900},
    ),
    case("meta_unpicklable_untouched", Untouched, 1, 1),
    case("meta_unpicklable_passed_on", PassedOn, 5, 2, callbacks=["parse", "again"]),
    case("meta_unpicklable_dropped", Dropped, 2, 1, callbacks=["parse"]),
    case("arguments_unpicklable_passed_on", HomelyArguments, 2, 1, callbacks=["parse"]),
    case("meta_unpicklable_set", PutsALock, 2, 2, stays=1),
    case("arguments_not_loaded_there", GivenOnlyHere, 1, 1, callbacks=["page"], stays=1),
    case("meta_between_workers_and_home", Counted, 1, 1, callbacks=["counting"]),
    case("meta_between_home_and_workers", Counted, 1, 1, callbacks=["page"], alike=True),
]
