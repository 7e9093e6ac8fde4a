"""The file of dead letters: its format, what a crash leaves in it, and whose it must be."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from scrapy import Item

from scrapy_mpworkers.dead_letters import (
    DeadLetter,
    DeadLetterFile,
    history,
    read_letters,
    readable,
    shown,
)
from scrapy_mpworkers.errors import NotPrivateError, PoolBroken, UnreadableError
from scrapy_mpworkers.replay import next_free
from scrapy_mpworkers.wire.codec import ParentCodec, StoredFrame


def letter(number: int = 1, **fields: Any) -> DeadLetter:
    return DeadLetter(
        item={"n": number, **fields},
        frame=StoredFrame(b"\x80frame\n", {7: b"\xffdefinition"}),
        hop=("a.B", "a.C"),
        deaths=3,
        attempts=4,
        worker="worker-1",
        spider="pages",
        **history(PoolBroken("no luck")),
    )


@pytest.fixture
def file(tmp_path: Path) -> DeadLetterFile:
    return DeadLetterFile(tmp_path / "dead.jsonl")


def numbers(file: DeadLetterFile) -> list[int]:
    return [letter.item["n"] for letter in read_letters(file.path)]


def test_a_letter_comes_back_as_it_was_written(file: DeadLetterFile) -> None:
    written = letter(text="ein Löffel\n", price=1.5, tags=["a", None])

    file.add(written)

    assert list(read_letters(file.path)) == [written]


def test_a_line_is_json_with_every_field(file: DeadLetterFile) -> None:
    file.add(letter())

    [line] = file.path.read_text().splitlines()
    told = json.loads(line)
    assert list(told)[0] == "item"
    assert set(told) == {
        *("item", "frame", "definitions", "results", "hop", "reason", "error", "traceback"),
        *("deaths", "attempts", "worker", "spider", "time"),
    }
    assert (told["reason"], told["error"]) == ("PoolBroken", "no luck")
    assert "PoolBroken: no luck" in told["traceback"]
    age = datetime.now(timezone.utc) - datetime.fromisoformat(told["time"])
    assert 0 <= age.total_seconds() < 60


def test_only_the_owner_may_read_the_file(file: DeadLetterFile) -> None:
    before = os.umask(0)
    try:
        file.add(letter())
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_half_line_stays_a_line_of_its_own(
    file: DeadLetterFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.add(letter(1))
    with file.path.open("a") as half:
        half.write('{"item": {"n": 2}, "fra')

    file.add(letter(3))
    file.add(letter(4))

    assert numbers(file) == [1, 3, 4]
    assert "Line 2 of" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("line", ["[]", "7", "\udcff", '{"item": 1}', "{}", "null", '"text"'])
def test_a_line_that_is_no_letter_is_skipped(
    file: DeadLetterFile, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.add(letter(1))
    with file.path.open("ab") as other:
        other.write(line.encode(errors="surrogateescape") + b"\n")
    file.add(letter(2))

    assert numbers(file) == [1, 2]
    assert "Line 2 of" in caplog.text


WRITER = """
import sys
from pathlib import Path
from tests_unit_letters import DeadLetterFile, letter
for number in range(200):
    DeadLetterFile(Path(sys.argv[1])).add(letter(number, text=sys.argv[2] * 20_000))
"""


def test_letters_of_two_writers_never_mix(file: DeadLetterFile) -> None:
    script = WRITER.replace("tests_unit_letters", Path(__file__).stem)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(file.path), text], env=environment)
        for text in "ab"
    ]

    assert [writer.wait(60) for writer in writers] == [0, 0]

    assert sorted(numbers(file)) == sorted([*range(200)] * 2)


def test_a_full_disk_is_an_error(file: DeadLetterFile) -> None:
    # A limit on the size of files acts like a disk with room for half a letter.
    script = f"""
import resource, signal, sys
from pathlib import Path
from {Path(__file__).stem} import DeadLetterFile, letter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
file = DeadLetterFile(Path(sys.argv[1]))
file.add(letter(1))
try:
    file.add(letter(2, text="x" * 10_000))
