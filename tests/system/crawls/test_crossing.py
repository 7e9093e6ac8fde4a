"""What of a crawl cannot cross to a worker, and does not stop it: classes, functions, spiders."""

from __future__ import annotations

import re
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import rotated, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher, World

IN_PROCESS = {"MPWORKERS_WORKERS": 0}


# Classes


@worlds()
def test_classes_that_are_not_found_under_their_names_come_back_as_the_very_same(
    launch: Launcher, world: World
) -> None:
    ended = launch.script("odd_classes.py", world=world).finish()

    assert {item["kind"]: item["same"] for item in ended.items} == dict.fromkeys(KINDS, True)
    values = {item["kind"]: item["a"] for item in ended.items if item.get("a") is not None}
    assert values == WORKED
    assert ended.exit_code == 0


#: What pipelines made of ``a``: those of a plug-in know only their own plug-in's records.
WORKED = {
    **dict.fromkeys(("Product", "FIRST", "decorated", "rebound", "local"), 3),
    **dict.fromkeys(("Model", "Point", "shadowing"), 2),
    **dict.fromkeys(("plugin", "forgotten", "executed"), 10),
    **dict.fromkeys(("local_Model", "local_Attrs"), 1),
    **dict.fromkeys(("local_Frozen", "local_Pair", "local_Created"), 0),
}
KINDS = [
    *WORKED,
    *("Row", "Colour", "plugin_enum", "local_Row", "local_Flags", "local_Text", "made_there"),
]


# Functions


@worlds()
def test_whatever_can_be_called_is_a_pipeline(launch: Launcher, world: World) -> None:
    ended = launch.script("callables.py", world=world).finish()

    assert [item["steps"] for item in ended.items] == ["abcdefgksmnuz"] * 4
    assert {(item["n"] % 2, item["pid"]) for item in ended.items} == {
        (item["n"] % 2, pid) for item, pid in zip(ended.items, pids(ended), strict=True)
    }
    assert int(ended.out) not in pids(ended)
    # Methods and lambdas of a module share its globals, as they do inline.
    assert sorted(item["counts"] for item in ended.items) in ([3, 3, 6, 6], [3, 6, 9, 12])


@pytest.mark.parametrize(
    "settings", plain_first([IN_PROCESS, {"MPWORKERS_ENABLED": False}]), ids=str
)
@worlds()
def test_they_are_without_workers_as_well(
    launch: Launcher, settings: dict[str, Any], world: World
) -> None:
    ended = launch.script("callables.py", world=world, **settings).finish()

    assert [item["steps"] for item in ended.items] == ["abcdefgksmnuz"] * 4
    assert set(pids(ended)) == {int(ended.out)}


def pids(ended: Ended) -> list[int]:
    return [item["pid"] for item in ended.items]


# Spiders, settings, stats

HAVE = {
    "unbound": {"shelf": "A", "class": "Unbound"},
    "loaded": {
        "shelf": "B",
        "class": "LoadedSpider",
        "helper": "helped by a plug-in",
        "shouted": "b<Loaded",
    },
    "process": {"helper": "helped", "shouted": "aA", "class": "Closes"},
    "context": {"helper": "helped", "shouted": "aA"},
    "module": {"helper": "helped", "thing": "a thing"},
    "lock": {"helper": "helped", "shouted": "aA"},
    "demanding": {"shop": "a shop", "class": "Asks"},
    "moody": {"shelf": "A", "class": "Breaks"},
}
LACK = {
    "process": "thing",
    "context": "thing",
    "lock": "thing",
    "loaded": "lock",
    "demanding": "lock",
    "moody": "mood",
}


@worlds()
def test_a_spider_that_cannot_cross_comes_as_far_as_it_can(launch: Launcher, world: World) -> None:
    ended = launch.script("odd_spiders.py", world=world).finish()

    got = {item["spider"]: item["got"] for item in ended.items}
    assert got.keys() == HAVE.keys()
    for name, expected in HAVE.items():
        assert got[name] | expected | {"name": name} == got[name]
    for name, missing in LACK.items():
        assert got[name][missing].startswith(f"NotInWorkerError: spider.{missing} is not available")
    assert int(ended.out) not in pids(ended)
    for words in got.values():
        assert words["GUARD"].startswith("NotInWorkerError: settings['GUARD'] is not available")
        assert words["guard"].startswith("NotInWorkerError: the stat guard is not available")
        assert (words["CLEANER"], words["copied"]) == ("clean", "scrapybot")
    uses = re.findall(r"WARNING: (odd_pipelines\.\w+ uses \S+), which is not available", ended.log)
    assert {"odd_pipelines.Peeks uses spider.lock"} <= set(uses)
    assert {"odd_pipelines.Peeks uses settings['GUARD']"} <= set(uses)
    assert max(Counter(uses).values()) <= len(HAVE)


