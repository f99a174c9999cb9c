"""A bounded folder of whole files, shared by every process of a host that opens it.

The folder is the whole truth: a file's size counts against the bound, its modification time is its
last use, a shared lock on it is a pin. A file that is being written is a ``.part``, locked by who
writes it, and as large as it will be from before its first byte on; a ``.part`` that nobody locks is
a dead process's and may go.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path

from workers.lora import locks

WHOLE = ".safetensors"
PART = ".part"


class Folder:
    """Knows bytes, pins and turns; what the files are and whence they come is its user's business."""

    def __init__(self, root: Path, capacity_bytes: int) -> None:
        self.root = root
        self.capacity_bytes = capacity_bytes
        root.mkdir(parents=True, exist_ok=True)

    def pin(self, path: Path) -> int | None:
        """A file descriptor that keeps the file from removal until it is closed; None if that must wait."""
        fd = locks.take(path, shared=True)
        if fd is not None:
            touch(fd)
        return fd

    def claim(self, path: Path) -> int | None:
        """The right to write ``path``: its locked ``.part``. None if somebody has it, or has written."""
        self.root.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(PART)
        fd = locks.take(part, create=True)
        if fd is not None and path.exists():
            self.give_up(fd, path)
            return None
        return fd

    def give_up(self, fd: int, path: Path) -> None:
        """Drop a claim and what was written under it."""
        path.with_suffix(PART).unlink(missing_ok=True)
        os.close(fd)

    def reserve(self, fd: int, size_bytes: int) -> list[Path] | None:
        """Make the claimed ``.part`` as large as the file will be; returns what was removed for it.

        None, and nothing removed, if there is no room. Raises `OSError` when the disk itself is full.
        """
        os.ftruncate(fd, 0)  # what a killed process left
        with locks.holding(self._guard):
            removed = self._make_room(size_bytes)
            if removed is not None:
                os.posix_fallocate(fd, 0, size_bytes)
            return removed

    def publish(self, fd: int, path: Path) -> None:
        """Let the finished ``.part`` appear as ``path``; the claim becomes a pin.

        Removals wait outside, so that nobody comes between.
        """
        os.fsync(fd)
        with locks.holding(self._guard):
            path.with_suffix(PART).replace(path)
            locks.share(fd)
            touch(fd)

    def remove_idle(self, path: Path) -> None:
        """Remove a file unless it is pinned."""
        with locks.holding(self._guard):
            fd = locks.take(path)
            if fd is not None:
                path.unlink()
                os.close(fd)

    def used_bytes(self) -> int:
        """Bytes of all files, finished or not."""
        return sum(size for _, size, _ in self._files())

    def check(self) -> None:
        """Assert what holds at any moment; for tests."""
        used = self.used_bytes()
        assert used <= self.capacity_bytes, f"{used} bytes in a cache of {self.capacity_bytes}"
        strangers = [
            path for path in self.root.iterdir() if path != self._guard and path.suffix not in (WHOLE, PART)
        ]
        assert not strangers, f"not the cache's own: {strangers}"

    @property
    def _guard(self) -> Path:
        """Held while room is counted or made, and while files appear."""
        return self.root / "lock"

    def _make_room(self, size_bytes: int) -> list[Path] | None:
        """Remove the least recently used idle files until ``size_bytes`` fit; none if they cannot."""
        files = self._files()
        surplus = sum(size for _, size, _ in files) + size_bytes - self.capacity_bytes
        victims: list[Path] = []
        with ExitStack() as taken:
            # Dead processes' parts first, then by last use.
            for path, size, _ in sorted(files, key=lambda file: (file[0].suffix != PART, file[2])):
                if surplus <= 0:
                    break
                fd = locks.take(path)
                if fd is not None:
                    taken.callback(os.close, fd)
                    victims.append(path)
                    surplus -= size
            if surplus > 0:
                return None
            for path in victims:
                path.unlink()
        return victims

    def _files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and last use of every file that counts."""
        files = []
        for path in self.root.iterdir():
            if path.suffix in (WHOLE, PART):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                files.append((path, stat.st_size, stat.st_mtime_ns))
        return files


def touch(fd: int) -> None:
    """Mark as just used; the file system's own clock is too coarse to order two uses."""
    os.utime(fd, ns=(time.time_ns(),) * 2)