except OSError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", script, str(file.path)]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert "no space left" in out.stdout
    file.add(letter(3))
    assert numbers(file) == [1, 3]


# Whose it must be


def test_a_file_of_another_user_is_refused(file: DeadLetterFile) -> None:
    file.add(letter())
    give_away(file.path)

    for use in (file.check, lambda: file.add(letter()), lambda: numbers(file)):
        with pytest.raises(NotPrivateError, match="belongs to another user"):
            use()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(file: DeadLetterFile, mode: int) -> None:
    file.add(letter())
    file.path.chmod(mode)

    for use in (file.check, lambda: file.add(letter()), lambda: numbers(file)):
        with pytest.raises(NotPrivateError, match="can be written by other users"):
            use()


def test_a_file_that_others_can_only_read_is_used(file: DeadLetterFile) -> None:
    file.add(letter(1))
    file.path.chmod(0o644)

    file.add(letter(2))

    assert numbers(file) == [1, 2]


def test_a_pipe_or_a_link_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "target").touch(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(NotPrivateError, match="not a regular file"):
        DeadLetterFile(tmp_path / "pipe").check()
    with pytest.raises(OSError, match="link"):
        DeadLetterFile(tmp_path / "link").check()


def test_a_check_leaves_no_empty_file(file: DeadLetterFile) -> None:
    file.check()

    assert not file.path.exists()


def give_away(path: Path) -> None:
    try:
        os.chown(path, 12345, -1)
    except PermissionError:
        pytest.skip("only root can give a file away")


# What is readable


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


class Book(Item):
    fields = {"title": {}, "by": {}}  # noqa: RUF012


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"n": 1, "text": "ein Löffel"}, {"n": 1, "text": "ein Löffel"}),
        ({"body": b"ab"}, {"body": "b'ab'"}),
        ({"book": Book(title="T")}, {"book": {"title": "T"}}),
        ({("a", 1): 2}, {"('a', 1)": "2"}),
        ({"price": float("nan")}, {"price": "nan"}),
        ({"loop": LOOP}, {"loop": "[[...]]"}),
        ({"part": Broken()}, {"part": "<a Broken; RuntimeError while showing it>"}),
        ("no item", "no item"),
    ],
)
def test_whatever_an_item_holds_can_be_read(fields: Any, read: Any) -> None:
    assert readable(fields) == read
    json.dumps(readable(fields), allow_nan=False)


def test_a_long_item_is_shortened_in_the_log() -> None:
    text = shown({"html": "x" * 100_000})

    assert len(text) < 2100
    assert text.endswith("… (100012 characters)")


# Frames of another process


def test_a_definition_is_read_again_as_the_same_class_each_time() -> None:
    class Local:
        pass

    first, second = ParentCodec({}), ParentCodec({})
    stored = [first.stored(first.dump({"one": Local()})) for _ in range(2)]

    one, other = [second.open(frame)["one"] for frame in stored]

    assert type(one) is type(other)
    assert type(one).__name__ == "Local"


def test_spider_of_a_frame_is_the_one_of_the_new_crawl() -> None:
    old, new = object(), object()
    codec = ParentCodec({"spider": old})

    frame = codec.stored(codec.dump([old]))

    assert ParentCodec({"spider": new}).open(frame) == [new]


def test_frame_whose_class_has_gone_says_so() -> None:
    frame = StoredFrame(pickle.dumps(Book).replace(b"Book", b"Bock"), {})

    with pytest.raises(UnreadableError, match="Bock"):
        ParentCodec({}).open(frame)


def test_new_files_are_counted(tmp_path: Path) -> None:
    assert next_free(tmp_path / "dead.jsonl").name == "dead.2.jsonl"
    assert next_free(tmp_path / "dead.2.jsonl").name == "dead.3.jsonl"
    assert next_free(tmp_path / "dead").name == "dead.2"
    (tmp_path / "dead.2.jsonl").touch()
    assert next_free(tmp_path / "dead.jsonl").name == "dead.3.jsonl"
