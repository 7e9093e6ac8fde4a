"""Turns messages and their frames into bytes and back, with as few copies as can be.

To copy 10 MB costs more than to pickle them. A message stands behind its size, as
``Connection.send_bytes`` writes it (CPython's multiprocessing/connection.py): a signed 4-byte
length, or -1 and an unsigned 8-byte length.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from scrapy_mpworkers.wire.arena import Arena
from scrapy_mpworkers.wire.messages import (
    Batch,
    Closed,
    Command,
    Large,
    Opened,
    OpenFailed,
    Outcomes,
    Report,
    Stacks,
    TaskRow,
)

#: The bytes that every report begins with: a pickle of protocol 5.
REPORT_PREFIX = b"\x80\x05"

_frame_of = itemgetter(2)  # of a row of a Batch
_SIZE, _MARKED_SIZE = struct.Struct("!i"), struct.Struct("!iQ")
#: Pieces in one write, at most: IOV_MAX of Linux and macOS.
_PIECES = 1024


class StoredFrame(NamedTuple):
    """A frame that outlives its process, with the definitions that it refers to, by number.

    ``results``: what earlier hops have made of the item, as they packed it.
    """

    data: bytes
    definitions: Mapping[int, bytes]
    results: tuple[bytes, ...] = ()


class Pieces(list[bytes]):
    """Pieces of a pickle; the list takes the place of a pickler's file, cheaper than a BytesIO.

    A small object comes in one piece. A ``bytes`` object of 64 KiB or more comes as a piece of its
    own, uncopied (``FRAME_SIZE_TARGET`` in CPython's _pickle.c); so does what can still be changed,
    a bytearray or the buffer of an array, of which a copy must be made at once.
    """

    __slots__ = ()

    write = list.append


class NotAReportError(Exception):
    """Something that is no report has come out of a pipe for reports."""


def size_prefix(size: int) -> bytes:
    """Return what is written in front of a message of *size* bytes."""
    return _SIZE.pack(size) if size < 1 << 31 else _MARKED_SIZE.pack(-1, size)


def parse_prefix(data: bytes | bytearray) -> tuple[int, int] | None:
    """Return the length of the prefix that *data* begins with, and the size of the message.

    ``None``: the prefix is not complete. It has 4 bytes, or 12.
    """
    if len(data) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack_from(data)
    if size != -1:
        return _SIZE.size, size
    if len(data) < _MARKED_SIZE.size:
        return None
    return _MARKED_SIZE.size, _MARKED_SIZE.unpack_from(data)[1]


def write_pieces(fd: int, pieces: Sequence[bytes]) -> None:
    """Write a message into a pipe, all of it in one call if there is room.

    ``Connection.send_bytes`` writes the size of a message of more than 16 KiB by itself, which
    wakes the reader once more (CPython 3.10 to 3.14).

    Raises:
        OSError: the pipe is closed, on this side or on the other.
    """
    rest: Sequence[bytes | memoryview] = pieces
    while rest:
        rest = _behind(rest, os.writev(fd, rest[:_PIECES]))


def _behind(pieces: Sequence[bytes | memoryview], written: int) -> Sequence[bytes | memoryview]:
    """Return what is left of *pieces* of which so many bytes are written."""
    if written == sum(map(len, pieces)):
        return ()  # nearly always
    first = 0
    while written >= len(pieces[first]):
        written -= len(pieces[first])
        first += 1
    return [memoryview(pieces[first])[written:], *pieces[first + 1 :]]


# Batches and Outcomes, the commonest of each direction, travel as plain tuples.


def encode_command(command: Command, arena: Arena | None = None) -> list[bytes]:
    """Return the bytes of *command* as one message.

    Its large frames go into the *arena*, if there is room; else they are among these bytes, and no
    copies.
    """
    found = Pieces()
    pickler = pickle.Pickler(found, protocol=5)
    if not isinstance(command, Batch):
        pickler.dump(command)
        return found
    rows, offset = command.rows, None
    behind: list[bytes] = []
    if Large in map(type, map(_frame_of, rows)):
        large = [frame for frame in map(_frame_of, rows) if type(frame) is Large]
        behind = [piece for frame in large for piece in frame.pieces]
        if arena is not None:
            offset = arena.put(behind, sum(map(len, large)))
        rows = tuple(
            (id, hop, len(frame) if type(frame) is Large else frame, results, attributes)
            for id, hop, frame, results, attributes in rows
        )
    pickler.dump((command.crawl, command.definitions, rows, command.batched, offset))
    return found + behind if offset is None else found


def decode_command(data: bytes | memoryview, arena: Arena | None = None) -> Command:
    """Return the command in one message. Large frames are views of the *arena* or of *data*."""
    command = pickle.loads(data)
    if type(command) is not tuple:
        return command  # type: ignore[no-any-return]
    crawl, definitions, rows, batched, offset = command
    if offset is not None:
        assert arena is not None
        rows = _with_frames(rows, arena.frames(offset))
    elif sizes := [row[2] for row in rows if type(row[2]) is int]:
        rows = _with_frames(rows, memoryview(data)[len(data) - sum(sizes) :])
    return Batch(crawl, definitions, rows, batched)


def _with_frames(rows: Iterable[TaskRow], frames: memoryview) -> tuple[TaskRow, ...]:
    """Give *rows* their large frames, which are one behind the other."""
    whole: list[TaskRow] = []
    for id, hop, frame, results, attributes in rows:
        if isinstance(frame, int):
            size = frame
            frame, frames = frames[:size], frames[size:]
        whole.append((id, hop, frame, results, attributes))
    return tuple(whole)


def encode_report(report: Report) -> bytes:
    """Return the bytes of a report as one message."""
    return pickle.dumps(tuple(report) if isinstance(report, Outcomes) else report, protocol=5)


def decode_report(data: bytes) -> Report:
    """Return the report in one message.

    Raises:
        NotAReportError: these bytes are no report. A pipeline may have written them into a
            descriptor that it took for its own.
    """
    try:
        report = pickle.loads(data)
        if type(report) is tuple:
            return Outcomes(*report)
    except Exception as error:
        raise NotAReportError(f"{type(error).__name__}: {error}") from error
    if isinstance(report, (Opened, OpenFailed, Closed, Stacks)):
        return report
    raise NotAReportError(type(report).__name__)
