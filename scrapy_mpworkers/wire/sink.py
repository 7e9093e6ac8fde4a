"""Where picklers write to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Sink(NamedTuple):
    """A file for a pickler, cheaper than a BytesIO.

    A small object comes in one piece. A ``bytes`` object of 64 KiB or more comes as a piece of its
    own, uncopied (``FRAME_SIZE_TARGET`` in CPython's _pickle.c); so does what can still be changed,
    a bytearray or the buffer of an array, of which a copy must be made at once.
    """

    write: Callable[[bytes], None]
