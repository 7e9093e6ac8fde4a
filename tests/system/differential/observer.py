"""What a crawl shows from outside, noted as lines of text: items, signals, log records, stats."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.extensions.logcount import LogCount
from scrapy.http import Request, Response
from twisted.python.failure import Failure

from .describe import describe, qualified_name, without_addresses

OWN_LOGGER = "scrapy_mpworkers"
OWN_STATS = "mpworkers/"
CASES_PACKAGE = f"{__package__}.cases"

#: Times, and what is counted per minute of them.
_STATS_OF_TIME = re.compile(
    r"^(start_time|finish_time|elapsed_time_seconds|(items|responses)_per_minute)$|^memusage/"
)
_BARE_RECORD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def is_foreign(record: logging.LogRecord) -> bool:
    """Whether the crawl without workers would not have this record, or not as often.

    Python shows a warning once per place and process, so warnings are not comparable either. Each
    event loop says at DEBUG which selector it has.
    """
    if record.name == "asyncio" and record.levelno == logging.DEBUG:
        return True
    return record.name.split(".")[0] == OWN_LOGGER or record.name == "py.warnings"


class LogCountOfTheCrawl(LogCount):
    """Scrapy's ``log_count/*`` stats without the lines that only one of the two crawls has."""

    def spider_opened(self, spider: Spider) -> None:
        super().spider_opened(spider)
        assert self.handler is not None
        self.handler.addFilter(lambda record: not is_foreign(record))


class Observer:
    """A spider middleware next to the spider: it sees each object as the spider yields it.

    The yielded objects are kept alive, so that ``id`` names one object for the whole crawl.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._yielded: dict[int, Any] = {}
        self._as_yielded: dict[int, str] = {}
        self.results: list[str] = []
        self.errors: list[str] = []
        self.scraped: list[str] = []
        self.identity: list[str] = []
        self.dropped: list[str] = []
        self.failed: list[str] = []
        self.exception_attributes: list[str] = []

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Observer:
        observer = cls(crawler)
        crawler.signals.connect(observer._item_scraped, signal=signals.item_scraped)
        crawler.signals.connect(observer._item_dropped, signal=signals.item_dropped)
        crawler.signals.connect(observer._item_error, signal=signals.item_error)
        crawler.signals.connect(observer._spider_error, signal=signals.spider_error)
        return observer

    async def process_start(self, start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        noted = self._noting("start()")
        async for item_or_request in start:
            noted(item_or_request)
            yield item_or_request

    def process_spider_output(self, response: Response, result: Any) -> Iterator[Any]:
        noted = self._noting(str(response))
        for item_or_request in result:
            noted(item_or_request)
            yield item_or_request

    async def process_spider_output_async(
        self, response: Response, result: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        noted = self._noting(str(response))
        async for item_or_request in result:
            noted(item_or_request)
            yield item_or_request

    @property
    def yielded(self) -> list[str]:
        """What the spider's own objects have become: pipelines change them in place."""
        return [
            f"{self._as_yielded[key]} became {self._describe(item)}"
            for key, item in self._yielded.items()
        ]

    def _noting(self, source: str) -> Callable[[Any], None]:
        """Note, one by one, what comes of a response: its place among the others is noted, too."""
        numbers = itertools.count()

        def note(output: Any) -> None:
            text = self._describe(output)
            # An object that comes again may or may not show what pipelines do to it meanwhile.
            shown = "an object that has come before" if id(output) in self._yielded else text
            self.results.append(f"{source} #{next(numbers)}: {shown}")
            if not isinstance(output, Request):
                self._yielded.setdefault(id(output), output)
                self._as_yielded[id(output)] = text

        return note

    def _item_scraped(self, item: Any, response: Response | None) -> None:
        text = self._describe(item)
        self.scraped.append(f"{text} from {response}")
        origin = self._as_yielded.get(id(item))
        is_yielded = f"the object yielded as {origin}" if origin else "no yielded object"
        self.identity.append(f"{text} is {is_yielded}")

    def _item_dropped(self, item: Any, response: Response | None, exception: Exception) -> None:
        self.dropped.append(self._loss(item, response, exception))

    def _item_error(self, item: Any, response: Response | None, failure: Failure) -> None:
        assert failure.value is not None
        self.failed.append(self._loss(item, response, failure.value))

    def _spider_error(self, failure: Failure, response: Any) -> None:
        assert failure.value is not None
        error = failure.value
        attributes = {name: self._describe(value) for name, value in vars(error).items()}
        source = response if isinstance(response, Response) else f"a failure: {response.value!r}"
        self.errors.append(
            without_addresses(
                f"{qualified_name(type(error))} {error} {sorted(attributes.items())} of "
                f"{source}, asked for by {self._describe(response.request)}"
            )
        )

    def _loss(self, item: Any, response: Response | None, exception: BaseException) -> str:
        kind = qualified_name(type(exception))
        attributes = {name: describe(value) for name, value in vars(exception).items()}
        self.exception_attributes.append(
            without_addresses(f"{kind} {exception}: {sorted(attributes.items())}")
        )
        is_yielded = "yielded" if id(item) in self._yielded else "another"
        bases = ", ".join(qualified_name(base) for base in type(exception).__mro__[1:])
        return without_addresses(
            f"{self._describe(item)} ({is_yielded} object) from {response}: {kind}({bases}) "
            f"{exception}, log level {getattr(exception, 'log_level', None)}"
        )

    def _describe(self, output: Any) -> str:
        return describe(output, known_of(self._crawler))


