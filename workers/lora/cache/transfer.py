"""Downloads one version of an object into a partial file, in ranges that resume where they broke.

boto3's own transfers take whatever version they find, not a given one, and start over after a crash
(`infra/adr/0011-lora-files-arrive-in-ranges.md`).
"""

import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

from shared.errors import InvalidLora, Unavailable
from shared.logs import inherit_log_fields
from shared.metrics import LORA_FETCHED_BYTES
from shared.storage.object_store import ByteRange
from workers.lora.cache.partial_file import PartialFile
from workers.lora.cache.wait_budget import FIRST_PAUSE_S, MAX_PAUSE_S, WaitBudget

log = logging.getLogger(__name__)

#: Large enough to make round trips negligible, small enough that a lost connection costs little.
RANGE_BYTES = 8 << 20
RANGES_AT_ONCE = 4


class LoraSource(Protocol):
    """What a transfer uses of a `shared.storage.object_store.Bucket`."""

    @property
    def name(self) -> str:
        """The bucket's name."""

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        """As `shared.storage.object_store.Bucket.read_range`."""


class Checksums(NamedTuple):
    """Checksums of the object, where they are known."""

    sha256: str | None  # from the uploader
    md5: str | None  # from S3


class Transfer:
    """One download into one `PartialFile`; used once."""

    def __init__(
        self, source: LoraSource, key: str, etag: str, file: PartialFile, wait_budget: WaitBudget
    ) -> None:
        self._source, self._key, self._etag = source, key, etag
        self._file = file
        self._wait_budget = wait_budget
        self.fetched_bytes = 0  # of all ranges, also of those that were fetched twice
        self._count_lock = threading.Lock()
        self._checksums = Checksums(None, None)
        self._has_failed = threading.Event()  # of one range: the others stop

    def run(self) -> str:
        """Fetch the missing ranges and check the whole file; returns its sha256.

        A file whose checksum is wrong is fetched once more, from the start. Raises `InvalidLora` if it still
        is, `NotFound`, `ObjectChanged`, and `LoraUnavailable` when the wait budget is spent; the ranges that
        arrived until then remain.
        """
        for _ in range(2):
            # One range at least, even if none is missing: the checksums come with the response.
            sha256 = self._fetch(self._file.missing() or [0])
            if sha256 is not None:
                return sha256
            log.warning("LoRA arrived damaged", extra={"key": self._key})
            self._file.clear_marks()
        raise InvalidLora(
            f"the bytes of {self._key!r} in S3 do not have the checksum that S3 sends with them"
        )

    def _fetch(self, missing: Sequence[int]) -> str | None:
        """The sha256 of the file, hashed while ranges arrive; None if a checksum does not match."""
        with ThreadPoolExecutor(min(RANGES_AT_ONCE, len(missing)), thread_name_prefix="range") as pool:
            fetch_range = inherit_log_fields(self._fetch_range)
            arriving = {index: pool.submit(fetch_range, index) for index in missing}
            arriving[missing[0]].result()  # its response has the checksums
            return self._hash(arriving)

    def _hash(self, arriving: Mapping[int, "Future[None]"]) -> str | None:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        expected = self._checksums
        for index, wanted in enumerate(self._file.ranges):
            if index in arriving:
                arriving[index].result()
            for piece in self._file.read(wanted):
                sha256.update(piece)
                if expected.sha256 is None and expected.md5 is not None:
                    md5.update(piece)
        if expected.sha256 is not None:
            is_intact = sha256.hexdigest() == expected.sha256
        else:
            is_intact = expected.md5 in (None, md5.hexdigest())
        return sha256.hexdigest() if is_intact else None

    def _fetch_range(self, index: int) -> None:
        try:
            if self._fill(*self._file.ranges[index]):
                self._file.mark(index)
        except BaseException:
            self._has_failed.set()
            raise

    def _fill(self, at: int, stop: int) -> bool:
        """Fetch one range, however often the connection breaks; returns False if another range has failed."""
        pause_s = FIRST_PAUSE_S
        while at < stop:
            if self._has_failed.is_set():
                return False
            start, waiting_for = at, "the connection to S3 broke"
            try:
                for chunk in self._request(at, stop):
                    if self._has_failed.is_set():
                        return False
                    self._wait_budget.check()
                    self._file.write(at, chunk)
                    at += len(chunk)
                    self._count(len(chunk))
            except Unavailable as error:
                waiting_for = str(error)
                log.warning("LoRA download interrupted", extra={"key": self._key, "error": waiting_for})
            if at < stop:
                pause_s = FIRST_PAUSE_S if at > start else min(2 * pause_s, MAX_PAUSE_S)
                self._wait_budget.pause(waiting_for, pause_s)
        return True

    def _count(self, arrived_bytes: int) -> None:
        LORA_FETCHED_BYTES.inc(arrived_bytes)
        with self._count_lock:
            self.fetched_bytes += arrived_bytes

    def _request(self, start: int, stop: int) -> Iterator[bytes]:
        response = self._source.read_range(self._key, etag=self._etag, start=start, stop=stop)
        size_bytes = self._file.ranges[-1].stop
        if response.object_bytes != size_bytes:
            raise Unavailable(
                f"S3 has {response.object_bytes} bytes of {self._key!r} instead of {size_bytes}"
            )
        sha256 = response.metadata.get("sha256", "").lower()
        self._checksums = Checksums(sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else None, response.md5)
        return response.chunks
