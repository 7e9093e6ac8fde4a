"""The extension has the workers of a crawl, for the hops of its items and for functions to call."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import cached_property, partial
from math import inf
from typing import TYPE_CHECKING, Any

from scrapy import Spider, signals
from scrapy.crawler import Crawler

from scrapy_mpworkers.errors import MPWorkersError, SettingError
from scrapy_mpworkers.eventloop import EventLoop, current_loop, in_order
from scrapy_mpworkers.hops import Hop, hops_of, is_contract_check, settle_routes
from scrapy_mpworkers.settings import WorkerSettings, read_settings, warn_of_names

if TYPE_CHECKING:
    from scrapy_mpworkers.crawl.manager import LevelManager
    from scrapy_mpworkers.crawl.persistence import Persistence
    from scrapy_mpworkers.crawl.router import Router
    from scrapy_mpworkers.status.reporter import Reporter
    from scrapy_mpworkers.status.snapshot import Snapshot

logger = logging.getLogger(__name__)

_ADDON = "scrapy_mpworkers.addon"  # by name, as it imports this module


class WorkerExtension:
    """The workers of a crawl, for its hops and for whoever gets it from the crawler.

    The modules that workers need are imported at first use, so a crawl with workers switched off
    and without calls starts as fast as without the add-on.
    """

    def __init__(self, crawler: Crawler, options: WorkerSettings, hops: Sequence[Hop]) -> None:
        self._crawler = crawler
        self._options = options
        self._hops = hops
        self._loop: EventLoop | None = None
        self._router: Router | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> WorkerExtension:
        """The extension of this crawl. Without hops it is there for :meth:`run`.

        Raises:
            SettingError: a setting has a value that cannot work.
        """
        try:
            return cls._made(crawler)
        except MPWorkersError as error:
            from scrapy_mpworkers.crawl.unhandled import keep_short

            keep_short(error)
            raise

    @classmethod
    def _made(cls, crawler: Crawler) -> WorkerExtension:
        if not any(type(addon).__module__ == _ADDON for addon in crawler.addons.addons):
            warn_of_names(crawler.settings)
        options = read_settings(crawler.settings)
        if is_contract_check():
            options = replace(options, enabled=False)
        if options.enabled:
            settle_routes(crawler, options)
        hops = hops_of(crawler.settings, options) if options.enabled else ()
        extension = cls(crawler, options, hops)
        crawler.signals.connect(extension.spider_closed, signals.spider_closed)
        if options.enabled:
            if extension.manager.callbacks_at is not None:
                crawler.signals.connect(extension.spider_opened, signals.spider_opened)
            _ = extension.persistence  # refuses a file that cannot be used before anything begins
            if crawler.crawling:  # not for a look at a crawler, such as a test's get_crawler()
                extension.manager.prepare()
        return extension

    @classmethod
    def of(cls, crawler: Crawler) -> WorkerExtension:
        """Return the extension of *crawler*, for whoever wants to :meth:`run` something.

        Raises:
            SettingError: it is not active; names the line to change.
        """
        found = crawler.get_extension(cls)
        if found is None:
            from scrapy_mpworkers.crawl.silence import how_to_activate

            raise SettingError(how_to_activate(crawler))
        return found

    @cached_property
    def manager(self) -> LevelManager:
        """The levels of this crawl."""
        from scrapy_mpworkers.crawl.manager import LevelManager

        return LevelManager(self._crawler, self._options, self._hops)

    @cached_property
    def persistence(self) -> Persistence:
        """Keeps items of this crawl beyond its process."""
        from scrapy_mpworkers.crawl.persistence import Persistence

        return Persistence(self._crawler, self._options, self._hops)

    @cached_property
    def _reporter(self) -> Reporter:
        from scrapy_mpworkers.status.reporter import Reporter

        return Reporter(self._crawler, self.manager, self._options)

    @property
    def has_work(self) -> bool:
        """Return whether any pipeline or callback is offloaded."""
        has_callbacks = self._options.enabled and self.manager.callbacks_at is not None
        return bool(self._hops) or has_callbacks

    async def ensure_started(self) -> Router:
        """Start the workers of all hops, once, and wait until one of each level is ready.

        Returns:
            the router of the crawl.

        Raises:
            Exception: what a worker raised while it built or opened its pipelines.
            WorkerStartError: none became ready.
        """
        router = self._begin()
        try:
            await self.manager.start(self.manager.from_the_beginning)
        except BaseException:
            self.manager.kill()
            try:
                await self.stop()
            except Exception:
                logger.debug("Stopping after a failed start", exc_info=True)
            raise
        return router

    async def run(
        self, func: Callable[..., Any], *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Call ``func(*args, **kwargs)`` in a worker.

        It may be anything that can be called there: a lambda, a closure, a method of an object
        that can be pickled or of the spider, a coroutine function. Like an item it counts in
        ``MPWORKERS_MAX_PENDING``, runs again if its worker dies, and is waited for when the spider
        closes.

        Args:
            timeout: seconds that it may take once it has begun; ``None``: what holds for items.

        Returns:
            what it returned.

        Raises:
            Exception: what it raised.
            UnpicklableError: it, an argument or its result cannot cross.
            CallTimeout, WorkerDied, PoolBroken, CloseTimeout, PoolClosed: it was given up.
            ValueError: *timeout* is not above 0.
        """
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout!r}, but it must be above 0, or None")
        router, level = self._begin(), self.manager.calls_at
        await self.manager.start([level])
        return await router.call(level, (func, args, kwargs), timeout)

    async def map(
        self,
        func: Callable[[Any], Any],
        arguments: Iterable[Any],
        limit: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Call *func* in workers with each of *arguments*, which are taken as they are needed.

        Args:
            limit: calls that are under way at once; ``None``: two for each worker.
            timeout: seconds for each, as in :meth:`run`.

        Yields:
            the results, in the order of the arguments.

        Raises:
            Exception: as :meth:`run`, of the first that failed; those behind it are cancelled.
            ValueError: *limit* is below 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit!r}, but it must be at least 1, or None")
        workers = self.manager.settings[self.manager.calls_at].pool.workers
        start = partial(self.run, func, timeout=timeout)
        async with aclosing(in_order(start, arguments, limit or max(1, 2 * workers))) as results:
            async for result in results:
                yield result

    def snapshot(self, with_pss: bool = False) -> Snapshot:
        """Return a picture of what the workers are at now. To be called in the crawl's thread.

        Args:
            with_pss: measure proportional set sizes too, of one worker a call (1 ms or more).
        """
        return self._reporter.snapshot(with_pss)

    def history(self, last: float = inf) -> dict[str, Any]:
        """Return what the page draws, of the *last* seconds or of the whole crawl, as JSON has it;
        without a page and a report it is empty."""
        return self._reporter.history.as_dict(last)

    async def stacks(self, timeout: float = 1.0) -> dict[str, str]:
        """Return where all workers are, by their names: stacks of threads and asyncio tasks, or
        why there are none within *timeout* seconds. Pipelines go on meanwhile."""
        return await self.manager.stacks(timeout)

    async def resumed(self) -> AsyncIterator[Any]:
        """The items that an earlier run has kept, for ``start()``."""
        if self._router is None:
            return  # somebody looks at what the spider starts with, and no crawl has begun
        async for item in self._router.resumed(lambda: not self.manager.is_closing):
            yield item

    async def stop(self) -> None:
        """Drain, stop, join. Safe to call twice, and without a start.

        Raises:
            Exception: what a pipeline's ``close_spider`` raised in a worker.
        """
        if self._router is not None:
            self._reporter.look_at_the_end()
        await self.manager.stop()

    async def spider_opened(self, spider: Spider) -> None:
        """Have workers for callbacks, even if there is no pipeline that has waited for them."""
        try:
            await self.ensure_started()
        except Exception:
            from scrapy_mpworkers.crawl.patches import SpiderCloser

            # Scrapy only logs what a handler raises.
            SpiderCloser(self._crawler).ask("mpworkers_broken")
            raise

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Handler of the signal, which is sent even where ``close_spider`` is never called."""
        if not self._options.enabled and self._router is None:
            return
        if reason == "mpworkers_broken":
            from scrapy_mpworkers.crawl.patches import fail_process

            fail_process(self._crawler)
        async with AsyncExitStack() as closing:  # from the bottom up, whatever fails in between
            if self._loop is not None:
                closing.callback(self._loop.close)
            closing.push_async_callback(self.persistence.close)
            if self._router is not None:
                closing.callback(self._reporter.sum_up)
            await self.stop()

    def _begin(self) -> Router:
        """Make what needs the spider, once, and return the router.

        Raises:
            PoolClosed: the crawl has stopped its workers, or an earlier call has failed.
        """
        self.manager.expect_open()
        if self._router is not None:
            return self._router
        if self._crawler.spider is None:
            raise MPWorkersError("there are no workers before the crawl has its spider")
        try:
            self._router = self._assembled(current_loop())
        except BaseException:
            # A second call would find half of the parts there, and make them twice.
            self.manager.kill()
            raise
        return self._router

    def _assembled(self, loop: EventLoop) -> Router:
        from scrapy_mpworkers.crawl.context import CrawlContext
        from scrapy_mpworkers.crawl.events import EffectsSink
        from scrapy_mpworkers.crawl.router import Router

        self._loop = loop
        context = CrawlContext(self._crawler, self.manager.settings, self._hops)
        codec, effects = context.codec, EffectsSink(self._crawler, context.codec)
        self.persistence.start(loop)
        levels = self.manager.assemble(context, effects, loop)
        router = Router(self._crawler, codec, effects, self.persistence, self._hops, levels)
        if self.manager.callbacks_at is not None:
            from scrapy_mpworkers.crawl.offload import offload

            level = levels[self.manager.callbacks_at]
            wanted = self._options.callbacks
            offload(self._crawler, codec, effects, self.persistence, router, level, wanted, loop)
        self._reporter.begin(loop, self, router.totals)
        return router
