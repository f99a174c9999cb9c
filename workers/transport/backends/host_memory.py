"""Memory that the workers of one host and one user share: a folder of theirs under ``/dev/shm``.

A random token in the folder tells whether two workers see the same memory: containers that share
``/dev/shm`` read the same token, others do not. Every worker that writes, or that a writer must know to live,
has a folder inside, which is locked for as long as its process lives, however that ends; any worker removes
the folders that are not locked any more.
Readers map what lies there, so a folder to which another user could have written is not used.
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
#: A folder that is being created is not removed within this.
YOUNG_S = 60.0


class HostMemory:
    """The folder that all workers of this host and user share."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` where there is no such memory, and `UntrustedDirectory`."""
        if not folder.parent.is_dir():
            raise FileNotFoundError(folder.parent)
        self.folder = trusted_directory(folder, is_private=True)
        self.token = _token(folder)

    def make_worker_folder(self) -> "WorkerFolder":
        """A folder that says as long as it is locked that this process lives."""
        return WorkerFolder(self.folder)

    def is_alive(self, name: str) -> bool:
        """Whether the process lives to which the folder of that name belongs."""
        try:
            owner = FolderOwner(self.folder / name)
        except OSError:
            return False
        try:
            return owner.is_alive
        finally:
            owner.close()

    def sweep(self) -> int:
        """Remove the folders of workers whose processes have ended; returns how many there were."""
        return sum(_sweep(path) for path in self.folder.iterdir() if path.is_dir())


class WorkerFolder:
    """A writer's or a reader's folder, locked for as long as this object or its process lives."""

    def __init__(self, parent: Path) -> None:
        self.name = secrets.token_hex(8)
        unfinished = parent / f"new-{self.name}"
        unfinished.mkdir(mode=0o700)
        self._lock = os.open(unfinished / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = unfinished.rename(parent / self.name)

    def remove(self) -> None:
        """Remove the folder; memory that is still mapped somewhere stays valid there."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


class FolderOwner:
    """The process to which a folder belongs, as another one sees it."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` if the folder is gone."""
        self._lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)

    @property
    def is_alive(self) -> bool:
        """Whether it still holds the lock; the kernel takes it away however the process ends."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Look no more."""
        os.close(self._lock)


def find_host_memory(parent: Path = SHARED) -> HostMemory | None:
    """This user's shared memory, or ``None`` where the system has none, or none that is safe."""
    try:
        return HostMemory(parent / f"swiftdiffusion-{os.geteuid()}")
    except UntrustedDirectory as error:
        log.warning("no shared memory; residuals go through Redis", extra={"error": str(error)})
        return None
    except OSError:
        return None


def _token(folder: Path) -> str:
    """The folder's token, created by whichever worker is first."""
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
    except OSError:  # another worker has removed it meanwhile
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return True
    except BlockingIOError:  # its worker lives
        return False
    finally:
        os.close(lock)
