"""A file on its way: all the bytes it will have, and behind them a mark for each range that has arrived.

The marks let the next process go on where a killed one was. A range is marked only after its bytes are
on the disk, so that a mark is true after a power cut, too.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

_HEAD_BYTES = 8
_ARRIVED = b"\1"
_PIECE_BYTES = 1 << 20


class Range(NamedTuple):
    """Bytes ``start`` to ``stop`` of the file."""

    start: int
    stop: int


class PartialFile:
    """The claimed, reserved ``.part`` of one file. Its threads write different ranges."""

    def __init__(self, fd: int, size_bytes: int, range_bytes: int) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._head = range_bytes.to_bytes(_HEAD_BYTES, "big")
        starts = range(0, size_bytes, range_bytes)
        self.ranges = [Range(start, min(start + range_bytes, size_bytes)) for start in starts]
        if self._has_marks and os.pread(fd, _HEAD_BYTES, size_bytes) != self._head:
            self.forget()

    @staticmethod
    def total_bytes(size_bytes: int, range_bytes: int) -> int:
        """What a file needs while it arrives: a file of one range has no marks."""
        ranges = -(-size_bytes // range_bytes)
        return size_bytes + (_HEAD_BYTES + ranges if ranges > 1 else 0)

    def missing(self) -> list[int]:
        """Indices of the ranges that have not arrived."""
        if not self._has_marks:
            return [0]
        marks = os.pread(self._fd, len(self.ranges), self._size_bytes + _HEAD_BYTES)
        return [i for i in range(len(self.ranges)) if marks[i : i + 1] != _ARRIVED]

    @property
    def is_begun(self) -> bool:
        """Whether a range has arrived."""
        return len(self.missing()) < len(self.ranges)

    def write(self, at: int, data: bytes) -> None:
        """Lay bytes down at their place."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, at)
            view, at = view[count:], at + count

    def mark(self, index: int) -> None:
        """All bytes of a range are written."""
        if self._has_marks:
            os.fdatasync(self._fd)
            self.write(self._mark_at(index), _ARRIVED)

    def forget(self) -> None:
        """No range counts as arrived."""
        if self._has_marks:
            self.write(self._size_bytes, self._head + bytes(len(self.ranges)))

    def read(self, wanted: Range) -> Iterator[bytes]:
        """The bytes of a range, in pieces."""
        for at in range(wanted.start, wanted.stop, _PIECE_BYTES):
            yield os.pread(self._fd, min(_PIECE_BYTES, wanted.stop - at), at)

    def finish(self) -> None:
        """Only the file itself is left."""
        os.ftruncate(self._fd, self._size_bytes)

    @property
    def _has_marks(self) -> bool:
        return len(self.ranges) > 1

    def _mark_at(self, index: int) -> int:
        return self._size_bytes + _HEAD_BYTES + index
