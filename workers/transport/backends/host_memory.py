"""Memory that the workers of one host and one user share: a folder of its own under ``/dev/shm``.

A random token in the folder says whether two workers see the same memory: containers that share
``/dev/shm`` agree on it, others do not. Every writer has a folder in it, which lasts as long as the
lock on it, that is as long as its process, however that ends; any worker sweeps up what is left.
Readers map what stands there, so a folder that another user could have written to is not used.
"""

import fcntl
import logging
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from workers.runtime.trusted_directory import UntrustedDirectory, trusted_directory

log = logging.getLogger(__name__)

SHARED = Path("/dev/shm")
LOCK = "lock"
#: A folder that is being made is not swept within this.
YOUNG_S = 60.0


class HostMemory:
    """The folder, and who sees it."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` where there is no such memory, and `UntrustedDirectory`."""
        if not folder.parent.is_dir():
            raise FileNotFoundError(folder.parent)
        self.folder = trusted_directory(folder, is_private=True)
        self.token = _token(folder)

    def claim(self) -> "WriterFolder":
        """A folder for one writer."""
        return WriterFolder(self.folder)

    def sweep(self) -> int:
        """Remove the folders of writers that are gone; returns how many there were."""
        return sum(_sweep(path) for path in self.folder.iterdir() if path.is_dir())


class WriterFolder:
    """A writer's folder, locked as long as this object or its process lives."""

    def __init__(self, parent: Path) -> None:
        self.name = secrets.token_hex(8)
        unfinished = parent / f"new-{self.name}"
        unfinished.mkdir(mode=0o700)
        self._lock = os.open(unfinished / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.folder = unfinished.rename(parent / self.name)

    def release(self) -> None:
        """Remove the folder; memory that is still mapped somewhere stays valid there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def find_host_memory(parent: Path = SHARED) -> HostMemory | None:
    """This user's shared memory, or ``None`` where the system has none, or none that is safe."""
    try:
        return HostMemory(parent / f"swiftdiffusion-{os.geteuid()}")
    except UntrustedDirectory as error:
        log.warning("no shared memory, residuals go through Redis: %s", error)
        return None
    except OSError:
        return None


def _token(folder: Path) -> str:
    """The folder's token; the first who comes makes it."""
    path, draft = folder / "token", folder / f"token-{secrets.token_hex(8)}"
    if not path.exists():
        draft.write_text(secrets.token_hex(16))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


def _sweep(path: Path) -> bool:
    try:
        if path.name.startswith("new-"):
            if time.time() - path.stat().st_mtime < YOUNG_S:
                return False
            shutil.rmtree(path)
            return True
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError:  # another sweeper was faster
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return True
    except BlockingIOError:  # its writer lives
        return False
    finally:
        os.close(lock)
