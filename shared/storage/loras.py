"""The LoRA catalog is the bucket: a file put there by any S3 client is a LoRA by its name."""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from shared.errors import InvalidLora, InvalidRequest, NotFound
from shared.storage.lora_header import LoraInfo, inspect_lora, refuse_pickle
from shared.storage.lora_names import PARTS, STAGED, SUFFIX, name_of_key, why_no_name
from shared.storage.object_store import Bucket, ObjectStat
from shared.storage.safetensors_header import LENGTH_BYTES, header_bytes, parse_header

#: Object metadata (``x-amz-meta-…``): the steps that a job may at most run without this LoRA.
BOUND = "max-async-steps"


class ListedLora(NamedTuple):
    """An object of the bucket: a LoRA by its name, or by its key with the reason why it is none."""

    name: str
    blob: ObjectStat
    problem: str | None = None


def lora_key(name: str) -> str:
    """The object of a new LoRA; raises `InvalidRequest` for a name that cannot be one."""
    problem = why_no_name(name)
    if problem is not None:
        raise InvalidRequest(f"{name!r} is no LoRA name: {problem}", field="name")
    return name + SUFFIX


def version_of(bucket: str, name: str, etag: str) -> str:
    """What names exactly these bytes, safe as a file name, and short."""
    place = hashlib.sha256(bucket.encode()).hexdigest()[:8]
    if not re.fullmatch(r"[\w.-]{1,38}", etag, re.ASCII):  # as long as S3's own, and safe in a file name
        etag = hashlib.sha256(etag.encode()).hexdigest()[:38]
    return f"{lora_key(name).removesuffix(SUFFIX)}@{place}@{etag}"


def find_lora(bucket: Bucket, name: str) -> ObjectStat:
    """The object of a LoRA, whatever the case of its suffix; raises `NotFound`."""
    try:
        return bucket.head(lora_key(name))
    except NotFound:
        for blob in bucket.list(f"{name}."):
            if name_of_key(blob.key) == (name, None):
                return bucket.head(blob.key)
        raise NotFound(f"there is no LoRA {name!r}") from None


def own_bound(blob: ObjectStat) -> int | None:
    """The file's own ``max_async_steps``; raises `InvalidLora` for metadata that is no whole number."""
    told = blob.metadata.get(BOUND)
    if told is None or re.fullmatch(r"[0-9]{1,6}", told):
        return None if told is None else int(told)
    raise InvalidLora(f"the metadata {BOUND} of object {blob.key!r} is {told!r}, not a number of steps")


def list_loras(bucket: Bucket, *, after: str = "") -> Iterator[ListedLora]:
    """Every object of the bucket behind the key ``after``, by key; one that is no LoRA has a ``problem``."""
    for blob in bucket.list(after=after):
        if blob.key.startswith((STAGED, PARTS)):
            continue
        name, problem = name_of_key(blob.key)
        if problem is None and blob.key != lora_key(name) and bucket.exists(lora_key(name)):
            name, problem = blob.key, f"{lora_key(name)!r} is the LoRA of that name"
        yield ListedLora(name, blob, problem)


def read_lora_info(bucket: Bucket, blob: ObjectStat) -> LoraInfo:
    """Inspect exactly this version of an object, by its header alone.

    Raises `InvalidLora`, and `BlobChanged` when the object was replaced meanwhile.
    """
    first = _start(bucket, blob, min(blob.size_bytes, 64 << 10))
    refuse_pickle(first)
    stop = LENGTH_BYTES + header_bytes(first, blob.size_bytes)
    if len(first) < stop:
        first = _start(bucket, blob, stop)
    header = parse_header(first[LENGTH_BYTES:stop], blob.size_bytes)
    return inspect_lora(header.tensors, header.metadata)


def _start(bucket: Bucket, blob: ObjectStat, count: int) -> bytes:
    if count == 0:
        return b""
    return b"".join(bucket.read_range(blob.key, etag=blob.etag, start=0, stop=count).chunks)
