"""Frames of 10 MB are copied as rarely as can be: each copy costs more than pickling them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

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
