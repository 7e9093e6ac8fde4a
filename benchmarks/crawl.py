"""A real crawl: generated article pages, main text by trafilatura; wall time against the ideal.

    python -m benchmarks.crawl [--pages 2000] [--kb 20] [--items 1] [--runs 5] [PEER ...]

Pages come from ``file://``, so no second process serves them. Each yields one item, or several that
share its text. An ideal is the larger of Scrapy's own CPU and all CPU shared among the cores: of
plain Scrapy as it is installed, with a pipeline that does nothing, and of Scrapy whose responses
start a task for each result only (which the add-on makes it do). Below stands the latter with a
pipeline that awaits a timer as long as an extraction takes: what it costs a crawl that its items
are elsewhere. "Plain crawls" are what many people do instead: one process for each core, each with
its share of the pages, no common dupe filter, limits, stats or feed.

Wall time and CPU are without the imports before. Ratios are within a round; figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

from benchmarks.drive import Spec, settings_of, watch_lag
from benchmarks.groups import CORES, LIMIT
from benchmarks.measure import in_turn, percentile
from benchmarks.peers import OURS, PEERS
from benchmarks.trips import (
    MIB,
    PLAIN,
    WORDS,
    Trip,
    median,
    proportional_set_size,
    ratio,
    run_alone,
    run_in_parts,
)
from benchmarks.versions import heading
from scrapy_mpworkers.crawl.results import take_results_on_demand

ALONE, ON_DEMAND, INLINE = "Scrapy alone", "the same, tasks on demand", "inline"
WAITS = "the same, a pipeline that only waits"
ALL = (OURS, PLAIN, *(peer for peer in PEERS if peer not in (INLINE, LIMIT)))
PAGES, KILOBYTES = 2000, 20
EXTRACTION = 0.004  # seconds; of a page of 20 KB
STARTED, USED = time.monotonic(), time.process_time()  # seconds; when Scrapy is imported


@dataclass(frozen=True)
class Load:
    """What is crawled: so many pages of so many kilobytes, and so many items of each."""

    pages: int
    kilobytes: int
    items: int


class Waits:
    """A pipeline that awaits as long as an extraction takes: what it costs a crawl that its items
    are elsewhere, whoever has them."""

    async def process_item(self, item: Any) -> Any:
        await asyncio.sleep(EXTRACTION)
        return item


class ArticleSpider(scrapy.Spider):
    """Every page of a folder becomes an item, or several.

    Args:
        folder: where the pages are.
        items: of each page.
        part: "n/of": every of-th page, from the n-th on.
        on_demand: whether Scrapy starts a task for each result only.
    """

    name = "articles"

    def __init__(
        self, folder: str, items: int = 1, part: str = "0/1", on_demand: bool = False
    ) -> None:
        super().__init__()
        number, of = map(int, part.split("/"))
        pages = sorted(Path(folder).glob("*.html"))[number::of]
        self.start_urls = [path.as_uri() for path in pages]
        self.items_of_each, self.on_demand = items, on_demand
        self.lags: list[float] = []
        self.first: float | None = None
        self.items = self.memory = 0

    @classmethod
    def from_crawler(cls, crawler: Any, *args: Any, **kwargs: Any) -> ArticleSpider:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.begin, signals.spider_opened)
        crawler.signals.connect(spider.item_out, signals.item_scraped)
        return spider

    def begin(self) -> None:
        self.ticker = asyncio.ensure_future(watch_lag(self.lags))
        if self.on_demand:
            take_results_on_demand(self.crawler)

    def item_out(self) -> None:
        self.items += 1
        if self.first is None:
            self.first = time.monotonic() - STARTED
        if self.items == len(self.start_urls) * self.items_of_each // 2:
            self.memory = proportional_set_size()

    def parse(self, response: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        title = response.css("title::text").get()
        if self.items_of_each == 1:
            yield {"url": response.url, "title": title, "html": response.text}
            return
        paragraphs = response.css("article p").getall()
        for number in range(self.items_of_each):
            text = "\n".join(paragraphs[number :: self.items_of_each])
            html = f"<html><body><article>{text}</article></body></html>"
            yield {"url": response.url, "title": title, "number": number, "html": html}


def write_pages(folder: Path, load: Load) -> None:
    """Articles, different in each, between menus that are not part of them."""
    for number in range(load.pages):
        chance = random.Random(number)
        menu = "".join(f"<li><a href=/{n}>{chance.choice(WORDS)}</a></li>" for n in range(60))
        # Paragraphs of about 500 bytes, shorter where there must be more of them than fit.
        count = max(2 * load.kilobytes, load.items)
        words = 80 * 2 * load.kilobytes // count
        paragraphs = "".join(
            f"<p>{' '.join(chance.choices(WORDS, k=words))}.</p>\n" for _ in range(count)
        )
        (folder / f"{number:06d}.html").write_text(
            f"<html><head><title>Article {number}</title></head><body><nav><ul>{menu}</ul></nav>"
            f"<article><h1>Article {number}</h1>{paragraphs}</article></body></html>"
        )


def crawl(peer: str, work: str, folder: str, items: str, part: str, on_demand: str) -> Trip:
    """Crawl once in this process; the arguments are those of the command line."""
    settings = settings_of(Spec(INLINE if peer == WAITS else peer, work, "", 0, workers=CORES))
    if peer == WAITS:
        settings["ITEM_PIPELINES"] = {Waits: 300}
    process = CrawlerProcess(settings)
    crawler = process.create_crawler(ArticleSpider)
    process.crawl(
        crawler, folder=folder, items=int(items), part=part, on_demand=on_demand == "True"
    )
    process.start()
    spider: Any = crawler.spider
    return Trip(
        wall=time.monotonic() - STARTED,
        first=spider.first,
        cpu=time.process_time() - USED,
        memory=spider.memory,
        lags=spider.lags,
    )


def run(
    folder: Path, items: int, peer: str, work: str, part: str = "0/1", on_demand: bool = False
) -> Trip:
    """Crawl once in a process of its own."""
    arguments = [peer, work, str(folder), str(items), part, str(on_demand)]
    return run_alone("benchmarks.crawl", arguments)


def runners(peers: Iterable[str], folder: Path, items: int) -> dict[str, Callable[[], Trip]]:
    """Return what runs each crawl, by its name in the table."""
    one = partial(run, folder, items)
    found: dict[str, Callable[[], Trip]] = {
        ALONE: partial(one, INLINE, "nothing"),
        ON_DEMAND: partial(one, INLINE, "nothing", on_demand=True),
        WAITS: partial(one, WAITS, "nothing", on_demand=True),
        INLINE: partial(one, INLINE, "extract"),
    }
    for peer in peers:
        own = partial(one, peer, "extract")
        in_parts = partial(run_in_parts, lambda part: one(INLINE, "extract", part))
        found[peer] = in_parts if peer == PLAIN else own
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crawl")
    parser.add_argument("peers", nargs="*", default=ALL)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--kb", type=int, default=KILOBYTES)
    parser.add_argument("--items", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    load = Load(options.pages, options.kb, options.items)
    text, _ = report(options.peers, load, options.runs)
    print(heading(options.runs))
    print(text)


def report(peers: Sequence[str], load: Load, runs: int) -> tuple[str, Mapping[str, float]]:
    """Interleaved crawls of all peers: a table, and which share of the ideal each has reached."""
    with tempfile.TemporaryDirectory() as folder:
        write_pages(Path(folder), load)
        crawls = runners(peers, Path(folder), load.items)
        trips: dict[str, list[Trip]] = {name: [] for name in crawls}
        for name in in_turn(list(crawls), runs):
            trips[name].append(crawls[name]())
    extraction = median(trips[INLINE], "cpu") - median(trips[ALONE], "cpu")
    ideals = {name: ideal(median(trips[name], "cpu"), extraction) for name in (ALONE, ON_DEMAND)}
    lines = [
        f"{load.pages:,} pages of {load.kilobytes} KB, {load.items} items of each, {CORES} cores; "
        f"CPU of Scrapy alone {median(trips[ALONE], 'cpu'):.1f} s, with tasks on demand "
        f"{median(trips[ON_DEMAND], 'cpu'):.1f} s, of extraction {extraction:.1f} s",
        "",
        "| | wall, s | of ours | of the ideal | of that on demand | first item, s | parent CPU, s "
        "| lag p99, ms | PSS, MiB |",
        "| --- " * 9 + "|",
    ]
    shares = {name: ideals[ALONE] / median(found, "wall") for name, found in trips.items()}
    for name, found in trips.items():
        wall = median(found, "wall")
        lag = statistics.median(percentile(trip.lags, 99) for trip in found) * 1e3
        lines.append(
            f"| {name} | {wall:.1f} | {ratio(found, trips.get(OURS, found)):.2f} "
            f"| {shares[name]:.2f} "
            f"| {ideals[ON_DEMAND] / wall:.2f} | {median(found, 'first'):.2f} "
            f"| {median(found, 'cpu'):.1f} | {lag:.1f} "
            f"| {median(found, 'memory') / MIB:.0f} |"
        )
    return "\n".join([*lines, ""]), {
        name: share for name, share in shares.items() if name not in (ALONE, ON_DEMAND, WAITS)
    }


def ideal(scrapys: float, extraction: float) -> float:
    """Return the seconds below which no crawl with one parent can come."""
    return max(scrapys, (scrapys + extraction) / CORES)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asdict(crawl(*sys.argv[2:]))))
    else:
        main()
