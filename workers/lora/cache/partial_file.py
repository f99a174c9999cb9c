"""A partial file: all bytes of the file, then a mark for each range of them that has arrived.

The marks let another process continue after a crash. A range is marked only after its bytes are on the
disk, so that marks are right after a power cut, too.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

_HEADER_BYTES = 8
_ARRIVED = b"\1"
_PIECE_BYTES = 1 << 20


class Range(NamedTuple):
    """Bytes ``start`` to ``stop`` of the file."""

    start: int
    stop: int


class PartialFile:
    """The claimed partial file, of its final size. Several threads write different ranges."""

    def __init__(self, fd: int, size_bytes: int, range_bytes: int) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._header = range_bytes.to_bytes(_HEADER_BYTES, "big")
        starts = range(0, size_bytes, range_bytes)
        self.ranges = [Range(start, min(start + range_bytes, size_bytes)) for start in starts]
        if self._has_marks and os.pread(fd, _HEADER_BYTES, size_bytes) != self._header:
            self.clear_marks()

    @staticmethod
    def total_bytes(size_bytes: int, range_bytes: int) -> int:
        """Bytes of a partial file: one of a single range has no marks."""
        ranges = -(-size_bytes // range_bytes)
        return size_bytes + (_HEADER_BYTES + ranges if ranges > 1 else 0)

    def missing(self) -> list[int]:
        """Indices of the ranges that have not arrived."""
        if not self._has_marks:
            return [0]
        marks = os.pread(self._fd, len(self.ranges), self._size_bytes + _HEADER_BYTES)
        return [i for i in range(len(self.ranges)) if marks[i : i + 1] != _ARRIVED]

    @property
    def has_begun(self) -> bool:
        """Whether a range has arrived."""
        return len(self.missing()) < len(self.ranges)

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at their offset in the file."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, at)
            view, at = view[count:], at + count

    def mark(self, index: int) -> None:
        """Mark a range as arrived."""
        if self._has_marks:
            os.fdatasync(self._fd)
            self.write(self._mark_offset(index), _ARRIVED)

    def clear_marks(self) -> None:
        """Mark all ranges as missing."""
        if self._has_marks:
            self.write(self._size_bytes, self._header + bytes(len(self.ranges)))

    def read(self, wanted: Range) -> Iterator[bytes]:
        """The bytes of a range, in pieces of at most a megabyte."""
        for at in range(wanted.start, wanted.stop, _PIECE_BYTES):
            yield os.pread(self._fd, min(_PIECE_BYTES, wanted.stop - at), at)

    def finish(self) -> None:
        """Cut the marks off: only the file's own bytes remain."""
        os.ftruncate(self._fd, self._size_bytes)

    @property
    def _has_marks(self) -> bool:
        return len(self.ranges) > 1

    def _mark_offset(self, index: int) -> int:
        return self._size_bytes + _HEADER_BYTES + index
