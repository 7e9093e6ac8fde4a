"""What cannot work is refused by name, at once, and costs nothing else."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import Launcher, World, inline, offload, path, rotated, worlds

if TYPE_CHECKING:
    from .harness import Site

# Items


@worlds()
def test_item_that_cannot_be_pickled_fails_alone_and_names_its_field(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("odd", world, **offload("Mark")).finish()

    (first, _, price), (second, _, links) = sorted(ended.told("failed"))
    assert (first, second) == (2, 4)
    assert "price" in price
    assert re.search("lambda|function", price)
    assert "links" in links
    assert "Selector" in links
    assert ended.numbers == [1, 3, 5]
    assert ended.stats["mpworkers/items/failed"] == 2


@worlds()
def test_item_may_carry_its_response_its_spider_and_soup(launch: Launcher, world: World) -> None:
    ended = launch.crawl("luggage", world, FEEDS={}, **offload("Unpacks")).finish()

    assert ended.told("unpacked") == [["Real pages", "luggage", "REAL PAGES"]]
    assert ended.told("same") == [[True, True]]
    assert ended.told("scraped") == [1]


@rotated("pipeline", ["ReturnsDeadDeferred", "AwaitsDeadDeferred"], start=4)
def test_deferred_that_cannot_fire_fails_its_item(
    launch: Launcher, pipeline: str, world: World
) -> None:
    ended = launch.crawl("pages", world, **offload(pipeline)).finish()

    [(number, _, text)] = ended.told("failed")
    assert number == 3
    assert "Deferred" in text
    assert ended.numbers == [1, 2, 4, 5, 6]


@worlds()
def test_engine_that_no_worker_has_is_named_in_the_error(launch: Launcher, world: World) -> None:
    ended = launch.crawl("pages", world, **offload("UsesEngine")).finish()

    (first, _, download), (second, _, crawl) = sorted(ended.told("failed"))
    assert (first, second) == (1, 2)
    assert "engine.download" in download
    assert "engine.crawl" in crawl
    assert ended.numbers == [3, 4, 5, 6]


# Pipelines


@rotated(
    "pipeline",
    [
        "crawled.unimportable.Mark",
        "crawled.pipelines.Missing",
        "RaisesInFromCrawler",
        "RaisesInOpen",
    ],
)
def test_pipeline_that_cannot_start_stops_the_crawl_before_its_first_request(
    launch: Launcher, site: Site, pipeline: str, world: World
) -> None:
    world.needs_http()
    url, settings = f"urls={site.url('page')}", offload(pipeline)
    reference = launch.crawl("pages", world, url, **inline(**settings)).finish()

    ended = launch.crawl("pages", world, url, **settings).finish()

    assert ended.exit_code == reference.exit_code
    assert site.requests == []
    cause = next(filter(None, (re.search(why, ended.log) for why in CAUSES)))
    assert re.search(cause[0], reference.log)
    assert "Traceback" in ended.log


@worlds()
def test_an_error_of_open_spider_is_one_record_with_the_frames_of_its_pipeline(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("pages", world, **offload("RaisesInOpen")).finish()

    lines = [line.text for line in ended.lines]
    [at] = [n for n, line in enumerate(lines) if "ERROR: worker-1 could not open" in line]
    assert lines[at].endswith("so the crawl ends: RuntimeError: no open_spider today")
    assert lines[at + 1] == "Traceback (most recent call last):"
    assert lines[at + 2].endswith("in open_spider")
    assert "never retrieved" not in ended.log
    others = [line for line in lines if "ERROR" in line or "CRITICAL" in line]
    assert [line for line in others if "CoreStats" not in line] == [lines[at]]  # Scrapy's own


@worlds()
def test_a_module_that_is_not_there_is_told_with_the_setting_that_lists_it(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("pages", world, **offload("no_shop.pipelines.Price")).finish()

    assert (
        "so the crawl ends: ModuleNotFoundError: No module named 'no_shop' (MPWORKERS_PIPELINES "
        "lists 'no_shop.pipelines.Price')"
    ) in ended.log
    assert "replacing it" not in ended.log


@worlds()
def test_route_that_leads_nowhere_stops_the_crawl(launch: Launcher, world: World) -> None:
    by_hand = {
        "ADDONS": {},
        "EXTENSIONS": {"scrapy_mpworkers.WorkerExtension": 0},
        "ITEM_PIPELINES": {
            "scrapy_mpworkers.WorkerPipeline": 300,
            "scrapy_mpworkers.pipelines.Route2": 500,
        },
    }

    ended = launch.crawl("pages", world, **offload("Mark"), **by_hand).finish()

    assert ended.numbers == []
    assert "The crawl cannot start: Route2 in ITEM_PIPELINES has nothing to do" in ended.log


CAUSES = ("no_module_of_this_name", "no open_spider today", "no from_crawler today", "Missing")


@pytest.mark.parametrize("mode", plain_first(["none", "asyncio", "default"]))
def test_refused_setting_ends_the_command_with_exit_code_1(launch: Launcher, mode: str) -> None:
    world = World(mode, "forkserver")
    crawl = launch.scrapy("crawl", "pages", "-s", "MPWORKERS_WORKERS=-1", world=world)
    ended = crawl.finish()

    assert ended.exit_code == 1
    assert not ended.told("requested")
    [line] = re.findall(r"(?:ERROR|CRITICAL): (.*)", ended.log)
    assert line.startswith("The crawl cannot start: MPWORKERS_WORKERS is '-1', but it must be")
    if mode != "default":  # where Twisted writes to stderr as well
        assert "Traceback" not in ended.log


@worlds()
def test_unknown_setting_is_warned_of_with_the_nearest_known(
    launch: Launcher, world: World
) -> None:
    ended = launch.crawl("pages", world, MPWORKERS_WORKER=3, **offload("Mark")).finish()

    [warning] = re.findall(r"WARNING: .*\bMPWORKERS_WORKER\b.*", ended.log)
    assert "MPWORKERS_WORKERS" in warning
    assert ended.exit_code == 0
    assert len(ended.items) == 6


# Settings: one process tries to start one crawl after the other

MARK = path("Mark")
BOTH = {"MPWORKERS_PIPELINES": {MARK: 300}, "ITEM_PIPELINES": {MARK: 400}}
FILES = {"MPWORKERS_PIPELINES": {path("Files"): 300}, "FILES_STORE": "files"}

BAD_SETTINGS: list[tuple[str, Any, str]] = [
    # name, value, what the sentence must hold besides these two
    ("MPWORKERS_ENABLED", "perhaps", "(?i)true"),
    ("MPWORKERS_ENABLED", 7, "(?i)true"),
    ("MPWORKERS_PIPELINES", [MARK], "(?i)dict|mapping"),
    ("MPWORKERS_PIPELINES", "not a dict", "(?i)dict|mapping"),
    ("MPWORKERS_PIPELINES", {MARK: "first"}, "(?i)number|int|order"),
    ("MPWORKERS_PIPELINES", {MARK: [300]}, "(?i)number|int|order"),
    ("MPWORKERS_WORKERS", "many", "auto"),
    ("MPWORKERS_WORKERS", -1, "auto"),
    ("MPWORKERS_WORKERS", 1.5, "auto"),
    ("MPWORKERS_WORKERS", [2], "auto"),
    ("MPWORKERS_START_METHOD", "thread", "forkserver.*spawn"),
    ("MPWORKERS_START_METHOD", 1, "forkserver.*spawn"),
    ("MPWORKERS_NICE", "low", "number|int"),
    ("MPWORKERS_NICE", -1, "number|int"),
    ("MPWORKERS_NICE", 2.5, "number|int"),
    ("MPWORKERS_MAX_PENDING", "lots", "number|int|auto"),
    ("MPWORKERS_MAX_PENDING", -5, "number|int|auto"),
    ("MPWORKERS_MAX_PENDING", {}, "number|int|auto"),
    ("MPWORKERS_MAX_PENDING_BYTES", "64 MiB", "number|int"),
    ("MPWORKERS_MAX_PENDING_BYTES", 0, "number|int"),
    ("MPWORKERS_ITEM_TIMEOUT", "soon", "number|seconds"),
    ("MPWORKERS_ITEM_TIMEOUT", -1, "number|seconds"),
    ("MPWORKERS_ITEM_TIMEOUT", [5], "number|seconds"),
    ("MPWORKERS_WORKER_MAX_ITEMS", -1, "number|int"),
    ("MPWORKERS_WORKER_MAX_ITEMS", "few", "number|int"),
    ("MPWORKERS_WORKER_MEMORY_LIMIT_MB", "2 GiB", "number|int"),
    ("MPWORKERS_WORKER_MEMORY_LIMIT_MB", 0.5, "number|int"),
    ("MPWORKERS_REDELIVER_TIMES", "twice", "number|int"),
    ("MPWORKERS_REDELIVER_TIMES", -1, "number|int"),
    ("MPWORKERS_REDELIVER_TIMES", 0.5, "number|int"),
    ("MPWORKERS_DEAD_LETTERS", 7, "path"),
    ("MPWORKERS_DEAD_LETTERS", ["dead.jsonl"], "path"),
    ("MPWORKERS_JOURNAL", True, "JOBDIR"),
    ("MPWORKERS_JOURNAL", "perhaps", "(?i)true"),
    ("MPWORKERS_RESTART_INTENSITY", "often", "number|int|auto"),
    ("MPWORKERS_RESTART_INTENSITY", -1, "number|int|auto"),
    ("MPWORKERS_RESTART_PERIOD", "soon", "number|seconds"),
    ("MPWORKERS_RESTART_PERIOD", 0, "number|seconds"),
    ("MPWORKERS_RESTART_PERIOD", -30, "number|seconds"),
    ("MPWORKERS_CLOSE_TIMEOUT", "later", "number|seconds"),
    ("MPWORKERS_CLOSE_TIMEOUT", -1, "number|seconds"),
    ("MPWORKERS_CLOSE_TIMEOUT", float("nan"), "number|seconds"),
    ("MPWORKERS_CLOSE_TIMEOUT", [60], "number|seconds"),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What became of a crawl with each of the bad settings, in their order."""
    trials: list[dict[str, Any]] = [{name: value} for name, value, _ in BAD_SETTINGS]
    launcher = Launcher(tmp_path_factory.mktemp("refusals"))
    crawl = launcher.script(
        "refusals.py", world=World("asyncio", "forkserver"), TRIALS=[*trials, BOTH, FILES]
    )
    ended = crawl.finish()
    launcher.close()
    assert ended.exit_code == 0
    return [json.loads(line) for line in ended.out.splitlines()]


