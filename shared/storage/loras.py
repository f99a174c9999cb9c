"""The LoRA catalog is the bucket: a file put there by any S3 client is a LoRA by its name."""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.errors import InvalidLora, NotFound
from shared.storage.lora_header import LoraInfo, inspect_lora, refuse_pickle
from shared.storage.lora_names import PARTS, STAGED, SUFFIX, name_of_key
from shared.storage.object_store import Bucket, ObjectStat
from shared.storage.safetensors_header import LENGTH_BYTES, header_bytes, parse_header

#: Object metadata (``x-amz-meta-…``): a job may run at most so many steps without this LoRA.
MAX_ASYNC_STEPS = "max-async-steps"


class ListedLora(NamedTuple):
    """An object of the bucket: a LoRA by its name, or by its key with the reason why it is none."""

    name: str
    stat: ObjectStat
    problem: str | None = None


class FoundLora(NamedTuple):
    """The object of a LoRA, and its key where that is not `lora_key` of the name."""

    stat: ObjectStat
    other_key: str | None = None


def lora_key(name: str) -> str:
    """The key of a new LoRA's object."""
    return name + SUFFIX


def version_of(bucket: str, name: str, etag: str) -> str:
    """An identifier of exactly these bytes, short and safe as a file name."""
    bucket_hash = hashlib.sha256(bucket.encode()).hexdigest()[:8]
    if not re.fullmatch(r"[\w.-]{1,38}", etag, re.ASCII):  # as long as S3's own, and safe in a file name
        etag = hashlib.sha256(etag.encode()).hexdigest()[:38]
    return f"{name}@{bucket_hash}@{etag}"


def find_lora(bucket: Bucket, name: str) -> FoundLora:
    """The object of a LoRA, whatever the case of its suffix; raises `NotFound`."""
    try:
        return FoundLora(bucket.head(lora_key(name)))
    except NotFound:
        for stat in bucket.list(f"{name}."):
            if name_of_key(stat.key) == (name, None):
                return FoundLora(bucket.head(stat.key), other_key=stat.key)
        raise NotFound(f"there is no LoRA {name!r}") from None


def own_max_async_steps(stat: ObjectStat) -> int | None:
    """The file's own ``max_async_steps``; raises `InvalidLora` for metadata that is no whole number."""
    value = stat.metadata.get(MAX_ASYNC_STEPS)
    if value is None or re.fullmatch(r"[0-9]{1,6}", value):
        return None if value is None else int(value)
    raise InvalidLora(
        f"the metadata {MAX_ASYNC_STEPS} of object {stat.key!r} is {value!r}, not a number of steps"
    )


def list_loras(bucket: Bucket, *, after: str = "") -> Iterator[ListedLora]:
    """Every object of the bucket after the key ``after``, by key; one that is no LoRA has a ``problem``."""
    for stat in bucket.list(after=after):
        if stat.key.startswith((STAGED, PARTS)):
            continue
        name, problem = name_of_key(stat.key)
        if problem is None and stat.key != lora_key(name) and bucket.exists(lora_key(name)):
            name, problem = stat.key, f"{lora_key(name)!r} is the LoRA of that name"
        yield ListedLora(name, stat, problem)


def read_lora_info(bucket: Bucket, stat: ObjectStat) -> LoraInfo:
    """Inspect exactly this version of an object, by its header alone.

    Raises `InvalidLora`, and `ObjectChanged` when the object was replaced meanwhile.
    """
    first = _read_start(bucket, stat, min(stat.size_bytes, 64 << 10))
    refuse_pickle(first)
    stop = LENGTH_BYTES + header_bytes(first, stat.size_bytes)
    if len(first) < stop:
        first = _read_start(bucket, stat, stop)
    header = parse_header(first[LENGTH_BYTES:stop], stat.size_bytes)
    return inspect_lora(header.tensors, header.metadata)


def _read_start(bucket: Bucket, stat: ObjectStat, count: int) -> bytes:
    if count == 0:
        return b""
    return b"".join(bucket.read_range(stat.key, etag=stat.etag, start=0, stop=count).chunks)
