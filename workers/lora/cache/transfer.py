"""Brings one version of one object into a ``.part``: several ranges at once, each going on where it broke.

boto3's own transfers ask for the version they find, not for one that is named, and start over after a
crash (`infra/adr/0011-lora-files-arrive-in-ranges.md`).
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

#: Large enough that the round trip does not count, small enough that a lost connection costs little.
RANGE_BYTES = 8 << 20
RANGES_AT_ONCE = 4


class LoraSource(Protocol):
    """What this needs of a `shared.storage.object_store.Bucket`."""

    @property
    def name(self) -> str:
        """The bucket's name."""

    def read_range(self, key: str, *, etag: str, start: int, stop: int) -> ByteRange:
        """As `shared.storage.object_store.Bucket.read_range`."""


class Checksums(NamedTuple):
    """What the bytes hash to, as the uploader and S3 say it."""

    sha256: str | None
    md5: str | None


class Transfer:
    """One object on its way into one `PartialFile`; used once."""

    def __init__(
        self, source: LoraSource, key: str, etag: str, part: PartialFile, wait_budget: WaitBudget
    ) -> None:
        self._source, self._key, self._etag = source, key, etag
        self._part = part
        self._wait_budget = wait_budget
        self.fetched_bytes = 0  # over all ranges, also those that came twice
        self._counting = threading.Lock()
        self._told = Checksums(None, None)
        self._broken = threading.Event()  # one range cannot arrive: the others need not

    def run(self) -> str:
        """Fetch what is missing and check all of it; returns the sha256 of the whole.

        Bytes that are not what S3 or the uploader say are fetched once more, from the start. Raises
        `InvalidLora` if they still are not, `NotFound`, `BlobChanged`, and `LoraUnavailable` when the
        patience ends; what has arrived until then stays in the part.
        """
        for _ in range(2):
            # One range at least: a part that was complete when its process died may be outdated by now.
            sha256 = self._fetch(self._part.missing() or [0])
            if sha256 is not None:
                return sha256
            log.warning("lora arrived damaged key=%s", self._key)
            self._part.forget()
        raise InvalidLora(
            f"the bytes of {self._key!r} in S3 do not have the checksum that S3 tells with them"
        )

    def _fetch(self, missing: Sequence[int]) -> str | None:
        """The sha256 of the whole, hashed while ranges arrive; None if the bytes are damaged."""
        with ThreadPoolExecutor(min(RANGES_AT_ONCE, len(missing)), thread_name_prefix="range") as pool:
            fetch_range = inherit_log_fields(self._fetch_range)
            arriving = {index: pool.submit(fetch_range, index) for index in missing}
            arriving[missing[0]].result()  # its answer tells the checksums
            return self._hash(arriving)

    def _hash(self, arriving: Mapping[int, "Future[None]"]) -> str | None:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        told = self._told
        for index, wanted in enumerate(self._part.ranges):
            if index in arriving:
                arriving[index].result()
            for piece in self._part.read(wanted):
                sha256.update(piece)
                if told.sha256 is None and told.md5 is not None:
                    md5.update(piece)
        if told.sha256 is not None:
            is_whole = sha256.hexdigest() == told.sha256
        else:
            is_whole = told.md5 in (None, md5.hexdigest())
        return sha256.hexdigest() if is_whole else None

    def _fetch_range(self, index: int) -> None:
        try:
            if self._fill(*self._part.ranges[index]):
                self._part.mark(index)
        except BaseException:
            self._broken.set()
            raise

    def _fill(self, at: int, stop: int) -> bool:
        """One range, however often the connection breaks; False if it is not wanted any more."""
        pause_s = FIRST_PAUSE_S
        while at < stop:
            if self._broken.is_set():
                return False
            began, waiting_for = at, "the connection to S3 broke"
            try:
                for chunk in self._ask(at, stop):
                    if self._broken.is_set():
                        return False
                    self._wait_budget.check()
                    self._part.write(at, chunk)
                    at += len(chunk)
                    self._count(len(chunk))
            except Unavailable as error:
                waiting_for = str(error)
                log.warning("lora download interrupted key=%s error=%s", self._key, error)
            if at < stop:
                pause_s = FIRST_PAUSE_S if at > began else min(2 * pause_s, MAX_PAUSE_S)
                self._wait_budget.pause(waiting_for, pause_s)
        return True

    def _count(self, arrived_bytes: int) -> None:
        LORA_FETCHED_BYTES.inc(arrived_bytes)
        with self._counting:
            self.fetched_bytes += arrived_bytes

    def _ask(self, start: int, stop: int) -> Iterator[bytes]:
        answer = self._source.read_range(self._key, etag=self._etag, start=start, stop=stop)
        size_bytes = self._part.ranges[-1].stop
        if answer.object_bytes != size_bytes:
            raise Unavailable(f"S3 has {answer.object_bytes} bytes of {self._key!r} instead of {size_bytes}")
        sha256 = answer.metadata.get("sha256", "").lower()
        self._told = Checksums(sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else None, answer.md5)
        return answer.chunks
