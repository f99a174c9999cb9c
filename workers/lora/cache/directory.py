"""A bounded folder of whole files, shared by every process of a host that opens it.

The folder is the whole truth: a file's name says what it is (``STEM@SHA256.safetensors``), its size counts
against the bound, its modification time is its last use, a shared lock on it is a pin. A file that is
being written is a ``STEM.part``, locked by who writes it, and as large as it will be from before its first
byte on; a ``.part`` that nobody locks is a dead process's: it may be taken over, and it may go.
"""

import errno
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from workers.lora.cache import locks
from workers.runtime.trusted_directory import trusted_directory

COMPLETE_SUFFIX = ".safetensors"
PARTIAL_SUFFIX = ".part"
#: What a disk says that could take the file if there were less on it.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheEntry(NamedTuple):
    """A file as it lies in the folder."""

    path: Path
    size_bytes: int
    used_ns: int  # its last use, since the epoch


class CacheDirectory:
    """Knows bytes, pins and turns; what the files are and whence they come is its user's business."""

    def __init__(self, root: Path, capacity_bytes: int) -> None:
        self.root = root
        self.capacity_bytes = capacity_bytes

    def find(self, stem: str) -> Path | None:
        """The whole file of that stem."""
        return next(
            (entry.path for entry in self.entries(f"{stem}@") if entry.path.suffix == COMPLETE_SUFFIX), None
        )

    def pin(self, path: Path) -> int | None:
        """A file descriptor that keeps the file from removal until it is closed; None if that must wait."""
        fd = locks.try_lock(path, shared=True)
        if fd is not None:
            touch(fd)
        return fd

    def claim(self, stem: str) -> int | None:
        """The right to write a file: its locked ``.part``. None if somebody has it, or has written."""
        fd = locks.try_lock(self._part(stem), create=True)
        if fd is not None and self.find(stem):
            self.abandon(fd, stem)
            return None
        return fd

    def abandon(self, fd: int, stem: str) -> None:
        """Drop a claim and what was written under it."""
        self._part(stem).unlink(missing_ok=True)
        os.close(fd)

    def release(self, fd: int) -> None:
        """Let go of a claim, and leave what has been written to whoever claims it next."""
        os.close(fd)

    def reserve(self, fd: int, size_bytes: int) -> list[Path] | None:
        """Make the claimed ``.part`` as large as the file will be; returns what was removed for it.

        A part of that size, which a dead process left, is kept as it is. None, and nothing removed, if
        there is no room. Raises `OSError` when the disk takes less than the bound, even without idle files.
        """
        with locks.holding(self._guard):
            if os.fstat(fd).st_size == size_bytes:
                return []
            os.ftruncate(fd, 0)
            removed = self._make_room(self._used_bytes() + size_bytes - self.capacity_bytes)
            while removed is not None and not _is_allocated(fd, size_bytes):
                more = self._make_room(1)
                if not more:
                    raise OSError(errno.ENOSPC, "the disk is full")
                removed += more
            return removed

    def publish(self, fd: int, stem: str, sha256: str) -> Path:
        """Let the finished ``.part`` appear as a whole file; the claim becomes a pin.

        Removals wait outside, so that nobody comes between.
        """
        path = self.root / f"{stem}@{sha256}{COMPLETE_SUFFIX}"
        os.fsync(fd)
        with locks.holding(self._guard):
            self._part(stem).replace(path)
            locks.share(fd)
            touch(fd)
        return path

    def remove_idle(self, path: Path) -> bool:
        """Remove a file unless it is pinned; returns whether it is gone."""
        with locks.holding(self._guard):
            fd = locks.try_lock(path)
            if fd is not None:
                path.unlink()
                os.close(fd)
        return not path.exists()

    def trim(self) -> list[Path]:
        """Remove idle files while there are more bytes than the bound, which may have been lowered.

        Returns what was removed; more than the bound remains only where it is in use.
        """
        removed: list[Path] = []
        trusted_directory(self.root, setting="SWIFT_HOME")
        with locks.holding(self._guard):
            while self._used_bytes() > self.capacity_bytes and (more := self._make_room(1)):
                removed += more
        return removed

    def is_pinned(self, path: Path) -> bool:
        """Whether somebody reads or writes the file right now."""
        fd = locks.try_lock(path)
        if fd is not None:
            os.close(fd)
        return fd is None and path.exists()

    def used_bytes(self) -> int:
        """Bytes of all files, finished or not; exact while others come and go."""
        trusted_directory(self.root, setting="SWIFT_HOME")
        with locks.holding(self._guard):
            return self._used_bytes()

    def entries(self, prefix: str = "") -> list[CacheEntry]:
        """Every file that counts, finished or not, whose name begins so."""
        trusted_directory(self.root, setting="SWIFT_HOME")  # an operator may have removed it
        entries = []
        with os.scandir(self.root) as files:
            for file in files:
                if file.name.startswith(prefix) and file.name.endswith((COMPLETE_SUFFIX, PARTIAL_SUFFIX)):
                    try:
                        stat = file.stat()
                    except FileNotFoundError:
                        continue
                    entries.append(CacheEntry(self.root / file.name, stat.st_size, stat.st_mtime_ns))
        return entries

    def check(self) -> None:
        """Assert what holds at any moment; for tests."""
        used = self.used_bytes()
        assert used <= self.capacity_bytes, f"{used} bytes in a cache of {self.capacity_bytes}"
        strangers = [
            path
            for path in self.root.iterdir()
            if path != self._guard and path.suffix not in (COMPLETE_SUFFIX, PARTIAL_SUFFIX)
        ]
        assert not strangers, f"not the cache's own: {strangers}"

    @property
    def _guard(self) -> Path:
        """Held while room is counted or made, and while files appear."""
        return self.root / "lock"

    def _part(self, stem: str) -> Path:
        return self.root / (stem + PARTIAL_SUFFIX)

    def _used_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries())

    def _make_room(self, surplus_bytes: int) -> list[Path] | None:
        """Remove the least recently used idle files, that many bytes of them; none if they are too few."""
        victims: list[Path] = []
        with ExitStack() as taken:
            # Dead processes' parts first, then by last use.
            for path, size_bytes, _ in sorted(
                self.entries(), key=lambda e: (e.path.suffix != PARTIAL_SUFFIX, e.used_ns)
            ):
                if surplus_bytes <= 0:
                    break
                fd = locks.try_lock(path)
                if fd is not None:
                    taken.callback(os.close, fd)
                    victims.append(path)
                    surplus_bytes -= size_bytes
            if surplus_bytes > 0:
                return None
            for path in victims:
                path.unlink(missing_ok=True)
        return victims


def _is_allocated(fd: int, size_bytes: int) -> bool:
    """Take the disk space; False, and none taken, if the disk is full."""
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        os.ftruncate(fd, 0)
        if error.errno not in DISK_FULL:
            raise
        return False
    return True


def touch(fd: int) -> None:
    """Mark as just used; the file system's own clock is too coarse to order two uses."""
    os.utime(fd, ns=(time.time_ns(),) * 2)
