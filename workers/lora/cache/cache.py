"""A host's LoRA files: fetched from S3 once, bounded in bytes, pinned while they are read.

A file's name says which version of which object it is, so a cached file is used without a request to S3.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from shared import metrics
from shared.errors import InvalidLora, LoraGone, LoraUnavailable, NotFound
from shared.jobs.spec import LoraRef
from shared.keys import LOCAL
from shared.storage.loras import lora_key, version_of
from shared.storage.s3_errors import ObjectChanged
from workers.lora.cache.directory import COMPLETE_SUFFIX, DISK_FULL, CacheDirectory
from workers.lora.cache.filenames import sha256_of
from workers.lora.cache.partial_file import PartialFile
from workers.lora.cache.transfer import RANGE_BYTES, LoraSource, Transfer
from workers.lora.cache.wait_budget import WaitBudget

log = logging.getLogger(__name__)

#: The folder of a host's cache, under ``SWIFT_HOME``.
CACHE_FOLDER = "loras"
#: Where a LoRA of a job was found.
Tier = Literal["memory", "disk", "s3"]
#: The counts of a LoRA that is cached already.
NO_COUNTS: Mapping[str, int] = MappingProxyType({})


class CachedLora(NamedTuple):
    """A pinned file, the sha256 that its bytes had when they arrived, and where it was found."""

    path: Path
    sha256: str
    tier: Tier
    counts: Mapping[str, int] = NO_COUNTS  # of its fetch, where this call made it


class LoraCache:
    """The cache in one folder, which all processes of a host share."""

    def __init__(
        self,
        root: Path,
        capacity_bytes: int,
        source: LoraSource,
        wait_s: float,
        *,
        range_bytes: int = RANGE_BYTES,
    ) -> None:
        self.directory = CacheDirectory(root, capacity_bytes)
        self._source = source
        self._wait_s = wait_s
        self._range_bytes = range_bytes

    def version(self, ref: LoraRef) -> str:
        """An identifier of exactly these bytes, in file names and elsewhere."""
        return version_of(self._source.name, ref.name, ref.etag, ref.key)

    def versions(self) -> dict[str, str]:
        """The versions of all complete files, and the sha256 of each."""
        paths = [entry.path for entry in self.directory.entries() if entry.path.suffix == COMPLETE_SUFFIX]
        return {path.name.rpartition("@")[0]: sha256_of(path) for path in paths}

    @contextmanager
    def open(
        self, ref: LoraRef, wait_budget: WaitBudget | None = None, *, version: str | None = None
    ) -> Iterator[CachedLora]:
        """Wait for the complete file and pin it: a file that is being read is never evicted.

        ``version`` is the reference's, from a caller that has asked for it already.

        Raises `LoraGone`, `InvalidLora` (it can never fit, or is damaged in S3), and `LoraUnavailable` when
        the wait budget is spent.
        """
        pin, cached = self._pin(
            ref, version or self.version(ref), wait_budget or WaitBudget(ref.name, self._wait_s)
        )
        try:
            yield cached
        finally:
            os.close(pin)

    def discard(self, cached: CachedLora) -> None:
        """Remove a damaged file, unless another thread or process reads it."""
        log.warning("cached LoRA is damaged", extra={"file": cached.path.name})
        self.directory.remove_idle(cached.path)

    def trim(self) -> None:
        """Evict files until the cache fits its capacity, which may have been lowered."""
        _count_evictions(self.directory.trim())

    def used_bytes(self) -> int:
        """Bytes of all files, complete or partial."""
        return self.directory.used_bytes()

    def check(self) -> None:
        """Assert what holds at any moment; for tests."""
        self.directory.check()

    def _pin(self, ref: LoraRef, stem: str, wait_budget: WaitBudget) -> tuple[int, CachedLora]:
        """A file descriptor that pins the file until it is closed; fetches the file if need be."""
        tier: Tier = "disk"
        while True:
            path = self.directory.find(stem)
            if path is None:
                tier = "s3"
                fetched = self._fetch(ref, stem, wait_budget)
                if fetched is not None:
                    return fetched
            else:
                pin = self._pin_complete(ref, path)
                if pin is not None:
                    return pin, CachedLora(path, sha256_of(path), tier)
                if not path.exists():
                    continue
            wait_budget.pause("another thread or process fetches it")

    def _pin_complete(self, ref: LoraRef, path: Path) -> int | None:
        """Pin a file; None if it is locked, or has a wrong size and has therefore been removed."""
        pin = self.directory.pin(path)
        if pin is not None and os.fstat(pin).st_size != ref.size_bytes:
            log.warning("cached LoRA has a wrong size", extra={"file": path.name})
            os.close(pin)
            self.directory.remove_idle(path)
            return None
        return pin

    def _fetch(self, ref: LoraRef, stem: str, wait_budget: WaitBudget) -> tuple[int, CachedLora] | None:
        """Fetch the file and pin it; None if another thread or process does, or has done so."""
        needed_bytes = PartialFile.total_bytes(ref.size_bytes, self._range_bytes)
        if not 0 < needed_bytes <= self.directory.capacity_bytes:
            raise InvalidLora(
                f"LoRA {ref.name!r} has {ref.size_bytes} bytes and needs {needed_bytes} to be fetched;"
                f" this worker's cache takes 1 to {self.directory.capacity_bytes}"
            )
        claim = self.directory.claim(stem)
        if claim is None:
            return None
        partial = None
        try:
            evictions = self._reserve(ref, claim, needed_bytes, wait_budget)
            partial = PartialFile(claim, ref.size_bytes, self._range_bytes)
            transfer = Transfer(
                self._source, ref.key or lora_key(ref.name, LOCAL), ref.etag, partial, wait_budget
            )
            sha256 = self._download(ref, transfer)
            partial.finish()
            path = self.directory.publish(claim, stem, sha256)
        except BaseException as error:
            if isinstance(error, LoraUnavailable) and partial is not None and partial.has_begun:
                self.directory.release(claim)
            else:
                self.directory.abandon(claim, stem)
            raise
        counts = {"fetched_bytes": transfer.fetched_bytes, "disk_evictions": evictions}
        return claim, CachedLora(path, sha256, "s3", counts)

    def _reserve(self, ref: LoraRef, claim: int, needed_bytes: int, wait_budget: WaitBudget) -> int:
        """Reserve space for the file; returns how many LoRAs were evicted for it."""
        while True:
            waiting_for = "the cache is full of files in use"
            try:
                evicted = self.directory.reserve(claim, needed_bytes)
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise LoraUnavailable(f"LoRA {ref.name!r}: no space on the disk: {error}") from error
                evicted, waiting_for = None, "the disk is full"
            if evicted is not None:
                break
            wait_budget.pause(waiting_for)
        return _count_evictions(evicted)

    def _download(self, ref: LoraRef, transfer: Transfer) -> str:
        """Fetch exactly the version the job was accepted with; returns its sha256."""
        start = time.monotonic()
        try:
            sha256 = transfer.run()
        except (NotFound, ObjectChanged) as error:
            verb = "deleted" if isinstance(error, NotFound) else "replaced"
            raise LoraGone(
                f"LoRA {ref.name!r} was {verb} after the job was accepted; submit it again"
            ) from error
        metrics.LORA_FETCH_S.observe(time.monotonic() - start)
        return sha256


def _count_evictions(evicted: Sequence[Path]) -> int:
    """How many of the removed files were LoRAs; partial files of dead processes are not counted."""
    evictions = sum(path.suffix == COMPLETE_SUFFIX for path in evicted)
    metrics.LORA_EVICTIONS.labels("disk").inc(evictions)
    return evictions
