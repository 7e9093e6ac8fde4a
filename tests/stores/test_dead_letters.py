"""The file of dead letters: its format, what a crash leaves in it, and whose it must be."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest
from scrapy import Item

from scrapy_mpworkers.commands.replay import next_free
from scrapy_mpworkers.errors import NotPrivateError, PoolBroken, UnreadableError
from scrapy_mpworkers.stores import private_files
from scrapy_mpworkers.stores.dead_letters import (
    DeadLetter,
    DeadLetterFile,
    StoredLetters,
    history,
    readable,
    shown,
)
from scrapy_mpworkers.wire.codec import ParentCodec
from scrapy_mpworkers.wire.frames import StoredFrame


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
    return [letter.item["n"] for letter in stored(file)]


def stored(file: DeadLetterFile) -> list[DeadLetter]:
    with contextlib.closing(StoredLetters(file.path)) as letters:
        return [letter for spider in letters.spiders for letter in letters.of(spider)]


def test_a_letter_comes_back_as_it_was_written(file: DeadLetterFile) -> None:
    written = letter(text="ein Löffel\n", price=1.5, tags=["a", None])

    file.add(written)

    assert stored(file) == [written]


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


def changed(**fields: Any) -> str:
    told = json.loads(letter().to_json()) | fields
    return json.dumps({name: value for name, value in told.items() if value is not ...})


NO_LETTERS = {
    **{line: line for line in ["[]", "7", "\udcff", '{"item": 1}', "{}", "null", '"text"']},
    "deep": "[" * 100_000,
    "deep item": changed(item="here").replace('"here"', '{"a":' * 50_000),
    "zeros": "\0" * 4096,
    "zeros in front": "\0" * 512 + changed(),
    "cut": changed()[:-7],
    "two": changed() * 2,
    "spider is a list": changed(spider=[]),
    "spider is null": changed(spider=None),
    "hop is a text": changed(hop="a.B"),
    "hop of numbers": changed(hop=[1]),
    "frame is a number": changed(frame=1),
    "frame is no base64": changed(frame="ä"),
    "results of lists": changed(results=[[]]),
    "definitions is a list": changed(definitions=[]),
    "definition is null": changed(definitions={"7": None}),
    "definition without a number": changed(definitions={"x": ""}),
    "deaths is a text": changed(deaths="3"),
    "worker is a list": changed(worker=["w"]),
    "time is missing": changed(time=...),
    "more": changed(color="red"),
    "huge": changed().replace('"deaths": 3', f'"deaths": {"9" * 5000}'),
}


@pytest.mark.parametrize("line", NO_LETTERS.values(), ids=NO_LETTERS)
def test_a_line_that_is_no_letter_is_skipped(
    file: DeadLetterFile, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.add(letter(1))
    with file.path.open("ab") as other:
        other.write(line.encode(errors="surrogateescape") + b"\n")
    file.add(letter(2))

    assert numbers(file) == [1, 2]
    [warning] = caplog.messages
    assert warning.startswith(f"Line 2 of {file.path} is no dead letter and is skipped: ")


ODD_LETTERS = {
    "windows": "\ufeff{line}\r",
    "spaces": "  {line}\t",
    "twice": '{{"deaths": "x", {inner}',
    "not a number": '{line}|3, "price": NaN',
    "too large": '{line}|3, "price": 1e999',
    "digits": '{line}|3, "price": ' + "9" * 4000,
}


@pytest.mark.parametrize("form", ODD_LETTERS.values(), ids=ODD_LETTERS)
def test_letter_that_was_edited_by_hand_can_be_kept_again(file: DeadLetterFile, form: str) -> None:
    form, _, more = form.partition("|")
    line = changed(item={"n": 0}).replace('"n": 0', f'"n": {more or 3}')
    file.path.write_text(form.format(line=line, inner=line[1:]) + "\n", "utf-8")
    file.path.chmod(0o600)

    [read] = stored(file)
    file.add(read)

    assert [int(number) for number in numbers(file)] == [3, 3]


def test_no_line_of_garbage_is_more_than_a_skipped_line(file: DeadLetterFile) -> None:
    chance, good = random.Random(1), changed().encode()
    for _ in range(400):
        line = bytearray(good)
        for _ in range(chance.choice([1, 2, 8])):
            begin = chance.randrange(len(line))
            new = bytes(chance.choices(b'[]{}":,0\\\0\xff', k=chance.randrange(3)))
            line[begin : begin + chance.randrange(40)] = new
        with file.path.open("ab") as out:
            out.write(line + b"\n")
    file.path.chmod(0o600)
    file.add(letter(5))

    with contextlib.closing(StoredLetters(file.path)) as letters:
        read = [one for spider in letters.spiders for one in letters.of(spider)]

    assert letters.skipped > 200
    assert letters.skipped + len(read) == 401
    for one in read:
        one.to_json()


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


CHECKER = """
import sys
from pathlib import Path
from tests_unit_letters import DeadLetterFile
files = [DeadLetterFile(path) for path in map(Path, sys.argv[1:])]
print("ready", flush=True)
while True:
    for file in files:
        file.check()
