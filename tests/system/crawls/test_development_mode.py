"""``python -X dev`` makes a crawl say no more than it would say inline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .harness import PROJECT, SCRAPY, inline, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, World

#: What the interpreter complains of: objects that were left open, coroutines that nobody awaited.
COMPLAINT = re.compile(r"\w*Warning\b|was never|Exception ignored")
OURS = "Worker.run()"


def crawl(launch: Launcher, world: World, **settings: Any) -> Ended:
    command = ["-X", "dev", SCRAPY, "crawl", "pages", "-a", "items=5"]
    return launch.start(command, PROJECT, world=world, **settings).finish()


def complaints(ended: Ended) -> list[str]:
    return [line.text for line in ended.lines if COMPLAINT.search(line.text)]


@worlds(plain=False)
def test_development_mode_complains_of_nothing_that_it_would_not_complain_of_inline(
    launch: Launcher, world: World
) -> None:
    # Inline, only some loops are asyncio's.
    names = ("Lasts",) if world.mode == "default" else ("Lasts", "Waits")
    pipelines = {f"crawled.lasting.{name}": 300 + n for n, name in enumerate(names)}
    settings = {
        "MPWORKERS_PIPELINES": pipelines,
        "MPWORKERS_WORKER_MAX_ITEMS": 2,
        "MPWORKERS_ITEM_TIMEOUT": 30,
    }

    ended = crawl(launch, world, **settings)
    reference = crawl(launch, world, **inline(**settings))

    assert ended.numbers == reference.numbers == [1, 2, 3, 4, 5]
    assert complaints(ended) == complaints(reference)
    # In Scrapy's process it depends on the machine what is slow; in a worker nothing is.
    assert not [
        line.text for line in ended.lines if "Executing <" in line.text and OURS in line.text
    ]
    assert ended.exit_code == 0
