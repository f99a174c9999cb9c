"""File locks that threads and processes of one host share, and that die with their holder.

``flock`` belongs to an open file, not to a process: two threads that open a path exclude each other
too. A locked file may meanwhile have been removed or replaced at its path; whoever locks it checks.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Of new files, less the umask: to read and write, not to execute.
_MODE = 0o666


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold ``path``, which nobody ever removes, exclusively; meant for moments."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(path: Path, *, shared: bool = False, create: bool = False) -> int | None:
    """Open and lock ``path`` without waiting; None if it is missing or somebody else's.

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
