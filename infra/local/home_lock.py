"""Who runs in a state folder: one stack at a time holds the lock in it.

    python -m infra.local.home_lock FOLDER

fails if a stack holds the folder. It needs only the standard library: `make clean` works without a venv.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(home: Path) -> Iterator[int]:
    """Hold ``home`` and leave this pid in its lock; raises `BlockingIOError` if a stack does.

    Yields the open file for processes to inherit: as long as one is left, the folder is taken.
    """
    with (home / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock.fileno()


def find_holder(home: Path) -> int | None:
    """The pid of the stack that holds ``home``, 0 if it cannot be known; `None` if none does."""
    try:
        with (home / "lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = lock.read().strip()
                return int(pid) if pid.isdigit() else 0
    except FileNotFoundError:
        pass
    return None


def main() -> int:
    """Fail if the folder is held; returns the exit code."""
    home = Path(sys.argv[1])
    if find_holder(home) is None:
        return 0
    print(f"a fleet is running in {home}: stop it first, with `make down` or Ctrl-C", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
