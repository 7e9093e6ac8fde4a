"""Pipelines that start processes themselves."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import Any

from ..case import Case, Expected
from .spiders import WORDS, WordSpider


class FewWords(WordSpider):
    """Three items: each costs several processes."""

    async def start(self) -> Any:
        for n in range(3):
            yield {"n": n, "word": WORDS[n]}


def square(n: int) -> int:
    return n * n


class RunsPrograms:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        command = [sys.executable, "-S", "-c", "print(input().upper())"]
        done = subprocess.run(
            command, input=item["word"], capture_output=True, text=True, check=True
        )
        item["upper"] = done.stdout.strip()
        return item


class FailsPrograms:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        code = item["n"]
        command = ["/bin/sh", "-c", f"exit {code}"]
        subprocess.run(command, check=True)
        return item


class UsesPool:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        with multiprocessing.Pool(2) as pool:
            item["squares"] = pool.map(square, range(4))
        return item


class KeepsPool:
    """One pool for all items, from opening to closing."""

    def open_spider(self) -> None:
        self.pool = multiprocessing.Pool(2)

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        item["square"] = self.pool.apply(square, (item["n"],))
        return item

    def close_spider(self) -> None:
        self.pool.close()
        self.pool.join()


class UsesJoblib:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        import joblib  # with numpy, which no other case here needs

        tasks = [joblib.delayed(square)(n) for n in range(4)]
        item["squares"] = joblib.Parallel(n_jobs=2)(tasks)
        return item


THREE = Expected(scraped=3)

CASES = [
    Case("uses_subprocess", WordSpider, {RunsPrograms: 300}, Expected(scraped=10)),
    Case(
        "uses_subprocess_that_fails", FewWords, {FailsPrograms: 300}, Expected(scraped=1, failed=2)
    ),
    Case("uses_multiprocessing_pool", FewWords, {UsesPool: 300}, THREE),
    Case("keeps_multiprocessing_pool", FewWords, {KeepsPool: 300}, THREE, workers=1),
    Case("uses_joblib", FewWords, {UsesJoblib: 300}, THREE, workers=1),
]