@pytest.mark.parametrize(
    "index", range(len(BAD_SETTINGS)), ids=[f"{name}={value}" for name, value, _ in BAD_SETTINGS]
)
def test_bad_setting_is_refused_in_one_sentence(refusals: list[dict[str, Any]], index: int) -> None:
    name, value, accepted = BAD_SETTINGS[index]

    refusal = refusals[index]

    sentence = refusal["error"]
    assert not refusal["started"]
    assert name in sentence
    assert str(value) in sentence
    assert re.search(accepted, sentence)
    assert "\n" not in sentence


def test_pipeline_in_both_settings_is_refused(refusals: list[dict[str, Any]]) -> None:
    both = refusals[-2]

    assert not both["started"]
    for name in (MARK, "MPWORKERS_PIPELINES", "ITEM_PIPELINES"):
        assert name in both["error"]


def test_media_pipeline_is_refused(refusals: list[dict[str, Any]]) -> None:
    files = refusals[-1]

    assert not files["started"]
    for name in ("Files", "MPWORKERS_PIPELINES", "ITEM_PIPELINES"):
        assert name in files["error"]


@worlds()
def test_class_that_can_neither_be_imported_nor_sent_stops_the_crawl(
    launch: Launcher, world: World
) -> None:
    ended = launch.script("unsendable.py", world=world).finish()

    assert "__main__.Locks is in a place that workers cannot import" in ended.log
    assert "Move it to a module" in ended.log
    assert ended.items == []
