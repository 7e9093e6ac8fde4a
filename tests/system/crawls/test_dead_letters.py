"""Items that were given up are kept, and can be sent again once their pipeline is repaired."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plain import plain_first

from .harness import World, path, worlds

if TYPE_CHECKING:
    from .harness import Ended, Launcher

#: As in crawled.kept, which only a crawl can import.
SPITE = "\ud83d\n2026-01-01 00:00:00 [x] ERROR: forged\r\x1b[2J\x9b\x7f\u2028\u202eend"

HERE = World("asyncio", "forkserver")


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    return tmp_path / "dead.jsonl"


def poisoned(dead: Path | None = None, **behind: int) -> dict[str, Any]:
    """Settings of a crawl whose third item is given up, with witnesses around the hop."""
    places = {"Seen": 100, "SeenBehind": 500} | behind
    return {
        "MPWORKERS_PIPELINES": {"crawled.kept.Poison": 300},
        "ITEM_PIPELINES": {f"crawled.kept.{name}": order for name, order in places.items()},
        "MPWORKERS_DEAD_LETTERS": None if dead is None else str(dead),
    }


def letters(dead: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dead.read_text().splitlines()]


def replay(launch: Launcher, dead: Path, world: World = HERE, **settings: Any) -> Ended:
    return launch.scrapy("mpworkers", "replay", str(dead), world=world, **settings).finish()


@pytest.fixture
def repaired(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setenv("REPAIRED", "1")


# Kept


@worlds()
def test_item_that_was_given_up_is_in_the_file_with_every_field(
    launch: Launcher, world: World, dead: Path
) -> None:
    ended = launch.crawl("pages", world, **poisoned(dead)).finish()

    [letter] = letters(dead)
    assert letter["item"] == {"n": 3}
    assert letter["hop"] == ["crawled.kept.Poison"]
    assert letter["reason"] == "WorkerDied"
    assert "SIGKILL" in letter["error"]
    assert letter["error"] in letter["traceback"]
    assert (letter["deaths"], letter["attempts"]) == (3, 3)
    assert letter["worker"].startswith("worker-")
    assert letter["spider"] == "pages"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", letter["time"])
    assert ended.stats["mpworkers/items/dead_lettered"] == 1
    assert ended.numbers == [1, 2, 4, 5, 6]


@worlds(plain=False)
def test_without_a_file_the_content_is_in_the_log(launch: Launcher, world: World) -> None:
    ended = launch.crawl("pages", world, **poisoned()).finish()

    [line] = re.findall(r"ERROR: Dead letter.*", ended.log)
    assert "crawled.kept.Poison" in line
    assert "WorkerDied" in line
    assert '{"n": 3}' in line


@pytest.mark.parametrize("has_file", plain_first([False, True]))
@worlds()
def test_item_over_its_time_is_logged_once_with_where_it_was(
    launch: Launcher, world: World, dead: Path, has_file: bool
) -> None:
    settings = {"MPWORKERS_DEAD_LETTERS": str(dead) if has_file else None}
    settings |= {"MPWORKERS_PIPELINES": {path("Hangs"): 300}, "MPWORKERS_ITEM_TIMEOUT": 2}
    ended = launch.crawl("pages", world, "items=9", **settings).finish()

    told = {number: text for number, error, text in ended.told("failed") if error == "ItemTimeout"}
    assert sorted(told) == [4, 7]
    assert "in Hangs.never" in told[4] or "in never" in told[4]
    assert "crawled/pipelines.py" in told[4]
    assert "process_item" in told[7] or "no stack, because" in told[7]  # of a busy machine
    ours = re.findall(r"\[scrapy_mpworkers\S*\] (?:WARNING|ERROR): .*", ended.log)
    assert [text for text in ours if "Dead letters: 2" not in text] == []
    for number in (4, 7):
        assert len(re.findall(rf"^\d{{4}}-.*'n': {number}\D", ended.log, re.MULTILINE)) == 1
    if has_file:
        assert {one["item"]["n"]: one["error"] for one in letters(dead)} == told


@worlds(plain=False)
def test_in_a_log_file_nothing_of_an_item_is_lost_or_forges_a_line(
    launch: Launcher, world: World, tmp_path: Path
) -> None:
    levels = [
        {"name": "first", "pipelines": {"crawled.kept.Poison": 300}},
        {"name": "store", "pipelines": {"crawled.kept.Spits": 900}, "wait": False},
    ]
    settings = {
        "MPWORKERS_LEVELS": levels,
        "ITEM_PIPELINES": {"crawled.kept.Spites": 100},
        "LOG_FILE": str(tmp_path / "crawl.log"),
    }
    launch.crawl("pages", world, **settings).finish()

    log = (tmp_path / "crawl.log").read_bytes().decode()
    lines = log.split("\n")
    [letter] = [line for line in lines if "ERROR: Dead letter" in line]
    [failed] = [n for n, line in enumerate(lines) if "ERROR: Failed at the level store" in line]
    assert letter.isascii()
    assert letter.isprintable()
    assert json.loads(letter[letter.index('{"') :]) == {"n": 3, SPITE: SPITE}
    assert lines[failed].isascii()
    assert lines[failed].isprintable()
    assert '{"n": 4}' in lines[failed + 1]
    assert "Traceback" in log[log.index("ERROR: Failed at") :]


@worlds(plain=False)
def test_drops_and_exceptions_are_no_dead_letters(
    launch: Launcher, world: World, dead: Path
) -> None:
    settings = poisoned(dead) | {"MPWORKERS_PIPELINES": {"crawled.kept.DropsAndFails": 300}}
    ended = launch.crawl("pages", world, **settings).finish()

    assert ended.stats["mpworkers/items/dropped"] == 1
    assert ended.stats["mpworkers/items/failed"] == 1
    assert not dead.exists()
    assert "Dead letter" not in ended.log


@worlds(plain=False)
def test_letters_that_cannot_be_written_are_in_the_log(
    launch: Launcher, world: World, dead: Path
) -> None:
    crawl = launch.crawl("pages", world, held=True, **gated(dead))
    crawl.wait_told("busy")
    dead.mkdir()
    crawl.open_gate()
    ended = crawl.finish()

    assert "Is a directory" in ended.log
    [line] = re.findall(r"ERROR: Dead letter, .*", ended.log)
    assert '{"n": 3}' in line
    assert ended.numbers == [1, 2, 4, 5, 6]


def gated(dead: Path) -> dict[str, Any]:
    return poisoned(dead) | {"MPWORKERS_PIPELINES": {path("Gate"): 200, "crawled.kept.Poison": 300}}


# Sent again


@worlds()
def test_replay_after_the_repair_goes_on_behind_what_the_item_has_passed(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    repaired()

    ended = replay(launch, dead, world, **poisoned(dead))

    assert ended.exit_code == 0
    assert ended.numbers == [3]
    assert ended.told("seen") == []
    assert ended.told("behind") == [3]
    assert ended.told("scraped") == [3]
    assert ended.told("requested") == []
    assert ended.stats["item_scraped_count"] == 1
    assert ended.stats["mpworkers/items/done"] == 1
    assert summary(ended) == "Replayed 1 dead letters: 1 done, 0 dropped, 0 again"
    assert [file.name for file in dead.parent.glob("dead*")] == ["dead.jsonl"]


def summary(ended: Ended) -> str:
    return ended.out.splitlines()[-1]


@worlds()
def test_replay_does_not_overwrite_the_feed_of_its_crawl(
    launch: Launcher, world: World, dead: Path, tmp_path: Path, repaired: Any
) -> None:
    feed, other = tmp_path / "out.jsonl", tmp_path / "replayed.jsonl"
    feeds = {"FEEDS": {str(feed): {"format": "jsonlines", "overwrite": True}}}
    launch.crawl("pages", world, **poisoned(dead), **feeds).finish()
    repaired()
    before = feed.read_text()

    refused = replay(launch, dead, world, **poisoned(dead), **feeds)
    words = ("mpworkers", "replay", str(dead), "-o", str(other))
    ended = launch.scrapy(*words, world=world, **poisoned(dead), **feeds).finish()

    assert refused.exit_code == 2
    assert f"it would overwrite what is in {feed}" in refused.log
    assert "-o replayed.jsonl" in refused.log
    assert refused.told("scraped") == []
    assert ended.exit_code == 0
    assert f"Not written in this replay, which would overwrite what is there: {feed}" in ended.out
    assert feed.read_text() == before
    assert [json.loads(line)["n"] for line in other.read_text().splitlines()] == [3]


@worlds(plain=False)
def test_replay_of_what_still_kills_goes_to_a_new_file(
    launch: Launcher, world: World, dead: Path
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    before = dead.read_text()

    ended = replay(launch, dead, world, **poisoned(dead))

    again = dead.with_name("dead.2.jsonl")
    assert ended.exit_code == 1
    assert [letter["item"] for letter in letters(again)] == [{"n": 3}]
    assert summary(ended) == f"Replayed 1 dead letters: 0 done, 0 dropped, 1 again in {again}"
    assert dead.read_text() == before


@worlds(plain=False)
def test_item_that_fails_behind_its_hop_goes_to_the_new_file(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    settings = poisoned(dead, FailsBehind=400)
    launch.crawl("pages", world, **settings).finish()
    settings["MPWORKERS_PIPELINES"] = {"crawled.kept.Poison": None, path("Mark"): 300}
    rename_hop(dead, "crawled.kept.Poison", path("Mark"))

    ended = replay(launch, dead, world, **settings)
    [letter] = letters(dead.with_name("dead.2.jsonl"))
    repaired()
    last = replay(launch, dead.with_name("dead.2.jsonl"), world, **settings)

    assert ended.exit_code == 1
    assert letter["reason"] == "ValueError"
    assert "no luck behind the workers" in letter["traceback"]
    assert last.exit_code == 0
    assert last.numbers == [3]


def rename_hop(dead: Path, old: str, new: str) -> None:
    dead.write_text(dead.read_text().replace(old, new))


@worlds(plain=False)
def test_replayed_item_may_be_dropped(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    settings = poisoned(dead)
    launch.crawl("pages", world, **settings).finish()
    repaired()

    ended = replay(launch, dead, world, **poisoned(dead, DropsBehind=400))

    assert ended.exit_code == 0
    assert ended.numbers == []
    assert summary(ended) == "Replayed 1 dead letters: 0 done, 1 dropped, 0 again"


@worlds(plain=False)
def test_letter_of_a_second_hop_goes_on_there(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    pipelines = {path("Mark"): 200, "crawled.kept.Poison": 300}
    settings = poisoned(dead, Seen=250) | {"MPWORKERS_PIPELINES": pipelines}
    launch.crawl("pages", world, **settings).finish()
    repaired()

    ended = replay(launch, dead, world, **settings)

    assert letters(dead)[0]["hop"] == ["crawled.kept.Poison"]
    assert ended.told("seen") == []
    assert ended.numbers == [3]
    assert ended.stats["mpworkers/items/submitted"] == 1


@worlds(plain=False)
def test_replayed_item_goes_on_through_every_hop_of_a_later_route(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    pipelines = {"crawled.kept.Poison": 300, "crawled.kept.MarkBehind": 500}
    first, second = ({"name": name, "pipelines": {}} for name in ("first", "second"))
    first["pipelines"] = pipelines
    second["pipelines"] = {path("Tells"): 600}
    settings = poisoned(dead, SeenBehind=400) | {
        "MPWORKERS_PIPELINES": None,
        "MPWORKERS_LEVELS": [first, second],
    }
    launch.crawl("pages", world, **settings).finish()
    repaired()

    ended = replay(launch, dead, world, **settings)

    assert ended.exit_code == 0
    assert ended.told("behind") == [3]
    assert ended.told("marked") == [3]
    assert ended.told("processed") == [3]
    assert ended.stats["mpworkers/first/items/done"] == 2
    assert ended.stats["mpworkers/second/items/done"] == 1


@worlds(plain=False)
def test_letter_of_a_pipeline_that_is_no_longer_listed_is_kept(
    launch: Launcher, world: World, dead: Path
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    settings = poisoned(dead) | {"MPWORKERS_PIPELINES": {path("Mark"): 300}}

    ended = replay(launch, dead, world, **settings)

    [letter] = letters(dead.with_name("dead.2.jsonl"))
    assert letter["reason"] == "HopGoneError"
    assert "crawled.kept.Poison" in letter["error"]
    assert letter["item"] == {"n": 3}
    assert ended.exit_code == 1


@worlds(plain=False)
def test_letters_are_kept_where_nothing_is_offloaded_any_more(
    launch: Launcher, world: World, dead: Path
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()

    ended = replay(launch, dead, world)

    [letter] = letters(dead.with_name("dead.2.jsonl"))
    assert "MPWORKERS_PIPELINES" in letter["error"]
    assert ended.exit_code == 1
    assert ended.told("requested") == []


@worlds(plain=False)
def test_letters_are_kept_when_the_replay_cannot_start(
    launch: Launcher, world: World, dead: Path
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    settings = poisoned(dead) | {"MPWORKERS_PIPELINES": {path("RaisesInOpen"): 300}}

    ended = replay(launch, dead, world, **settings)

    [letter] = letters(dead.with_name("dead.2.jsonl"))
    assert letter["reason"] == "NotReplayedError"
    assert ended.exit_code == 1


@worlds(plain=False)
def test_letters_of_two_spiders_get_a_crawl_each(
    launch: Launcher, world: World, dead: Path, tmp_path: Path, repaired: Any
) -> None:
    for spider in ("pages", "start"):
        launch.crawl(spider, world, **poisoned(dead)).finish()
    repaired()

    ended = replay(launch, dead, world, **poisoned(dead))

    assert [letter["spider"] for letter in letters(dead)] == ["pages", "start"]
    assert ended.numbers == [3, 3]
    assert ended.log.count("Spider opened") == 2
    assert summary(ended) == "Replayed 2 dead letters: 2 done, 0 dropped, 0 again"


@worlds(plain=False)
def test_replay_takes_settings_arguments_and_feeds_as_crawl_does(
    launch: Launcher, world: World, dead: Path, tmp_path: Path, repaired: Any
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    repaired()
    feed = tmp_path / "again.jl"
    options = ["-s", "BOT_NAME=other", "-a", "slow_handler=0.01", "-O", str(feed)]

    ended = launch.scrapy(
        *("mpworkers", "replay", str(dead), *options), world=world, **poisoned(dead)
    ).finish()

    assert "'BOT_NAME': 'other'" in ended.log
    assert [json.loads(line)["n"] for line in feed.read_text().splitlines()] == [3]


@worlds(plain=False)
def test_replay_leaves_the_requests_of_a_paused_crawl_alone(
    launch: Launcher, world: World, dead: Path, tmp_path: Path, repaired: Any
) -> None:
    settings = poisoned(dead) | {"JOBDIR": str(tmp_path / "job"), "MPWORKERS_JOURNAL": True}
    launch.crawl("pages", world, **settings).finish()
    files = sorted((tmp_path / "job").rglob("*"))
    repaired()

    ended = replay(launch, dead, world, **settings)

    assert ended.numbers == [3]
    assert sorted((tmp_path / "job").rglob("*")) == files


@worlds(plain=False)
def test_half_a_line_does_not_stop_a_replay(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    with dead.open("a") as half:
        half.write('{"item": {"n": 2}, "fra')
    repaired()

    ended = replay(launch, dead, world, **poisoned(dead))

    assert re.findall(r"WARNING: Line 2 of .*dead.jsonl is no dead letter", ended.log)
    assert summary(ended).endswith(f"; 1 line of {dead} is no letter and was skipped")
    assert ended.numbers == [3]
    assert ended.exit_code == 0


@worlds(plain=False)
def test_item_class_of_a_script_is_read_in_a_project(
    launch: Launcher, world: World, dead: Path
) -> None:
    settings = {"MPWORKERS_DEAD_LETTERS": str(dead), "MPWORKERS_REDELIVER_TIMES": 0}
    launch.script("dying.py", world=world, **settings).finish()

    rename_hop(dead, "__main__.Dies", path("Mark"))
    ended = replay(launch, dead, world, MPWORKERS_PIPELINES={path("Mark"): 300})

    assert letters(dead)[0]["item"] == {"n": 1}
    assert ended.numbers == [1]
    assert ended.exit_code == 0


@worlds(plain=False)
def test_letters_that_come_while_a_replay_runs_are_said_not_to_be_among_its_own(
    launch: Launcher, world: World, dead: Path, repaired: Any
) -> None:
    launch.crawl("pages", world, **poisoned(dead)).finish()
    repaired()
    words = ("mpworkers", "replay", str(dead))
    crawl = launch.scrapy(*words, world=world, held=True, **gated_behind(dead))
    crawl.wait_told("busy")
    dead.write_text(2 * dead.read_text())
    crawl.open_gate()
    ended = crawl.finish()

    assert ended.numbers == [3]
    assert summary(ended).endswith(f"; others have come to {dead} meanwhile, so keep it")


def gated_behind(dead: Path) -> dict[str, Any]:
    return poisoned(dead) | {"MPWORKERS_PIPELINES": {"crawled.kept.Poison": 200, path("Gate"): 300}}


# Refused


REFUSALS = {
    "missing": (None, "No such file or directory"),
    "empty": ("", "there are no dead letters in"),
    "broken": ("{}\n", "there are no dead letters in"),
}


@pytest.mark.parametrize("case", plain_first(REFUSALS))
def test_file_without_letters_is_refused(launch: Launcher, dead: Path, case: str) -> None:
    text, reason = REFUSALS[case]
    if text is not None:
        dead.write_text(text)

    ended = replay(launch, dead, **poisoned())

    assert_refused(ended, reason)
    assert "dead.jsonl" in refusal(ended)


def assert_refused(ended: Ended, reason: str) -> None:
    assert ended.exit_code == 2
    assert reason in refusal(ended)
    assert "Traceback" not in ended.log
    assert "Spider opened" not in ended.log


def refusal(ended: Ended) -> str:
    [sentence] = re.findall(r"^scrapy mpworkers replay: .*", ended.log, re.MULTILINE)
    return str(sentence)


@pytest.fixture
def written(launch: Launcher, dead: Path) -> Path:
    launch.crawl("pages", HERE, **poisoned(dead)).finish()
    return dead


@pytest.mark.full
def test_replay_refuses_a_file_of_another_user(launch: Launcher, written: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(written, 12345, -1)

    assert_refused(replay(launch, written, **poisoned()), "belongs to another user")


@pytest.mark.full
def test_replay_refuses_a_file_that_others_can_write(launch: Launcher, written: Path) -> None:
    written.chmod(0o622)

    assert_refused(replay(launch, written, **poisoned()), "can be written by other users")


@pytest.mark.full
def test_replay_refuses_a_spider_that_the_project_does_not_have(
    launch: Launcher, written: Path
) -> None:
    written.write_text(written.read_text().replace('"pages"', '"elsewhere"'))

    ended = replay(launch, written, **poisoned())

    assert_refused(ended, "'elsewhere', which this project does not have")
    assert "pages" in refusal(ended)


@pytest.mark.full
def test_replay_outside_of_a_project_is_refused(
    launch: Launcher, written: Path, tmp_path: Path
) -> None:
    command = ("mpworkers", "replay", str(written))
    ended = launch.scrapy(*command, cwd=tmp_path, world=HERE).finish()

    assert_refused(ended, "inside the Scrapy project")


OTHER_WORDS = [("replay",), ("reply", "file"), ("replay", "a", "b")]


@pytest.mark.parametrize(
    "words", [(), *(pytest.param(words, marks=pytest.mark.full) for words in OTHER_WORDS)]
)
def test_other_words_get_the_usage(launch: Launcher, words: tuple[str, ...]) -> None:
    ended = launch.scrapy("mpworkers", *words, world=HERE).finish()

    assert ended.exit_code == 2
    assert "replay FILE" in ended.out + ended.log


UNUSABLE = {
    "foreign": "belongs to another user",
    "writable": "can be written by other users",
    "directory": "Is a directory",
    "below a file": "Not a directory|File exists",
}


@pytest.mark.parametrize("case", plain_first(UNUSABLE))
def test_file_that_cannot_be_used_stops_the_crawl_at_its_start(
    launch: Launcher, dead: Path, case: str
) -> None:
    make_unusable(dead, case)
    place = dead / "dead.jsonl" if case == "below a file" else dead

    ended = launch.crawl("pages", HERE, **poisoned(place)).finish()

    assert ended.exit_code == 1
    [sentence] = re.findall(r"The crawl cannot start: .*", ended.log)
    assert str(place) in sentence
    assert re.search(UNUSABLE[case], sentence)
    assert not ended.told("requested")


def make_unusable(dead: Path, case: str) -> None:
    if case == "directory":
        dead.mkdir()
        return
    dead.touch(0o666 if case == "writable" else 0o600)
    if case == "writable":
        dead.chmod(0o666)
    if case == "foreign":
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(dead, 12345, -1)