"""


def test_first_letter_outlives_the_checks_of_crawls_that_begin(tmp_path: Path) -> None:
    script = CHECKER.replace("tests_unit_letters", Path(__file__).stem)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", script, str(tmp_path / "next.jsonl")]
    checkers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        assert all(checker.stdout and checker.stdout.readline() for checker in checkers)
        lost = 0
        for _ in range(50):
            file = DeadLetterFile(tmp_path / "next.jsonl")
            file.add(letter(1))
            file.add(letter(2))
            lost += not file.path.exists() or numbers(file) != [1, 2]
            file.path.unlink(missing_ok=True)
    finally:
        for checker in checkers:
            checker.kill()
            checker.communicate()

    assert lost == 0
    assert all(checker.returncode == -signal.SIGKILL for checker in checkers)


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(file: DeadLetterFile) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the file for itself until its input ends."""
    file.add(letter(1))
    command = [sys.executable, "-c", HOLDER, str(file.path)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_nobody_waits_a_second_time_for_whoever_keeps_the_file(
    file: DeadLetterFile, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(private_files, "_PATIENCE", 0.05)
    with pytest.raises(OSError, match="locked by another process"):
        file.add(letter(2))
    monkeypatch.setattr(private_files.time, "sleep", looks.append)

    with pytest.raises(OSError, match="locked by another process"):
        file.add(letter(3))
    assert len(looks) <= 1

    holder.communicate(b"", timeout=10)
    file.add(letter(4))
    assert numbers(file) == [1, 4]


def test_a_child_that_was_forked_in_the_middle_of_a_letter_can_add_its_own(
    file: DeadLetterFile,
) -> None:
    with private_files.opened_alone(file.path):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                signal.alarm(10)  # a child that waits for ever is ended
                assert private_files._among_threads.acquire(blocking=False)
                os._exit(0)
            os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_keeps_the_file_for_himself_holds_nobody_up_for_long(
    file: DeadLetterFile, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "_PATIENCE", 0.05)

    for use in (file.check, lambda: file.add(letter(2)), lambda: numbers(file)):
        with pytest.raises(OSError, match=r"dead.jsonl is locked by another process"):
            use()

    holder.communicate()
    file.add(letter(3))
    assert numbers(file) == [1, 3]


def test_file_that_is_renamed_before_it_is_locked_is_made_anew(
    file: DeadLetterFile, holder: subprocess.Popen[bytes]
) -> None:
    writer = threading.Thread(target=lambda: file.add(letter(2)))
    writer.start()  # it has opened the file, and waits for the lock
    while str(file.path) not in open_files():
        time.sleep(0.001)
    file.path.rename(file.path.with_name("rotated"))
    holder.communicate()
    writer.join()

    assert numbers(file) == [2]
    assert numbers(DeadLetterFile(file.path.with_name("rotated"))) == [1]


def open_files() -> list[str]:
    return [one.path for one in psutil.Process().open_files()]


def test_without_locks_letters_are_written_and_no_file_is_removed(
    file: DeadLetterFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(private_files.fcntl, "lockf", refuse)

    file.check()
    assert file.path.exists()
    file.add(letter(1))
    assert numbers(file) == [1]


def test_reading_ends_where_the_file_ended_when_it_began(file: DeadLetterFile) -> None:
    file.add(letter(1))
    with contextlib.closing(StoredLetters(file.path)) as letters:
        assert not letters.has_grown
        file.add(letter(2))
        file.path.replace(file.path.with_name("rotated"))
        file.add(letter(3))

        assert [one.item["n"] for one in letters.of("pages")] == [1]
        assert letters.has_grown


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


SPITEFUL = {
    "half a pair": "\ud83d",
    "controls": "\x00\x07\x1b[2J\x7f\x85\x9b",
    "ends of lines": "one\r\ntwo\u2028three\u2029",
    "directions": "\u202eabc\u2066\u200f",
    "letters": "Löffel \u5319 \U0001f944",
}


@pytest.mark.parametrize("text", SPITEFUL.values(), ids=SPITEFUL)
def test_what_is_logged_of_an_item_is_one_line_of_printable_ascii(
    text: str, tmp_path: Path
) -> None:
    class Odd:
        def __repr__(self) -> str:
            return text

    item = {
        "text": text,
        text: 1,
        "odd": Odd(),
        "deep": [{text: [text]}],
        "raw": text.encode("utf-16", "surrogatepass"),
    }
    line = shown(readable(item))

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["text"] == text
    assert json.loads(line)["odd"] == text


class Exits:
    def __repr__(self) -> str:
        raise SystemExit(3)


class ExitsAtALook:
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise KeyboardInterrupt


@pytest.mark.parametrize("cls", [Exits, ExitsAtALook])
def test_item_whose_parts_end_the_process_when_they_are_looked_at_is_kept(cls: Any) -> None:
    read = readable({"n": 1, "part": cls(), ("a", 1): Book(title=b"bytes", by=float("nan"))})

    assert read["part"].endswith("while showing it>")
    assert "bytes" in str(read["('a', 1)"])
    json.dumps(read, allow_nan=False)


def test_error_that_cannot_be_told_is_told_so() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

    assert history(Mute())["error"] == "<its __str__ raised SystemExit>"


def test_a_long_item_is_shortened_in_the_log() -> None:
    text = shown({"html": "x" * 100_000})

    assert len(text) < 2100
    assert text.endswith("... (100012 characters)")


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