@worlds(plain=False)
def test_a_spider_at_the_top_of_a_script_keeps_its_bases_though_none_of_them_can_cross(
    launch: Launcher, world: World
) -> None:
    ended = launch.script("top_spiders.py", world=world).finish()

    got = {item["spider"]: item for item in ended.items}
    assert {name: item["shout"] for name, item in got.items()} == {
        "diamond": "diamond left right base",
        "single": "single base",
    }
    assert got["single"]["plain"] == "t1base"
    assert got["single"]["bases"] == ["Single", "Base", "Spider"]
    assert got["diamond"]["bases"] == ["Diamond", "Mixin", "Left", "Right", "Base", "Spider"]
    for item in got.values():
        assert item["table"] == "t1"
        assert item["is_spider"]
        assert item["who"].startswith("NotInWorkerError: spider.who is not available")
    assert int(ended.out) not in pids(ended)


# Errors


@worlds()
def test_whatever_a_pipeline_raises_ends_its_item_alone(launch: Launcher, world: World) -> None:
    ended = launch.script("beyond.py", world=world).finish()

    failed = [(ends, way, text) for ends, way, _, _, text in ended.told("failed") if ends]
    assert {(ends, way) for ends, way, _ in failed} == {
        (ends, way)
        for ends in ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "OwnEnd")
        for way in ("plain", "awaited")
    }
    assert all(f".{ends}: " in text for ends, _, text in failed)
    assert ended.exit_code == 0
    assert_errors_name_what_is_missing(ended)


def assert_errors_name_what_is_missing(ended: Ended) -> None:
    looks = {look: text for _, _, look, _, text in ended.told("failed") if look}
    assert looks.keys() == {"meta", "cb_kwargs", "request", "if"}
    for text in looks.values():
        assert text.startswith("scrapy_mpworkers: in a worker a response has no request")
    assert {look: saw for look, saw in ended.told("done") if look} == {
        "text": "page",
        "replaced": "other",
    }
    (pair,) = (text for ends, _, look, _, text in ended.told("failed") if not ends and not look)
    assert "a dict cannot be sent to another process: its field 'pair'['right']['deep'][0]" in pair
    file, pair = ended.told("call")
    assert file.startswith("a _io.TextIOWrapper cannot be sent to another process (TypeError")
    assert "its field 'right' holds a " in pair


# The end, and the beginning


@pytest.mark.parametrize("who", ["pipelines", "callbacks", "ctrl_c"])
@worlds(plain=False)
def test_a_spider_that_is_asked_to_close_again_and_again_closes_once(
    launch: Launcher, who: str, world: World
) -> None:
    crawl = launch.script("asking.py", who, world=world)
    if who == "ctrl_c":
        crawl.wait_for("Closing spider")
        crawl.signal_group(signal.SIGINT)
    ended = crawl.finish()

    closing = re.findall(r"Closing spider \((.*)\)", ended.log)
    reasons = re.findall(r"'finish_reason': '(.*)'", ended.log)
    assert len(closing) == 1
    assert reasons == closing
    assert_nothing_is_left_over(ended)


@rotated("pipeline", ["OpensBadly", "OpensBadlyLater"])
def test_another_pipeline_that_cannot_open_leaves_ours_unopened(
    launch: Launcher, pipeline: str, world: World
) -> None:
    for order in ("200", "400"):
        ended = launch.script("opening.py", pipeline, order, world=world).finish()

        assert "ValueError: no shelf" in ended.log
        assert_nothing_is_left_over(ended)


def assert_nothing_is_left_over(ended: Ended) -> None:
    for words in ("never awaited", "was destroyed", "Traceback (most recent call last):\nasyncio"):
        assert words not in ended.log
    assert "CancelledError" not in ended.log


# Levels


@worlds(plain=False)
def test_what_one_level_makes_small_is_small_for_the_next(launch: Launcher, world: World) -> None:
    inline = launch.script("shrinking.py", world=world, INLINE=True).finish()
    ended = launch.script("shrinking.py", world=world).finish()

    for word in ("scraped", "gone"):
        assert in_order(ended.told(word)) == in_order(inline.told(word))
    items = 11
    big = 3 * 100_000  # the item that is kept large: its page, and its rows in frame and changes
    assert ended.stats["mpworkers/compute/bytes/shipped"] > items * 100_000
    assert ended.stats["mpworkers/store/bytes/shipped"] < big + items * 3_000


def in_order(facts: list[Any]) -> list[str]:
    # Of one dict that a spider fills again and again, inline shows the last state each time.
    return sorted(str(fact) for fact in facts if "n" not in fact[0] or fact[0]["how"] == "keep")
