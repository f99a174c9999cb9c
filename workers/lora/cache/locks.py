"""File locks between threads and processes of one host; they are released when their holder dies.

``flock`` belongs to an open file, not to a process: two threads that open a path exclude each other,
too. A file may be removed or replaced at its path before it is locked; `try_lock` checks that.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Mode of new files, less the umask.
_MODE = 0o666


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``, which is never removed; meant for short blocks."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(path: Path, *, shared: bool = False, create: bool = False) -> int | None:
    """Open and lock ``path`` without waiting; None if it is missing or locked.

    The lock lasts until the returned file descriptor is closed.
    """
    try:
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), _MODE)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if is_at(fd, path):
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def share(fd: int) -> None:
    """Turn an exclusive lock into a shared one."""
    fcntl.flock(fd, fcntl.LOCK_SH)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
