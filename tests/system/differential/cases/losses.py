"""Items that are dropped and items that fail."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

from scrapy import Spider
from scrapy.exceptions import CloseSpider, DropItem
from scrapy.logformatter import LogFormatter

from ..case import Case, Expected
from .spiders import WordSpider


class TooShort(DropItem):
    """Takes arguments that ``args`` does not hold: pickle would not know how to call it."""

    def __init__(self, length: int, minimum: int, *, unit: str) -> None:
        super().__init__(f"{length} of {minimum} {unit}")
        self.length = length
        self.minimum = minimum


class Quiet(DropItem):
    def __init__(self, message: str) -> None:
        super().__init__(message, log_level="INFO")


class Unwanted(DropItem):
    """Holds what no process can be sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, log_level="ERROR")
        self.lock = threading.Lock()


class DropOdd:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["seen"] = True
        if item["n"] % 2:
            item["why"] = ["odd"]
            raise DropItem(f"{item['n']} is odd")
        return item


class DropByKind:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        kind = item["n"] % 5
        if kind == 0:
            raise TooShort(len(item["word"]), 20, unit="letters")
        if kind == 1:
            raise Quiet(f"{item['word']} in silence")
        if kind == 2:
            raise Unwanted(item["word"])
        if kind == 3:
            raise DropItem("with a level", log_level="ERROR")
        return item


class DropShort:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        raise TooShort(len(item["word"]), 20, unit="letters")


class DropFormatter(LogFormatter):
    """Reads what only this project's own exception has."""

    def dropped(self, item: Any, exception: Any, response: Any, spider: Spider) -> Any:
        level = logging.INFO
        args = {"length": exception.length, "minimum": exception.minimum, "n": item["n"]}
        return {"level": level, "msg": "%(n)d: %(length)d < %(minimum)d", "args": args}


class ShopError(Exception):
    def __init__(self, code: int, *, shop: str) -> None:
        super().__init__(code, shop)
        self.code = code
        self.details = {"shop": shop}

    def __str__(self) -> str:
        return f"{self.details['shop']} said {self.code}"


class LockedError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class LockInArguments(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message, threading.Lock())

    def __str__(self) -> str:
        return str(self.args[0])


class RefusesPickle(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no pickling, please")


class SlottedError(ValueError):
    __slots__ = ("place",)

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


def local_error(message: str) -> Exception:
    class LocalError(LookupError):
        pass

    return LocalError(message)


class FailInManyWays:
    """Errors of Python's own: some of them have arguments that their text is made from."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["tried"] = True
        return self.ways[item["n"]](self, item)

    def key(self, item: dict[str, Any]) -> Any:
        return item["no such key"]

    def zero(self, item: dict[str, Any]) -> Any:
        return 1 / 0

    def file(self, item: dict[str, Any]) -> Any:
        return open("/no/such/file")

    def decode(self, item: dict[str, Any]) -> Any:
        return b"\xff".decode("utf-8")

    def parse(self, item: dict[str, Any]) -> Any:
        return json.loads("{")

    def chain(self, item: dict[str, Any]) -> Any:
        try:
            int(item["word"])
        except ValueError as error:
            raise RuntimeError("not a number") from error

    def close(self, item: dict[str, Any]) -> Any:
        raise CloseSpider("a pipeline cannot close a spider so")

    def no_text(self, item: dict[str, Any]) -> Any:
        raise ValueError

    def check(self, item: dict[str, Any]) -> Any:
        raise AssertionError("n is", item["n"])

    def none(self, item: dict[str, Any]) -> Any:
        return item

    ways = (key, zero, file, decode, parse, chain, close, no_text, check, none)


class StopIterating:
    """``next`` without a default, a common slip: in a coroutine it becomes another error."""

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["n"] < 3:
            next(iter(()))
        return item


class AsyncFailure:
    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["async"] = True
        if item["n"] < 3:
            raise ShopError(item["n"], shop="async")
        if item["n"] < 6:
            raise DropItem("async")
        return item


class FailWithArguments:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["n"] % 3 == 0:
            raise ShopError(500 + item["n"], shop="corner shop")
        if item["n"] % 3 == 1:
            raise SlottedError("slotted", item["n"])
        return item


class FailUnpicklably:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["tried"] = [item["n"]]
        kind = item["n"] % 5
        if kind == 0:
            raise LockedError(f"locked {item['n']}")
        if kind == 1:
            raise LockInArguments(f"lock in {item['n']}")
        if kind == 2:
            raise RefusesPickle("refused")
        return item


class FailLocally:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        raise local_error(f"local {item['n']}")


class NeverReached:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["second"] = True
        return item


_A_LOCK_STAYS = {"exception_attributes": "a lock cannot leave its process"}

CASES = [
    Case("drops", WordSpider, {DropOdd: 300}, Expected(scraped=5, dropped=5)),
    Case(
        "drops_by_subclasses_with_arguments_and_levels",
        WordSpider,
        {DropByKind: 300},
        Expected(scraped=2, dropped=8),
        not_compared=_A_LOCK_STAYS,
    ),
    Case(
        "drop_whose_attributes_a_log_formatter_reads",
        WordSpider,
        {DropShort: 300},
        Expected(dropped=10),
        settings={"LOG_FORMATTER": DropFormatter},
    ),
    Case(
        "drops_at_a_level_from_settings",
        WordSpider,
        {DropOdd: 300, NeverReached: 400},
        Expected(scraped=5, dropped=5),
        settings={"DEFAULT_DROPITEM_LOG_LEVEL": "ERROR"},
    ),
    Case("errors", WordSpider, {FailInManyWays: 300}, Expected(scraped=1, failed=9)),
    Case("error_stop_iteration", WordSpider, {StopIterating: 300}, Expected(scraped=7, failed=3)),
    Case(
        "errors_of_async_pipelines",
        WordSpider,
        {AsyncFailure: 300},
        Expected(scraped=4, dropped=3, failed=3),
    ),
    Case(
        "errors_with_arguments",
        WordSpider,
        {FailWithArguments: 300},
        Expected(scraped=3, failed=7),
    ),
    Case(
        "errors_unpicklable",
        WordSpider,
        {FailUnpicklably: 300, NeverReached: 400},
        Expected(scraped=4, failed=6),
        not_compared=_A_LOCK_STAYS,
    ),
    Case(
        "errors_of_local_classes",
        WordSpider,
        {FailLocally: 300},
        Expected(failed=10),
        not_compared=dict.fromkeys(
            ("failed", "exception_attributes", "logs"),
            "a class made in a function exists only there: the crawl gets a RemoteError for it",
        ),
    ),
]