def known_of(crawler: Crawler) -> dict[int, str]:
    """The objects of a crawl that items and log records may carry, and must carry as themselves."""
    return {id(crawler): "<the crawler>", id(crawler.spider): "<the spider>"}


class LogTap(logging.Handler):
    """Notes the records of pipelines, spider and scraper, and everyone's warnings and errors."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__()
        self._crawler = crawler
        self.lines: list[str] = []
        self.templates: list[str] = []
        self.own_lines: list[str] = []

    def __enter__(self) -> LogTap:
        logging.root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.split(".")[0] == OWN_LOGGER:
            self.own_lines.append(f"{record.levelname} {record.getMessage()}")
        elif not is_foreign(record) and self._is_compared(record):
            self.lines.append(self._line(record))
            self.templates.append(without_addresses(f"{record.name} {record.msg!s}"))

    def _is_compared(self, record: logging.LogRecord) -> bool:
        spoken = (CASES_PACKAGE, "scrapy.core.scraper", self._crawler.spidercls.name)
        return record.name.startswith(spoken) or record.levelno >= logging.WARNING

    def _line(self, record: logging.LogRecord) -> str:
        known = known_of(self._crawler)
        extra = {k: describe(v, known) for k, v in vars(record).items() if k not in _BARE_RECORD}
        return without_addresses(
            f"{record.name} {record.levelname} [{record.filename}:{record.lineno} "
            f"{record.funcName}] {record.getMessage()} {sorted(extra.items())}"
            f"{_exception_of(record)}"
        )


def _exception_of(record: logging.LogRecord) -> str:
    """The last line of the traceback that a handler would print with the record."""
    if not record.exc_info and not record.exc_text:
        return ""
    return f" ⚡ {logging.Formatter('').format(record).splitlines()[-1]}"


def stats_lines(crawler: Crawler) -> list[str]:
    return [
        f"{key} = {describe(value)}"
        for key, value in crawler.stats.get_stats().items()
        if not key.startswith(OWN_STATS) and not _STATS_OF_TIME.match(key)
    ]


def pool_stats(crawler: Crawler) -> dict[str, float]:
    stats = crawler.stats.get_stats().items()
    return {key: value for key, value in stats if key.startswith(OWN_STATS)}


def outcome(crawler: Crawler, tap: LogTap, feed: Path) -> dict[str, Any]:
    """All that was noted of a finished crawl, as JSON data. Aspects are lists of lines."""
    observer = crawler.get_spider_middleware(Observer)
    assert observer is not None
    return {
        "feed": feed.read_text("utf-8").splitlines() if feed.exists() else [],
        "scraped": observer.scraped,
        "identity": observer.identity,
        "yielded": observer.yielded,
        "results": observer.results,
        "errors": observer.errors,
        "dropped": observer.dropped,
        "failed": observer.failed,
        "exception_attributes": observer.exception_attributes,
        "logs": tap.lines,
        "log_templates": tap.templates,
        "stats": stats_lines(crawler),
        "pool": pool_stats(crawler),
        "own_lines": tap.own_lines,
    }
