"""Frames, of which those of 10 MB are copied as rarely as can be.

Each copy costs more than pickling them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

#: Bytes from which a frame is large: what a pickler does not gather but passes on
#: (``FRAME_SIZE_TARGET`` in CPython's _pickle.c).
LARGE = 1 << 16


class Large:
    """A large frame, in the pieces in which it was pickled.

    ``len`` is its size, ``bytes`` joins it.
    """

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


#: A frame: in Scrapy's process as it was pickled, in a worker perhaps a view of a message.
FrameData: TypeAlias = bytes | memoryview | Large


class StoredFrame(NamedTuple):
    """A frame that outlives its process, with the definitions that it refers to, by number.

    ``results``: what earlier hops have made of the item, as they packed it.
    """

    data: bytes
    definitions: Mapping[int, bytes]
    results: tuple[bytes, ...] = ()


class Sink:
    """A sink is the file that a pickler writes its pieces to, cheaper than a BytesIO.

    A small object comes in one piece. A ``bytes`` object of 64 KiB or more comes as a piece of its
    own, uncopied (``FRAME_SIZE_TARGET`` in CPython's _pickle.c); so does what can still be changed,
    a bytearray or the buffer of an array, of which a copy must be made at once.
    """

    __slots__ = ("write",)

    def __init__(self, pieces: list[bytes]) -> None:
        self.write = pieces.append
