"""Where picklers write to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Sink(NamedTuple):
    """A file for a pickler, cheaper than a BytesIO.

    A small object comes in one piece. A ``bytes`` object of 64 KiB or more comes as a piece of its
    own, uncopied (``FRAME_SIZE_TARGET`` in CPython's _pickle.c); so does a bytearray, which must be
    joined before anybody else can change it.
    """

    write: Callable[[bytes], None]
