"""A host's LoRA files: fetched from S3 once, kept within a bound, never removed while being read.

A file's name says which version of which object it is, so a cached file is served without asking S3.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.blobs import BlobChanged, Bucket
from shared.errors import InvalidLora, LoraGone, LoraUnavailable, NotFound, SwiftError, Unavailable
from shared.loras import lora_key
from shared.metrics import LORA_CACHE, LORA_CACHE_BYTES, LORA_FETCH_S
from shared.specs import LoraRef
from workers.lora.folder import PART, WHOLE, Folder

log = logging.getLogger(__name__)

#: Between two looks at what another thread or process holds.
_POLL_S = 0.02
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0


class LoraCache:
    """One folder, shared by every `LoraCache` of the host that is given it."""

    def __init__(self, root: Path, capacity_bytes: int, bucket: Bucket, wait_s: float) -> None:
        self._folder = Folder(root, capacity_bytes)
        self._bucket = bucket
        self._wait_s = wait_s

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
        """Bytes in the folder, of finished files and of those on their way."""
        return self._folder.used_bytes()

    def check(self) -> None:
        """Assert what holds at any moment; for tests."""
        self._folder.check()

    def _path(self, ref: LoraRef) -> Path:
        version = "\0".join((self._bucket.name, lora_key(ref.name), ref.etag))
        return self._folder.root / (hashlib.sha256(version.encode()).hexdigest() + WHOLE)

    def _pin(self, ref: LoraRef, path: Path, deadline: float) -> int:
        """A file descriptor that pins ``path`` until it is closed; fetches the file if need be."""
        result = "hit"
        while True:
            pin = self._folder.pin(path)
            if pin is not None and os.fstat(pin).st_size != ref.size_bytes:
                log.warning("cached lora has a wrong size", extra={"lora": ref.name, "file": path.name})
                os.close(pin)
                self._folder.remove_idle(path)
                pin = None
            if pin is None and not path.exists():
                result = "miss"
                pin = self._fetch(ref, path, deadline)
            if pin is not None:
                LORA_CACHE.labels(result).inc()
                return pin
            _pause(ref, deadline, "another thread or process is at it")

    def _fetch(self, ref: LoraRef, path: Path, deadline: float) -> int | None:
        """Fetch the file and pin it; None if another thread or process is at it, or was faster."""
        if not 0 < ref.size_bytes <= self._folder.capacity_bytes:
            raise InvalidLora(
                f"LoRA {ref.name!r} has {ref.size_bytes} bytes;"
                f" this worker's cache takes files of 1 to {self._folder.capacity_bytes} bytes"
            )
        claim = self._folder.claim(path)
        if claim is None:
            return None
        try:
            self._reserve(ref, claim, deadline)
            self._download(ref, path.with_suffix(PART), deadline)
            self._folder.publish(claim, path)
        except BaseException:
            self._folder.give_up(claim, path)
            raise
        finally:
            LORA_CACHE_BYTES.set(self.used_bytes())
        return claim

    def _reserve(self, ref: LoraRef, claim: int, deadline: float) -> None:
        try:
            while (removed := self._folder.reserve(claim, ref.size_bytes)) is None:
                _pause(ref, deadline, "the cache is full of files in use")
        except OSError as error:
            raise LoraUnavailable(f"LoRA {ref.name!r}: no disk space for {ref.size_bytes} bytes") from error
        LORA_CACHE.labels("evicted").inc(len(removed))

    def _download(self, ref: LoraRef, part: Path, deadline: float) -> None:
        start = time.monotonic()
        pause_s = _FIRST_RETRY_S
        while not self._downloaded(ref, part):
            _pause(ref, deadline, "S3 does not answer", pause_s)
            pause_s = min(2 * pause_s, _LAST_RETRY_S)
        LORA_FETCH_S.observe(time.monotonic() - start)

    def _downloaded(self, ref: LoraRef, part: Path) -> bool:
        """Write exactly the version the job was accepted with; False if S3 may do better next time."""
        try:
            self._bucket.download(lora_key(ref.name), part, etag=ref.etag)
        except (NotFound, BlobChanged) as error:
            verb = "deleted" if isinstance(error, NotFound) else "replaced"
            raise LoraGone(
                f"LoRA {ref.name!r} was {verb} after the job was accepted; submit it again"
            ) from error
        except Unavailable as error:
            log.warning("lora download failed", extra={"lora": ref.name, "error": str(error)})
            return False
        return part.stat().st_size == ref.size_bytes


def _pause(ref: LoraRef, deadline: float, why: str, pause_s: float = _POLL_S) -> None:
    """Sleep; raises `LoraUnavailable` instead when that would outlast the deadline."""
    if time.monotonic() + pause_s > deadline:
        raise LoraUnavailable(f"LoRA {ref.name!r} did not arrive in time: {why}")
    time.sleep(pause_s)
