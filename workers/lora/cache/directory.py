"""A folder of files that is bounded in bytes and shared by all processes of a host.

All state is in the folder. A complete file is named ``STEM@SHA256.safetensors``; its modification time is its
last use, and a shared lock on it is a pin. A partial file is named ``STEM.part``; its writer holds an
exclusive lock on it, and it has its final size before its first byte is written. An unlocked partial file was
left by a dead process: another writer may continue it, and it may be evicted.
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
#: Errors of a full disk: the file would fit if others were removed.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheEntry(NamedTuple):
    """A file of the folder, complete or partial."""

    path: Path
    size_bytes: int
    used_ns: int  # its last use, since the epoch


class CacheDirectory:
    """Bytes, pins and evictions of the folder; what the files contain is up to its user."""

    def __init__(self, root: Path, capacity_bytes: int) -> None:
        self.root = root
        self.capacity_bytes = capacity_bytes

    def find(self, stem: str) -> Path | None:
        """The complete file of that stem."""
        return next(
            (entry.path for entry in self.entries(f"{stem}@") if entry.path.suffix == COMPLETE_SUFFIX), None
        )

    def pin(self, path: Path) -> int | None:
        """A file descriptor that pins the file until it is closed; None if the file is locked or gone."""
        fd = locks.try_lock(path, shared=True)
        if fd is not None:
            touch(fd)
        return fd

    def claim(self, stem: str) -> int | None:
        """Lock the partial file in order to write it; None if it is locked, or already complete."""
        fd = locks.try_lock(self._partial(stem), create=True)
        if fd is not None and self.find(stem):
            self.abandon(fd, stem)
            return None
        return fd

    def abandon(self, fd: int, stem: str) -> None:
        """Remove a claimed partial file, and end the claim."""
        self._partial(stem).unlink(missing_ok=True)
        os.close(fd)

    def release(self, fd: int) -> None:
        """End a claim; the next writer continues the partial file."""
        os.close(fd)

    def reserve(self, fd: int, size_bytes: int) -> list[Path] | None:
        """Give the claimed partial file its final size; returns the files that were evicted for it.

        One that has that size already, left by a dead process, is not changed. Returns None, with nothing
        evicted, if pinned files leave no space. Raises `OSError` when the disk is full without idle files.
        """
        with locks.holding(self._lock_file):
            if os.fstat(fd).st_size == size_bytes:
                return []
            os.ftruncate(fd, 0)
            evicted = self._evict(self._used_bytes() + size_bytes - self.capacity_bytes)
            while evicted is not None and not _is_allocated(fd, size_bytes):
                more = self._evict(1)
                if not more:
                    raise OSError(errno.ENOSPC, "the disk is full")
                evicted += more
            return evicted

    def publish(self, fd: int, stem: str, sha256: str) -> Path:
        """Rename the finished partial file to a complete one; the claim becomes a pin.

        Evictions wait for the lock, so that none happens in between.
        """
        path = self.root / f"{stem}@{sha256}{COMPLETE_SUFFIX}"
        os.fsync(fd)
        with locks.holding(self._lock_file):
            self._partial(stem).replace(path)
            locks.share(fd)
            touch(fd)
        return path

    def remove_idle(self, path: Path) -> bool:
        """Remove a file unless it is pinned; returns whether it is removed."""
        with locks.holding(self._lock_file):
            fd = locks.try_lock(path)
            if fd is not None:
                path.unlink()
                os.close(fd)
        return not path.exists()

    def trim(self) -> list[Path]:
        """Evict idle files while there are more bytes than the capacity, which may have been lowered.

        Returns what was evicted; more than the capacity remains only where it is pinned.
        """
        evicted: list[Path] = []
        trusted_directory(self.root, setting="SWIFT_HOME")
        with locks.holding(self._lock_file):
            while self._used_bytes() > self.capacity_bytes and (more := self._evict(1)):
                evicted += more
        return evicted

    def is_pinned(self, path: Path) -> bool:
        """Whether a thread or process reads or writes the file right now."""
        fd = locks.try_lock(path)
        if fd is not None:
            os.close(fd)
        return fd is None and path.exists()

    def used_bytes(self) -> int:
        """Bytes of all files, complete or partial; exact while others are written and removed."""
        trusted_directory(self.root, setting="SWIFT_HOME")
        with locks.holding(self._lock_file):
            return self._used_bytes()

    def entries(self, prefix: str = "") -> list[CacheEntry]:
        """Every file, complete or partial, whose name begins with ``prefix``."""
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
        foreign = [
            path
            for path in self.root.iterdir()
            if path != self._lock_file and path.suffix not in (COMPLETE_SUFFIX, PARTIAL_SUFFIX)
        ]
        assert not foreign, f"files that are not the cache's: {foreign}"

    @property
    def _lock_file(self) -> Path:
        """The lock file, held while bytes are counted, files evicted and files renamed."""
        return self.root / "lock"

    def _partial(self, stem: str) -> Path:
        return self.root / (stem + PARTIAL_SUFFIX)

    def _used_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries())

    def _evict(self, surplus_bytes: int) -> list[Path] | None:
        """Evict the least recently used idle files, that many bytes of them.

        Returns None, with nothing evicted, if all idle files have less.
        """
        evicted: list[Path] = []
        with ExitStack() as locked:
            # Partial files of dead processes first, then by last use.
            for path, size_bytes, _ in sorted(
                self.entries(), key=lambda e: (e.path.suffix != PARTIAL_SUFFIX, e.used_ns)
            ):
                if surplus_bytes <= 0:
                    break
                fd = locks.try_lock(path)
                if fd is not None:
                    locked.callback(os.close, fd)
                    evicted.append(path)
                    surplus_bytes -= size_bytes
            if surplus_bytes > 0:
                return None
            for path in evicted:
                path.unlink(missing_ok=True)
        return evicted


def _is_allocated(fd: int, size_bytes: int) -> bool:
    """Allocate the disk space; returns False, with nothing allocated, if the disk is full."""
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        os.ftruncate(fd, 0)
        if error.errno not in DISK_FULL:
            raise
        return False
    return True


def touch(fd: int) -> None:
    """Set the time of last use to now; the file system's own clock is too coarse to order two uses."""
    os.utime(fd, ns=(time.time_ns(),) * 2)
