"""Shared memory keeps finished outcomes until they are sent, so that they outlive their worker.

The outcomes of a batch travel together. Those that wait for the rest of it would die with their
worker, and their tasks would run a second time. So each is also written here, which takes no system
call, and the parent reads what is here when the worker is dead.
"""

from __future__ import annotations

import marshal
import pickle
import struct
from zlib import crc32

from scrapy_mpworkers.wire.messages import LARGE, Outcome, Outcomes
from scrapy_mpworkers.wire.shared_memory import SharedMemory, make_shared

#: Bytes of the outcomes of one batch; those that do not fit are sent sooner.
OUTBOX_BYTES = 1 << 20
#: In front of all records: where they end, and the crawl whose outcomes they are.
_HEAD_BYTES = 16
#: In front of each record: the size of what follows, its checksum, and the task.
_RECORD = struct.Struct("<IIQ")
#: Of marshal, which takes half the time of pickle for plain values. Later ones look for each value
#: among those before it. The reader runs the same Python.
_FORMAT = 2


class Outbox(SharedMemory):
    """The worker writes records, one behind the other; its parent reads them after its death.

    A record is complete before the number in front, which says where all records end, moves behind
    it in one store. A kill falls between two instructions, and all that was stored before it can be
    seen; so half a record is never read.
    """

    def __init__(self, size: int, fd: int = -1) -> None:
        super().__init__(size, fd)
        self._head = memoryview(self.memory)[:_HEAD_BYTES].cast("Q")
        self._end = _HEAD_BYTES  # only the worker uses it

    def begin(self, crawl: int) -> None:
        """Drop all records, which have been sent; the next ones are outcomes of *crawl*."""
        self._end = _HEAD_BYTES
        self._head[0] = 0
        self._head[1] = crawl

    def put(self, outcome: Outcome) -> bool:
        """Keep an outcome, unless it is larger than ``LARGE``: that one may be lost.

        Returns:
            whether there was room. If not, all outcomes should be sent at once.
        """
        task_id, status, result, effects, seconds, keys = outcome
        # Keys are of any type; of some, such as numbers of numpy, marshal would make bytes.
        packed = pickle.dumps(keys) if keys else b""
        # Looked at before it is copied; and marshal refuses 2 GiB.
        if len(result) + len(effects or b"") + len(packed) > LARGE:
            return True
        body = marshal.dumps((status, result, effects, seconds, packed), _FORMAT)
        size, begin = len(body), self._end
        end = begin + _RECORD.size + size
        if end > self.size:
            return False
        self.memory[begin:end] = _RECORD.pack(size, crc32(body), task_id) + body
        self._end = end
        self._head[0] = end
        return True

    def left(self) -> Outcomes:
        """Return the outcomes that a dead worker has left here; it may have sent some of them."""
        end, crawl = self._head
        rows = []
        offset = _HEAD_BYTES
        while offset + _RECORD.size <= min(end, self.size):
            size, checksum, task_id = _RECORD.unpack_from(self.memory, offset)
            offset += _RECORD.size
            body = self.memory[offset : offset + size]
            if crc32(body) != checksum:
                break  # a pipeline has written into memory that is not its own
            *row, keys = marshal.loads(body)
            rows.append((task_id, *row, pickle.loads(keys) if keys else ()))
            offset += size
        return Outcomes(crawl, tuple(rows))

    def close(self) -> None:
        self._head.release()
        super().close()


def make_outbox() -> Outbox | None:
    """Return an outbox where there can be one."""
    return make_shared(Outbox, OUTBOX_BYTES)
