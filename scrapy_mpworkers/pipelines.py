"""WorkerPipeline ships an item to workers and awaits its outcome: the item, a drop or an error."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from types import coroutine
from typing import TYPE_CHECKING, Any

from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured

from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.hops import is_contract_check
from scrapy_mpworkers.settings import read_settings

if TYPE_CHECKING:
    from scrapy_mpworkers.crawl.router import Router
    from scrapy_mpworkers.extension import WorkerExtension


class WorkerPipeline:
    """Stands in ``ITEM_PIPELINES`` for one route: a run of pipelines that work in workers."""

    route_number = 0  #: which route of the crawl it is, from 0

    def __init__(self, extension: WorkerExtension) -> None:
        self._extension = extension
        self._router: Router | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Any:
        """Make the pipeline of this route.

        Raises:
            NotConfigured: there is nothing to do for it.
            SettingError: the extension is missing.
        """
        options = read_settings(crawler.settings)
        if not options.pipelines or is_contract_check():
            raise NotConfigured
        # Late: Scrapy loads this module while the add-on has yet to launch a fork server.
        if not options.enabled:
            from scrapy_mpworkers.backends.inline import InlineHop

            return InlineHop(crawler, [entry for entry, _ in options.pipelines])
        from scrapy_mpworkers.extension import WorkerExtension

        extension = crawler.get_extension(WorkerExtension)
        if extension is None:
            from scrapy_mpworkers.crawl.silence import why_silent
            from scrapy_mpworkers.crawl.unhandled import keep_short

            error = SettingError(why_silent(crawler))
            keep_short(error)
            raise error
        return cls(extension)

    # No coroutine, which Python would warn of: Scrapy (2.15 to 2.19) calls ``open_spider`` of all
    # pipelines before it awaits any of them, and never awaits the others if one raises right away.
    @coroutine
    def open_spider(self) -> Generator[Any, Any, None]:
        """Wait until a worker is ready. If none can become ready, the error stops the crawl."""
        try:
            router = yield from self._extension.ensure_started().__await__()
            router.expect_route(self.route_number)
        except Exception as error:
            from scrapy_mpworkers.crawl.unhandled import keep_short

            keep_short(error)
            raise
        self._router = router

    def process_item(self, item: Any) -> Awaitable[Any]:
        """Return the item as its pipelines return it, or raise what they raise."""
        assert self._router is not None
        return self._router.process(self.route_number, item)

    async def close_spider(self) -> None:
        """Wait until all items are settled and the workers have closed their pipelines."""
        await self._extension.stop()


def __getattr__(name: str) -> type[WorkerPipeline]:
    # Route2, Route3, …: settings need a different class for each route.
    if not (name.startswith("Route") and name[5:].isdigit() and int(name[5:]) > 1):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    namespace = {"route_number": int(name[5:]) - 1, "__module__": __name__}
    cls = type(name, (WorkerPipeline,), namespace)
    return globals().setdefault(name, cls)  # type: ignore[no-any-return]
