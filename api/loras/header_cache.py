"""Caches the headers of LoRA files, one entry for each version: the bytes of an ETag never change."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared import keys
from shared.errors import InvalidLora
from shared.message_base import read_all
from shared.storage.lora_header import LoraInfo
from shared.storage.loras import FoundLora, find_lora, place_of, read_lora_info
from shared.storage.object_store import Bucket, ObjectStat
from shared.storage.s3_errors import ObjectChanged

if TYPE_CHECKING:
    from redis import Redis

#: How long an entry stays after its last use.
TTL_S = 86_400
#: How often a file that is replaced while it is read is read again.
TRIES = 3
#: Different files that one process reads at the same time.
AT_ONCE = 8


class InspectedHeader(BaseModel):
    """The result of reading a header: its contents, or why the file is not a LoRA."""

    info: LoraInfo | None = None
    problem: str = ""

    def checked(self) -> LoraInfo:
        """The contents of the header; raises `InvalidLora` with the reason why it is not a LoRA's."""
        if self.info is None:
            raise InvalidLora(self.problem)
        return self.info


class LoraHeaderCache:
    """Reads headers by range and keeps their contents in Redis, for every API process.

    A version is read once, also when many requests need it at the same time, and also if it is not a LoRA.
    """

    def __init__(self, redis: "Redis", bucket: Bucket) -> None:
        self._redis = redis
        self._bucket = bucket
        self._locks = [threading.Lock() for _ in range(AT_ONCE)]

    def find(self, name: str, tenant: str) -> tuple[FoundLora, LoraInfo]:
        """The LoRA as it is now; raises `InvalidLora` if it is another file, and as `get_or_read` does."""
        lora, header = self.get_or_read(name, tenant)
        return lora, header.checked()

    def get_or_read(self, name: str, tenant: str) -> tuple[FoundLora, InspectedHeader]:
        """The object as it is now, LoRA or not, that a tenant sees by this name.

        Raises `NotFound`, and `ObjectChanged` if the object was replaced during each of `TRIES` reads.
        """
        for left in reversed(range(TRIES)):
            lora = find_lora(self._bucket, name, tenant)
            try:
                return lora, self._inspect(lora.stat)
            except ObjectChanged:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def cached(self, stats: Sequence[ObjectStat]) -> list[InspectedHeader]:
        """What is known of each object without reading it; of one that was not read lately neither."""
        stored: Any = self._redis.mget([_key(self._bucket, stat) for stat in stats]) if stats else []
        return [next(iter(read_all(InspectedHeader, [text])), InspectedHeader()) for text in stored]

    def store(self, stat: ObjectStat, info: LoraInfo) -> None:
        """Store what is already known of a version."""
        self._store(stat, InspectedHeader(info=info))

    def _inspect(self, stat: ObjectStat) -> InspectedHeader:
        key = _key(self._bucket, stat)
        cached = self._find_cached(key)
        if cached is not None:
            return cached
        with self._locks[hash(key) % AT_ONCE]:
            found = self._find_cached(key)
            if found is None:
                try:
                    found = InspectedHeader(info=read_lora_info(self._bucket, stat))
                except InvalidLora as error:
                    found = InspectedHeader(problem=str(error))
                self._store(stat, found)
        return found

    def _find_cached(self, key: str) -> InspectedHeader | None:
        cached = self._redis.getex(key, ex=TTL_S)
        return next(iter(read_all(InspectedHeader, [str(cached)] if cached else [])), None)

    def _store(self, stat: ObjectStat, found: InspectedHeader) -> None:
        self._redis.set(_key(self._bucket, stat), found.model_dump_json(), ex=TTL_S)


def _key(bucket: Bucket, stat: ObjectStat) -> str:
    return keys.lora_header(place_of(bucket.name, stat.key), stat.etag, stat.size_bytes)
