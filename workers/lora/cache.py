"""A host's LoRA files: fetched from S3 once, kept within a bound, never removed while being read.

Every process of the host shares one folder, and the folder is the whole truth: a file's name says
which version of which object it is, its size counts against the bound, its modification time is its
last use, a shared lock on it is a pin. A file being fetched is a ``.part``, locked by who fetches it,
and as large as it will be from before its first byte on; a ``.part`` that nobody locks is a dead
process's and may go.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shared.blobs import BlobChanged, Bucket
from shared.errors import InvalidLora, LoraGone, LoraUnavailable, NotFound, SwiftError, Unavailable
from shared.loras import lora_key
from shared.messages import LoraRef
from shared.metrics import LORA_CACHE, LORA_CACHE_BYTES, LORA_FETCH_S
from workers.lora import locks

log = logging.getLogger(__name__)

WHOLE = ".safetensors"
PART = ".part"
#: Between two looks at what another thread or process holds.
_POLL_S = 0.02
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0


class LoraCache:
    """One folder, shared by every `LoraCache` of the host that is given it."""

    def __init__(self, root: Path, capacity_bytes: int, bucket: Bucket, wait_s: float) -> None:
        self._root = root
        self._capacity_bytes = capacity_bytes
        self._bucket = bucket
        self._wait_s = wait_s
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def open(self, ref: LoraRef, *, wait_s: float | None = None) -> Iterator[Path]:
        """Wait for the whole file and pin it: a file being read outlives any eviction.

        Raises `LoraGone`, `InvalidLora` (it can never fit), and `LoraUnavailable` after ``wait_s``.
        """
        path = self._path(ref)
        pin = self._pin(ref, path, time.monotonic() + (self._wait_s if wait_s is None else wait_s))
        try:
            yield path
        finally:
            os.close(pin)

    def prefetch(self, ref: LoraRef) -> None:
        """Have the file here when a job asks for it. A failure is counted: the job will meet it itself."""
        try:
            with self.open(ref):
                pass
        except (SwiftError, OSError) as error:
            LORA_CACHE.labels("prefetch_failed").inc()
            log.info("lora prefetch failed", extra={"lora": ref.name, "error": str(error)})

    def used_bytes(self) -> int:
        """Bytes of the folder's files, finished or not."""
        return sum(size for _, size, _ in self._files())

    def check(self) -> None:
        """Assert what must hold at any moment; for tests."""
        used = self.used_bytes()
        assert used <= self._capacity_bytes, f"{used} bytes in a cache of {self._capacity_bytes}"
        known = {path for path, _, _ in self._files()} | {self._guard}
        strangers = set(self._root.iterdir()) - known
        assert not {path for path in strangers if path.exists()}, f"not the cache's own: {strangers}"

    @property
    def _guard(self) -> Path:
        """Held while room is counted or made."""
        return self._root / "lock"

    def _path(self, ref: LoraRef) -> Path:
        version = "\0".join((self._bucket.name, lora_key(ref.name), ref.etag))
        return self._root / (hashlib.sha256(version.encode()).hexdigest() + WHOLE)

    def _pin(self, ref: LoraRef, path: Path, deadline: float) -> int:
        """A file descriptor that pins ``path`` until it is closed; fetches the file if need be."""
        result = "hit"
        while True:
            pin = self._pin_whole(path, ref.size_bytes)
            if pin is None and not path.exists():
                result = "miss"
                pin = self._fetch(ref, path, deadline)
            if pin is not None:
                os.utime(pin, ns=(time.time_ns(),) * 2)
                LORA_CACHE.labels(result).inc()
                return pin
            _wait(ref, deadline, "another process is fetching or checking it")

    def _pin_whole(self, path: Path, size_bytes: int) -> int | None:
        pin = locks.take(path, shared=True)
        if pin is None or os.fstat(pin).st_size == size_bytes:
            return pin
        os.close(pin)
        log.warning("cached lora has a wrong size", extra={"file": path.name})
        self._remove_idle(path)
        return None

    def _fetch(self, ref: LoraRef, path: Path, deadline: float) -> int | None:
        """Fetch the file and pin it; None if another thread or process is at it, or was faster."""
        if not 0 < ref.size_bytes <= self._capacity_bytes:
            raise InvalidLora(
                f"LoRA {ref.name!r} has {ref.size_bytes} bytes; the cache takes 1 to {self._capacity_bytes}"
            )
        self._root.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(PART)
        fd = locks.take(part, create=True)
        if fd is None:
            return None
        try:
            if not path.exists():
                self._reserve(ref, fd, deadline)
                self._download(ref, part, deadline)
                return self._publish(fd, part, path)
            part.unlink()
        except BaseException:
            part.unlink(missing_ok=True)
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _reserve(self, ref: LoraRef, fd: int, deadline: float) -> None:
        """Make the locked ``.part`` as large as the file will be, once there is room for it."""
        os.ftruncate(fd, 0)  # what a killed process left
        while True:
            with locks.holding(self._guard):
                if self._make_room(ref.size_bytes):
                    os.posix_fallocate(fd, 0, ref.size_bytes)
                    break
            _wait(ref, deadline, "the cache is full of files in use")
        LORA_CACHE_BYTES.set(self.used_bytes())

    def _make_room(self, size_bytes: int) -> bool:
        """Remove the least recently used idle files until ``size_bytes`` fit; none if they cannot."""
        surplus = self.used_bytes() + size_bytes - self._capacity_bytes
        with ExitStack() as taken:
            victims = []
            # Dead processes' parts first, then by last use.
            for path, size, _ in sorted(self._files(), key=lambda file: (file[0].suffix != PART, file[2])):
                if surplus <= 0:
                    break
                fd = locks.take(path)
                if fd is not None:
                    taken.callback(os.close, fd)
                    victims.append(path)
                    surplus -= size
            if surplus > 0:
                return False
            for path in victims:
                path.unlink()
                LORA_CACHE.labels("evicted").inc()
        return True

    def _download(self, ref: LoraRef, part: Path, deadline: float) -> None:
        pause_s = _FIRST_RETRY_S
        start = time.monotonic()
        while True:
            try:
                self._bucket.download(lora_key(ref.name), part, etag=ref.etag)
                break
            except (NotFound, BlobChanged) as error:
                verb = "deleted" if isinstance(error, NotFound) else "replaced"
                raise LoraGone(
                    f"LoRA {ref.name!r} was {verb} after the job was accepted; submit it again"
                ) from error
            except Unavailable as error:
                _wait(ref, deadline, str(error), pause_s)
                pause_s = min(2 * pause_s, _LAST_RETRY_S)
        got_bytes = part.stat().st_size
        if got_bytes != ref.size_bytes:
            raise LoraUnavailable(f"LoRA {ref.name!r}: {got_bytes} of {ref.size_bytes} bytes arrived")
        LORA_FETCH_S.observe(time.monotonic() - start)

    def _publish(self, fd: int, part: Path, path: Path) -> int:
        """Let the finished file appear, pinned; evictions wait outside, so nobody can come between."""
        os.fsync(fd)
        with locks.holding(self._guard):
            part.replace(path)
            locks.share(fd)
        return fd

    def _remove_idle(self, path: Path) -> None:
        with locks.holding(self._guard):
            fd = locks.take(path)
            if fd is not None:
                path.unlink()
                os.close(fd)

    def _files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and last use of every file that counts."""
        files = []
        for path in self._root.iterdir():
            if path.suffix in (WHOLE, PART):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                files.append((path, stat.st_size, stat.st_mtime_ns))
        return files


def _wait(ref: LoraRef, deadline: float, why: str, pause_s: float = _POLL_S) -> None:
    """Pause; raises `LoraUnavailable` instead when the pause would outlast the deadline."""
    if time.monotonic() + pause_s > deadline:
        raise LoraUnavailable(f"LoRA {ref.name!r} did not arrive in time: {why}")
    time.sleep(pause_s)
